//! Calls to the `Operator` service of the servers of a herd, of all servers at once: a server that
//! is down or hangs neither delays nor hides the others.
//!
//! The commands of operators and the web port use it. An address may belong to another herd by
//! now, so the identity of a server is checked before its answers are used. Its answers are text
//! from the network: each is checked, and names and messages in it are escaped.
//!
//! | file | contents |
//! |---|---|
//! | `remote_server` | one server, and the calls to it |
//! | `error` | the reasons why a server gave no answer |
//! | `probe` | what listens at an address that is no peer port |
//! | `reports` | checked reports |
//! | `fan_out` | one query to many servers at once |
//! | `status` | the status of all servers |
//! | `problems` | what needs attention in a status |
//! | `duplicates` | servers under whose name several processes run |
//! | `located` | the reports of one client at all servers |

pub(crate) mod duplicates;
mod error;
mod fan_out;
mod located;
mod probe;
pub(crate) mod problems;
mod remote_server;
mod reports;
mod status;

pub(crate) use error::QueryError;
pub(crate) use fan_out::{query_all, resume_panic};
pub(crate) use located::{Located, ServerError, errors};
pub(crate) use remote_server::{Identity, LocatedReport, NearbyReport, RemoteServer};
#[cfg(test)]
pub(crate) use reports::sample;
pub(crate) use reports::{CheckedReport, HeldReport};
pub(crate) use status::{ServerStatus, StatusResult, StatusRound, distinct, statuses};
