//! Herds for tests: real servers over real sockets in the test's own process, with faults.
#![doc = ""]
#![doc = include_str!("../../docs/testing.md")]
//! # How it is built
//!
//! A [`Herd`] runs each server on a runtime of its own, so that one is killed as a process would
//! be, with a [`LinkProxy`] in each direction of each link. So the servers have no hook for tests.
//!
//! It is always compiled: with a feature, plain `cargo test` would skip the tests that use it. The
//! program does not refer to it, so the linker leaves it out, and it needs no dependency that the
//! servers do not have.
//!
//! | file | contents |
//! |---|---|
//! | `herd` | the herd: servers, links and their faults |
//! | `state` | the state of its servers, and waits for it |
//! | `agreement` | whether servers hold the same reports, and where they differ |
//! | `topology` | servers and the links between them |
//! | `link_proxy` | a TCP proxy with the faults of networks |
//! | `line_client` | a client of the line protocol |
//! | `manual_clock` | a clock that stands still until a test sets it |
//! | `own_runtime` | the threads of one server |
//! | `folder` | the folder of a herd |
//! | `wait` | waits with a limit |
//! | `error` | errors |

mod agreement;
mod error;
mod folder;
mod herd;
mod line_client;
mod link_proxy;
mod manual_clock;
mod own_runtime;
mod state;
mod topology;
mod wait;

pub use agreement::{Difference, Disagreement, DownLink};
pub use error::TestkitError;
pub use herd::Herd;
pub use line_client::LineClient;
pub use link_proxy::{LinkMode, LinkProxy};
pub use manual_clock::ManualClock;
pub use topology::Topology;
pub use wait::{MAX_WAIT, eventually, within};
