//! The values of a herd: reports, client IDs, positions, times, names and addresses.
//!
//! They are values only: no socket, no clock, no async. Every type is valid by construction (its
//! `parse` is the only way in), so upper floors never check again. Texts are kept as their writers
//! wrote them, because responses echo them byte for byte. Values for comparison are computed once,
//! exactly, and never through a float.
//!
//! This folder does not compare anything with a clock or a setting. Whether a time is too far in
//! the future is decided by the server that a client is connected to. A report from a neighbour is
//! checked for its form alone; otherwise two servers could disagree about the same report
//! permanently.

pub mod address;
pub mod bounding_box;
pub mod client;
pub mod decimal;
pub mod name;
pub mod networks;
pub mod position;
pub mod report;
pub mod sphere;
mod text;
pub mod timestamp;
