//! The line protocol, as text: bytes into lines, lines into commands, answers
//! into bytes.
//!
//! All of it is pure: no socket, no clock, no state but a half-received line.
//! What the protocol's words *do* is the gateway's business; what a socket
//! does with the bytes is the session's.

pub mod command;
pub mod lines;
pub mod reply;
