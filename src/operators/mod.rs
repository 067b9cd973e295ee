//! The `Operator` service of the peer port: queries of operators.
//!
//! | file | contents |
//! |---|---|
//! | `service` | the calls: checks each request and makes its response |
//! | `watch` | a watch of the feed as a stream of responses |
//! | `transfer` | exports, and the merging of imports |
//! | `filter` | which reports a watch wants |
//! | `wire` | messages into model types and back |
//!
//! Everything here except an import is read-only, and what takes long runs on threads that serve no client or
//! neighbour. [`crate::queries`] computes the results from the reports; the status is
//! [`crate::gateway::StatusSource`]'s.

mod filter;
mod service;
mod transfer;
mod watch;
mod wire;

pub use service::Operators;
