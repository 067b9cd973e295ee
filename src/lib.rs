//! proxyherd.
pub mod model;
pub mod text;
