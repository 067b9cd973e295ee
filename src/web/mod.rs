//! The web port: metrics, health, the API and the page, over HTTP.
//!
//! | file | contents |
//! |---|---|
//! | `port` | accepts connections, with one request each |
//! | `deadline` | the time limit of a connection |
//! | `routes` | which path is answered by what, and the headers of every response |
//! | `state` | what the routes share, and the checks that a request passes |
//! | `access` | who may call the API: `Host` and token |
//! | `failures` | the addresses that sent wrong tokens |
//! | `answer` | bodies of responses |
//! | `problem` | errors as problem details |
//! | `parameters` | parameters of calls, strictly |
//! | `feature` | GeoJSON |
//! | `clients` | `/api/v1/clients` and `/api/v1/near` |
//! | `places` | `/api/v1/places` and `/api/v1/names` |
//! | `herd` | `/api/v1/herd` and `/api/v1/clients/{id}` |
//! | `herd_view` | the other servers, which these two ask |
//! | `watch` | `/api/v1/watch`: server-sent events |
//! | `page` | the files of the page |
//! | `metrics` | `/metrics` |
//! | `format` | the Prometheus text format |
//! | `process` | resources of the process |
//!
//! Everything here is read-only. HTTP is hyper's, routing axum's, compression tower-http's; the
//! listener is the project's own, so that the rules of all ports hold here too: allowed networks,
//! evicting limits, TLS with certificates that are read again. Answers of the API are scans of the
//! store ([`crate::queries`]) and readers of the feed ([`crate::gateway::FeedWatch`]).
//!
//! Metrics are made by hand: metrics libraries own the counters, but these belong to a floor below
//! all edges, and the format is a page of code. The format is
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4.
//!
//! `/metrics`, health and the files of the page expose names of servers and numbers, and no client
//! ID, position or address. The API exposes all of these, so that it has rules of access.

mod access;
mod answer;
mod clients;
mod deadline;
mod failures;
mod feature;
mod format;
mod herd;
mod herd_view;
mod metrics;
mod page;
mod parameters;
mod places;
mod port;
mod problem;
mod process;
mod routes;
mod state;
mod watch;

pub use herd_view::Dialling;
pub use port::{WebServer, serve};
