//! The program as people and systems meet it: a process with arguments, files,
//! streams and signals.

mod crowds;
mod disks;
mod files;
mod logs;
mod mistakes;
mod reload;
mod starting;
mod stopping;
mod surroundings;

/// A time of the clients' clocks.
const T: &str = "1621464827";
