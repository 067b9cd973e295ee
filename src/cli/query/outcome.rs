//! The exit codes of the queries.
//!
//! | code | |
//! |---|---|
//! | 0 | all is well; for `verify`: proven |
//! | 1 | a problem: a server without an answer, a link that is down, a difference, an unknown client |
//! | 2 | a mistake on the command line or in the config; no server was queried |

use std::error::Error;
use std::io;
use std::process::ExitCode;

use crate::config::ConfigError;

/// The exit codes, as the help of a command ends.
pub(super) const EXIT_CODES: &str = "\
Exit codes: 0 all is well; 1 a problem, which is named; 2 a mistake on the command
line or in the config.";

/// The result of a query that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Problem,
}

impl Outcome {
    pub(super) fn success_if(is_success: bool) -> Self {
        if is_success {
            Self::Success
        } else {
            Self::Problem
        }
    }

    pub(super) fn code(self) -> ExitCode {
        match self {
            Self::Success => ExitCode::SUCCESS,
            Self::Problem => ExitCode::FAILURE,
        }
    }
}

/// The reason why a query has no answer.
#[derive(Debug)]
pub(super) enum CommandError {
    /// A mistake on the command line or in the config.
    Usage(Box<dyn Error>),
    /// No server answered, or the answer could not be printed.
    Failure(Box<dyn Error>),
}

impl CommandError {
    pub(super) fn usage(error: impl Into<Box<dyn Error>>) -> Self {
        Self::Usage(error.into())
    }

    pub(super) fn failure(error: impl Into<Box<dyn Error>>) -> Self {
        Self::Failure(error.into())
    }

    pub(super) fn error(&self) -> &dyn Error {
        match self {
            Self::Usage(error) | Self::Failure(error) => error.as_ref(),
        }
    }

    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failure(_) => ExitCode::FAILURE,
        }
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::failure(error)
    }
}
