//! proxyherd.
pub mod herd;
pub mod model;
pub mod text;
