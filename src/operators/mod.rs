//! What operators ask of a server: the `Operator` service of the peer port.
//!
//! | file | holds |
//! |---|---|
//! | `service` | the calls: judges each request, and has its answer worked out |
//! | `status` | how the server is |
//! | `watch` | one watcher: a reader of the feed, at its own pace |
//! | `filter` | which reports a watcher wants |
//! | `keeper` | views that are kept for as long as somebody asks |
//! | `wire` | messages into model types and back |
//!
//! Everything here only reads, and what takes long does so on threads where no
//! client or neighbour waits. What is worked out from reports is
//! [`crate::queries`]'s; this folder asks, and puts it into messages.

mod filter;
mod keeper;
mod service;
mod status;
mod watch;
mod wire;

pub use service::Operators;
