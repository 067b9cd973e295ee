//! The reasons why a server gave no usable answer.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tonic::{Code, Status};

use crate::cause;

use super::format::escaped;

/// The reason why a server gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum QueryError {
    /// No connection to its address; the cause.
    Unreachable(String),
    /// No answer within this time.
    Timeout(Duration),
    /// The process at that address has no service `Operator`.
    NoOperator,
    /// The server has no report of the client.
    UnknownClient,
    /// The server takes no call now: it has too many, or shuts down.
    Overloaded,
    /// A watch cannot resume, since the server runs in another incarnation.
    OtherIncarnation,
    /// The server rejected the call with this status and message.
    Rejected(Code, String),
    /// Another server has the address.
    OtherServer {
        /// The name that it gives.
        name: String,
        /// The herd that it gives.
        herd: String,
    },
    /// The server restarted between two calls that belong together.
    Restarted,
    /// The answer breaks this rule.
    Invalid(String),
}

impl From<Status> for QueryError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::NotFound => Self::UnknownClient,
            Code::OutOfRange => Self::OtherIncarnation,
            Code::Unimplemented => Self::NoOperator,
            _ if status.source().is_some() => Self::Unreachable(innermost_cause(&status)),
            Code::Unavailable => Self::Overloaded,
            code => Self::Rejected(code, escaped(status.message())),
        }
    }
}

/// Returns the message of the operating system.
fn innermost_cause(status: &Status) -> String {
    escaped(&cause::innermost(status).to_string())
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) => write!(f, "unreachable: {cause}"),
            Self::Timeout(limit) => {
                write!(f, "no answer within {}", humantime::format_duration(*limit))
            }
            Self::NoOperator => {
                f.write_str("not a proxyherd server, or an older version (no service Operator)")
            }
            Self::UnknownClient => f.write_str("no report of this client"),
            Self::Overloaded => f.write_str("takes no call now: too many, or it shuts down"),
            Self::OtherIncarnation => f.write_str("runs in another incarnation"),
            Self::Rejected(code, message) => write!(f, "rejected the call: {code:?}: {message}"),
            Self::OtherServer { name, herd } => {
                write!(f, "this address belongs to server {name} of herd {herd}")
            }
            Self::Restarted => f.write_str("restarted during the comparison"),
            Self::Invalid(rule) => write!(f, "invalid answer: {rule}"),
        }
    }
}

impl Serialize for QueryError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
