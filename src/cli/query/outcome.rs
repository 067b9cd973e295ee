//! How a command ends, as scripts see it.
//!
//! | code | |
//! |---|---|
//! | 0 | it is as it should be; for `verify`, it is proven |
//! | 1 | something is not well: a server without an answer, a link that is down, a difference, a client that nobody knows |
//! | 2 | the command line or the config makes no sense; nobody was asked |

use std::error::Error;
use std::io;
use std::process::ExitCode;

use crate::config::ConfigError;

/// These codes, as they stand below the help of a command.
pub(super) const CODES: &str = "\
Exit codes: 0 all is well; 1 something is not, and it says what; 2 the command
line or the config makes no sense.";

/// What a question came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Well,
    NotWell,
}

impl Outcome {
    /// Well, if so.
    pub(super) fn well_if(well: bool) -> Self {
        if well { Self::Well } else { Self::NotWell }
    }

    pub(super) fn code(self) -> ExitCode {
        match self {
            Self::Well => ExitCode::SUCCESS,
            Self::NotWell => ExitCode::FAILURE,
        }
    }
}

/// Why a question has no answer.
#[derive(Debug)]
pub(super) enum CommandError {
    /// It makes no sense as it was asked.
    Mistake(Box<dyn Error>),
    /// Nobody answered, or the answer could not be printed.
    Failed(Box<dyn Error>),
}

impl CommandError {
    pub(super) fn mistake(words: impl Into<Box<dyn Error>>) -> Self {
        Self::Mistake(words.into())
    }

    pub(super) fn error(&self) -> &dyn Error {
        match self {
            Self::Mistake(error) | Self::Failed(error) => error.as_ref(),
        }
    }

    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::Mistake(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::Mistake(error.into())
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}
