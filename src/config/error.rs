//! What can be wrong with a herd's file, in words for the person who wrote it.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::DEFAULT_PATH;
use super::messages;
use crate::model::name::Name;

/// Most problems printed for one file; of the rest only the number is told.
const MAX_SHOWN: usize = 20;

/// Why there is no config. Nothing was changed or started.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read at all.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The file was read, and something in it is wrong.
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, in the order of its lines; at least one.
        problems: Vec<Problem>,
    },
    /// The file is right and has no server of the name that was asked for.
    UnknownServer {
        /// The file.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
        /// The names there are.
        servers: Vec<Name>,
    },
}

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1; `None` where something is missing as a whole.
    pub line: Option<usize>,
    /// The column in characters, counted from 1, where the line alone would
    /// leave one searching.
    pub column: Option<usize>,
    /// The cause, and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, cause } => unreadable(f, path, cause),
            Self::Invalid { path, problems } => wrong(f, path, problems),
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
            "{path}: there is no such file; --config FILE names another one (without it, {DEFAULT_PATH} is read)"
        ),
        io::ErrorKind::IsADirectory => write!(
            f,
            "{path}: this is a directory; --config FILE names the herd's file itself, as in {DEFAULT_PATH}"
        ),
        _ => write!(f, "{path}: cannot be read: {cause}"),
    }
}

fn wrong(f: &mut fmt::Formatter<'_>, path: &Path, problems: &[Problem]) -> fmt::Result {
    for (i, problem) in problems.iter().take(MAX_SHOWN).enumerate() {
        let line_end = if i == 0 { "" } else { "\n" };
        write!(f, "{line_end}{}", path.display())?;
        for number in [problem.line, problem.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        write!(f, ": {}", problem.message)?;
    }
    match problems.len().saturating_sub(MAX_SHOWN) {
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
        "{}: no server is called {}; the servers are {}{}",
        path.display(),
        messages::quoted(name),
        messages::list(names(), "and"),
        messages::did_you_mean(name, names()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_problems_is_cut() {
        let problem = |line| Problem {
            line: Some(line),
            column: (line == 2).then_some(7),
            message: "wrong".into(),
        };
        let error = ConfigError::Invalid {
            path: "h.toml".into(),
            problems: (1..=MAX_SHOWN + 3).map(problem).collect(),
        };
        let text = error.to_string();
        assert!(text.starts_with("h.toml:1: wrong\nh.toml:2:7: wrong\nh.toml:3: wrong\n"));
        assert!(text.ends_with("\nh.toml:20: wrong\nh.toml: and 3 more"));
    }
}
