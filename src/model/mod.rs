//! What a herd talks about: who is where, since when, and who heard it.
//!
//! These are values without behaviour towards the outside: no socket, no
//! clock, no async. Every type is valid by construction (its `parse` is the
//! only way in), so upper floors never check again. Texts are kept as their
//! writers wrote them, because answers echo them byte for byte; what is
//! compared is worked out once, exactly, and never through a float.
//!
//! What this folder does not do: judge by a clock or a config. Whether a time
//! is too far in the future is a question for the server that a client speaks
//! to; a report that came from a neighbour is judged by its form alone, or two
//! servers could disagree about the same report for ever.

pub mod address;
pub mod client;
pub mod decimal;
pub mod name;
pub mod networks;
pub mod position;
pub mod report;
pub mod sphere;
mod text;
pub mod timestamp;
