//! Why a server gave no answer, in words.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};

use super::messages;

/// Why a server gave no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody takes connections at its address; the cause.
    Unreachable(String),
    /// It said nothing for so long.
    Silent(Duration),
    /// Something listens there that has no service `Operator`.
    NoOperator,
    /// It knows no such client.
    Unknown,
    /// It is busy: too many calls at once.
    Busy,
    /// A Watch can not go on where it was cut off.
    OtherLife,
    /// It refused; the status and its words.
    Refused(String),
    /// Somebody else has the address: the server and the herd that it says it is.
    SomebodyElse(String, String),
    /// It has lost all that it knew since the question began.
    Restarted,
    /// Its answer breaks the rules; which.
    Nonsense(String),
}

impl Failure {
    /// What a status that ended a call means.
    pub(super) fn of(status: &Status) -> Self {
        match status.code() {
            Code::NotFound => Self::Unknown,
            Code::ResourceExhausted => Self::Busy,
            Code::OutOfRange => Self::OtherLife,
            Code::Unimplemented => Self::NoOperator,
            _ if status.source().is_some() => Self::Unreachable(cause(status)),
            code => Self::Refused(format!("{code:?}: {}", messages::escaped(status.message()))),
        }
    }
}

/// The innermost cause: what the system said.
fn cause(status: &Status) -> String {
    let mut innermost: &dyn Error = status;
    while let Some(deeper) = innermost.source() {
        innermost = deeper;
    }
    messages::escaped(&innermost.to_string())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) => write!(f, "can not be reached: {cause}"),
            Self::Silent(limit) => {
                write!(f, "no answer within {}", humantime::format_duration(*limit))
            }
            Self::NoOperator => {
                f.write_str("what listens there is no proxyherd server, or an older one")
            }
            Self::Unknown => f.write_str("knows no such client"),
            Self::Busy => f.write_str("is busy: it has too many calls at once"),
            Self::OtherLife => f.write_str("has begun another life"),
            Self::Refused(why) => write!(f, "refuses: {why}"),
            Self::SomebodyElse(name, herd) => {
                write!(f, "at that address is {name} of the herd {herd}")
            }
            Self::Restarted => f.write_str("has restarted meanwhile"),
            Self::Nonsense(what) => write!(f, "its answer makes no sense: {what}"),
        }
    }
}
