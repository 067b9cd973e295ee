//! Errors of a config file, for the person who wrote it.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::messages;
use super::{DEFAULT_PATH, PATH_VARIABLE};
use crate::model::name::Name;

/// Maximum number of problems printed for one file; the rest are counted.
const MAX_SHOWN_PROBLEMS: usize = 20;

/// The reason why there is no config. Nothing was changed or started.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    /// The file has errors.
    Invalid {
        /// The file.
        path: PathBuf,
        /// The errors, in the order of the lines; at least one.
        problems: Vec<ConfigProblem>,
    },
    /// The file is valid and has no server of the given name.
    UnknownServer {
        /// The file.
        path: PathBuf,
        /// The name that was given.
        name: String,
        /// The names of the file.
        servers: Vec<Name>,
    },
}

/// One error in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The line, counted from 1; `None` for an error of the file as a whole.
    pub line: Option<usize>,
    /// The column in characters, counted from 1, where the line alone is not enough
    /// to find the error.
    pub column: Option<usize>,
    /// The cause, and what to write instead.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, cause } => unreadable(f, path, cause),
            Self::Invalid { path, problems } => invalid(f, path, problems),
            Self::UnknownServer {
                path,
                name,
                servers,
            } => unknown_server(f, path, name, servers),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { cause, .. } => Some(cause),
            Self::Invalid { .. } | Self::UnknownServer { .. } => None,
        }
    }
}

fn unreadable(f: &mut fmt::Formatter<'_>, path: &Path, cause: &io::Error) -> fmt::Result {
    let path = path.display();
    match cause.kind() {
        io::ErrorKind::NotFound => write!(
            f,
            "{path}: no such file; name another one with --config FILE or {PATH_VARIABLE} (the \
             default is {DEFAULT_PATH})"
        ),
        io::ErrorKind::IsADirectory => write!(
            f,
            "{path}: is a directory; name the file itself with --config FILE, as in {DEFAULT_PATH}"
        ),
        _ => write!(f, "{path}: cannot read the file: {cause}"),
    }
}

fn invalid(f: &mut fmt::Formatter<'_>, path: &Path, problems: &[ConfigProblem]) -> fmt::Result {
    for (i, problem) in problems.iter().take(MAX_SHOWN_PROBLEMS).enumerate() {
        let line_end = if i == 0 { "" } else { "\n" };
        write!(f, "{line_end}{}", path.display())?;
        for number in [problem.line, problem.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        write!(f, ": {}", problem.message)?;
    }
    match problems.len().saturating_sub(MAX_SHOWN_PROBLEMS) {
        0 => Ok(()),
        more => write!(f, "\n{}: and {more} more", path.display()),
    }
}

fn unknown_server(
    f: &mut fmt::Formatter<'_>,
    path: &Path,
    name: &str,
    servers: &[Name],
) -> fmt::Result {
    let names = || servers.iter().map(Name::as_str);
    write!(
        f,
        "{}: there is no server {}; the servers are {}{}",
        path.display(),
        messages::quoted(name),
        messages::short_list(names(), "and"),
        messages::did_you_mean(name, names()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_twenty_problems_are_printed() {
        let problem = |line| ConfigProblem {
            line: Some(line),
            column: (line == 2).then_some(7),
            message: "bad".into(),
        };
        let error = ConfigError::Invalid {
            path: "h.toml".into(),
            problems: (1..=MAX_SHOWN_PROBLEMS + 3).map(problem).collect(),
        };
        let text = error.to_string();
        assert!(text.starts_with("h.toml:1: bad\nh.toml:2:7: bad\nh.toml:3: bad\n"));
        assert!(text.ends_with("\nh.toml:20: bad\nh.toml: and 3 more"));
    }
}
