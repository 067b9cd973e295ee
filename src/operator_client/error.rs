//! The reasons why a server gave no usable answer.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tonic::{Code, Status};

use crate::cause;

/// The reason why a server gave no usable answer. Texts from the network are as they came, except
/// that each is one line: whoever prints them escapes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueryError {
    /// No connection to its address; the cause.
    Unreachable(String),
    /// No answer within this time.
    Timeout(Duration),
    /// The process at that address has no service `Operator`.
    NoOperator,
    /// Something else than a peer port without TLS listens at that address; what it seems to be,
    /// and the way out.
    WrongPort(&'static str),
    /// The server has no report of the client.
    UnknownClient,
    /// The server takes no call now; its reason.
    Unavailable(String),
    /// A watch cannot resume, since the server runs in another incarnation.
    OtherIncarnation,
    /// The server rejected the call; its reason.
    Rejected(String),
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
            _ if status.source().is_some() => Self::Unreachable(one_line(&cause::message(&status))),
            Code::Unavailable => Self::Unavailable(reason(&status)),
            _ => Self::Rejected(reason(&status)),
        }
    }
}

/// Returns the server's own words, or those of gRPC if there are none.
fn reason(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => one_line(message),
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) => write!(f, "unreachable: {cause}"),
            Self::Timeout(limit) => {
                write!(f, "no answer within {}", humantime::format_duration(*limit))
            }
            Self::WrongPort(what) => write!(f, "no peer port: {what}"),
            Self::NoOperator => {
                f.write_str("not a proxyherd server, or an older version (no service Operator)")
            }
            Self::UnknownClient => f.write_str("no report of this client"),
            Self::Unavailable(reason) => write!(f, "takes no call now: {reason}"),
            Self::OtherIncarnation => f.write_str("runs in another incarnation"),
            Self::Rejected(reason) => write!(f, "rejected the call: {reason}"),
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
