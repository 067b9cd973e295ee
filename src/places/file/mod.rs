//! An operator's own places, from a file.
//!
//! The extension determines the format: a [table] (`.csv`) or [GeoJSON](geojson) (`.geojson`,
//! `.json`), case-insensitive. The file is read as a whole, once. The first fault ends the reading,
//! with its location, its cause and the correction: a list with missing places would be noticed
//! much later, by its users.

mod builder;
mod geojson;
mod table;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::catalogue::Catalogue;
use super::error::{PlacesError, SourceLocation};

/// The maximum size of a file of places, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// A fault in a text, with its location.
#[derive(Debug)]
struct FileFault {
    location: SourceLocation,
    message: String,
}

/// Reads a file of places.
pub(super) fn read(path: &Path) -> Result<Catalogue, PlacesError> {
    read_at_most(path, MAX_FILE_BYTES)
}

fn read_at_most(path: &Path, limit: u64) -> Result<Catalogue, PlacesError> {
    let file = path.to_owned();
    let extension = path.extension().and_then(|extension| extension.to_str());
    let read: fn(&str) -> Result<Catalogue, FileFault> =
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => table::read,
            Some("geojson" | "json") => geojson::read,
            _ => return Err(PlacesError::Kind { file }),
        };
    let bytes = match bytes_of(path, limit) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(PlacesError::TooLarge { file }),
        Err(cause) => return Err(PlacesError::Unreadable { file, cause }),
    };
    let catalogue = text_of(&bytes).and_then(read).and_then(not_empty);
    catalogue.map_err(|FileFault { location, message }| PlacesError::Content {
        file,
        location,
        problem: message,
    })
}

/// Returns the content of a file, or nothing if it exceeds the limit.
fn bytes_of(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    // The size in the metadata of a file can change while it is read, or be missing.
    let read = File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((read as u64 <= limit).then_some(bytes))
}

/// Returns the bytes as text, without the byte order mark that some programs write.
fn text_of(bytes: &[u8]) -> Result<&str, FileFault> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => Err(FileFault {
            location: SourceLocation::Line(line_of(bytes, error.valid_up_to())),
            message: "this is not UTF-8: save the file in that encoding".to_owned(),
        }),
    }
}

fn not_empty(catalogue: Catalogue) -> Result<Catalogue, FileFault> {
    if catalogue.len() > 0 {
        return Ok(catalogue);
    }
    Err(FileFault {
        location: SourceLocation::File,
        message: "there is no place in it: write at least one".to_owned(),
    })
}

/// Returns the number of the line, from 1, that holds the byte at this offset.
fn line_of(bytes: &[u8], offset: usize) -> usize {
    let before = bytes.iter().take(offset);
    1 + before.filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A file that is deleted at the end of the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn holding(name: &str, content: &[u8]) -> Self {
            let name = format!("proxyherd-places-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, content).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn rejection(scratch: &Scratch) -> String {
        let error = read(&scratch.0).err().unwrap().to_string();
        let path = scratch.0.display().to_string();
        error.strip_prefix(&path).unwrap().to_owned()
    }

    #[test]
    fn the_extension_determines_the_format() {
        let table = b"name,lat,lon\nBar,1,2\n";
        let geojson = br#"{"type":"FeatureCollection","features":[{"type":"Feature",
            "geometry":{"type":"Point","coordinates":[2,1]},"properties":{"name":"Bar"}}]}"#;
        for (name, content) in [
            ("good.csv", &table[..]),
            ("good.CSV", table),
            ("good.geojson", geojson),
            ("good.json", geojson),
        ] {
            let scratch = Scratch::holding(name, content);
            let catalogue = read(&scratch.0).unwrap();
            assert_eq!(catalogue.get(0).name, "Bar");
            assert_eq!(catalogue.points().collect::<Vec<_>>(), [(1.0, 2.0)]);
        }
    }

    #[test]
    fn rejects_an_unknown_extension() {
        for name in ["places.txt", "places"] {
            let error = read(Path::new(name)).err().unwrap().to_string();
            assert!(error.contains(".csv, .geojson or .json"), "{error}");
        }
    }

    #[test]
    fn rejects_a_missing_file() {
        let error = read(Path::new("no/such/places.csv")).err().unwrap();
        assert!(matches!(error, PlacesError::Unreadable { .. }), "{error}");
        assert!(error.to_string().starts_with("no/such/places.csv: "));
    }

    #[test]
    fn rejects_a_file_beyond_the_size_limit() {
        let content = b"name,lat,lon\nBar,1,2\n";
        let scratch = Scratch::holding("large.csv", content);
        let size = content.len() as u64;
        assert!(read_at_most(&scratch.0, size).is_ok());
        let error = read_at_most(&scratch.0, size - 1).err().unwrap();
        assert!(matches!(error, PlacesError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn rejects_a_file_without_places() {
        let scratch = Scratch::holding("none.csv", b"name,lat,lon\n");
        assert_eq!(
            rejection(&scratch),
            ": there is no place in it: write at least one"
        );
    }

    #[test]
    fn rejects_another_encoding() {
        let scratch = Scratch::holding("latin1.csv", b"name,lat,lon\nBar,1,2\nCaf\xe9,1,2\n");
        assert_eq!(
            rejection(&scratch),
            ", line 3: this is not UTF-8: save the file in that encoding"
        );
    }

    #[test]
    fn ignores_a_byte_order_mark() {
        let scratch = Scratch::holding("mark.csv", b"\xef\xbb\xbfname,lat,lon\nBar,1,2\n");
        assert!(read(&scratch.0).is_ok());
        let scratch = Scratch::holding("mark.json", b"\xef\xbb\xbf{");
        assert!(rejection(&scratch).starts_with(", line 1: "));
    }
}
