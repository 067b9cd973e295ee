//! The line protocol: bytes to lines, lines to commands, replies to bytes.
//!
//! All of it is pure: no socket, no clock, and no state except a partial line. The gateway executes
//! commands; a client's session reads and writes the socket.

pub mod command;
pub mod lines;
pub mod reply;
