//! proxyherd.
pub mod model;
