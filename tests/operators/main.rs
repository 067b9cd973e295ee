//! The `Operator` service and the web port of a server.

// A test may panic.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod operator;
mod web;
