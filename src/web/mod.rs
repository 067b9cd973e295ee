//! The web port, where a monitoring system queries one server over HTTP.
//!
//! | file | contents |
//! |---|---|
//! | `port` | accepts connections with one request each, and answers by path |
//! | `page` | `/metrics` |
//! | `format` | the Prometheus text format |
//! | `process` | resources of the process |
//!
//! Everything here is read-only. The page is made by hand: metrics libraries own the counters, but
//! these belong to a floor below all edges, and the format is a page of code. The page is made on a
//! thread that serves no client or neighbour.
//!
//! The port exposes names of servers and numbers, and no client ID, position or address.
//!
//! The format is <https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4.

mod format;
mod page;
mod port;
mod process;

pub use port::{WebServer, serve};
