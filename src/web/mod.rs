//! The web port: what a monitoring system asks of one server, over HTTP.
//!
//! | file | holds |
//! |---|---|
//! | `port` | takes connections, one request each, and answers by path |
//! | `page` | `/metrics`: which series there are, and where each comes from |
//! | `format` | the Prometheus text format |
//! | `process` | what the system knows of this process |
//!
//! Everything here only reads, and clients pay nothing for it: what is counted
//! is counted by whoever does it ([`crate::metrics`]), asked or not. The page is
//! written by hand and not by a library of metrics, since those want to own the
//! counters, and the counters stand below all edges; the format is a page of
//! code. It is put together on a thread where no client or neighbour waits.
//!
//! Whoever reaches the port reads names of servers and numbers; no client's
//! name, no position, no address. It changes nothing and can stop nothing.
//!
//! The format is
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4.

mod format;
mod page;
mod port;
mod process;

pub use port::{WebServer, serve};

use crate::model::networks::Networks;

/// Limits of the web port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSettings {
    /// From which networks one may ask; connections from others are closed at
    /// once. Default from everywhere. A network too few locks monitoring out; one
    /// too many tells strangers how the herd is.
    pub networks: Networks,
}
