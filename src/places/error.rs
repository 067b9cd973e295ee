//! Errors of preparing the places at start.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::MAX_FILE_BYTES;
use super::google::{KeyError, MAX_TIMEOUT, MIN_TIMEOUT};

/// The reason why [`Places::start`](super::Places::start) failed. In every case nothing has been
/// started.
#[derive(Debug)]
pub enum PlacesError {
    /// The timeout in the settings is out of bounds.
    Timeout(Duration),
    /// A provider that needs a key has none.
    ApiKey {
        /// The environment variable of the key.
        variable: String,
        /// The fault of its value.
        why: KeyError,
    },
    /// The HTTP client cannot be created, for this reason.
    HttpClient(String),
    /// The system has no thread available for loading the places.
    Thread(io::Error),
    /// The name of the operator's file does not identify its format.
    Kind {
        /// The file.
        file: PathBuf,
    },
    /// The operator's file cannot be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    /// The operator's file is larger than [`MAX_FILE_BYTES`].
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// The operator's file can be read, but its content is not valid as places.
    Content {
        /// The file.
        file: PathBuf,
        /// The faults, in the order of the file; at least one.
        faults: Vec<FileFault>,
        /// The number of further faults.
        more: usize,
    },
}

/// A fault in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// The location of the fault.
    pub location: SourceLocation,
    /// The cause, and the correction.
    pub message: String,
}

/// A location of a fault in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceLocation {
    /// The file as a whole.
    File,
    /// A line, counted from 1.
    Line(usize),
    /// A feature, counted from 1, and the line on which it begins.
    Feature {
        /// The number of the feature.
        number: usize,
        /// The number of the line.
        line: usize,
    },
}

impl fmt::Display for PlacesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlacesError::Timeout(given) => write!(
                f,
                "the timeout of Google, {given:?}, is out of bounds: choose one from \
                 {MIN_TIMEOUT:?} to {MAX_TIMEOUT:?}"
            ),
            PlacesError::ApiKey { variable, why } => write!(
                f,
                "the environment variable {variable}, which is to hold the key for the places \
                 provider, {why}: put your key for Google's Places API there, name another \
                 variable as api_key_env in [places.google], or set provider = \"offline\" in \
                 [places], which needs none"
            ),
            PlacesError::HttpClient(cause) => write!(
                f,
                "cannot prepare HTTP calls to the places provider: {cause}; set \
                 provider = \"offline\" in [places], which needs no network"
            ),
            PlacesError::Thread(cause) => write!(
                f,
                "cannot start a thread to load the places: {cause}; raise this user's limit on \
                 threads"
            ),
            PlacesError::Kind { file } => write!(
                f,
                "{}: unknown kind of file; name a file of places .csv, .geojson or .json",
                file.display()
            ),
            PlacesError::Unreadable { file, cause } => write!(
                f,
                "{}: cannot be read: {cause}; check the path, which starts at the working \
                 directory, and who may read it",
                file.display()
            ),
            PlacesError::TooLarge { file } => write!(
                f,
                "{}: is larger than {MAX_FILE_BYTES} bytes: leave out places or columns",
                file.display()
            ),
            PlacesError::Content { file, faults, more } => write_faults(f, file, faults, *more),
        }
    }
}

/// Writes each fault on a line of its own.
fn write_faults(
    f: &mut fmt::Formatter<'_>,
    file: &Path,
    faults: &[FileFault],
    more: usize,
) -> fmt::Result {
    let file = file.display();
    for (number, FileFault { location, message }) in faults.iter().enumerate() {
        let line_end = if number == 0 { "" } else { "\n" };
        write!(f, "{line_end}{file}{location}: {message}")?;
    }
    match more {
        0 => Ok(()),
        more => write!(f, "\n{file}: and {more} more"),
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceLocation::File => Ok(()),
            SourceLocation::Line(line) => write!(f, ", line {line}"),
            SourceLocation::Feature { number, line } => {
                write!(f, ", feature {number} (line {line})")
            }
        }
    }
}

impl std::error::Error for PlacesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PlacesError::Thread(cause) | PlacesError::Unreadable { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_location_cause_and_correction_of_each_fault() {
        let fault = |number, line, message: &str| FileFault {
            location: SourceLocation::Feature { number, line },
            message: message.to_owned(),
        };
        let content = |faults, more| {
            let file = "parks.geojson".into();
            PlacesError::Content { file, faults, more }.to_string()
        };
        let first = fault(3, 9, "91 is no latitude");
        let second = fault(5, 12, "the name is empty");
        assert_eq!(
            content(vec![first.clone()], 0),
            "parks.geojson, feature 3 (line 9): 91 is no latitude"
        );
        assert_eq!(
            content(vec![first, second], 1200),
            "parks.geojson, feature 3 (line 9): 91 is no latitude\n\
             parks.geojson, feature 5 (line 12): the name is empty\n\
             parks.geojson: and 1200 more"
        );
    }
}
