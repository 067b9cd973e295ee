//! The program as a process: arguments, files, streams and signals.

mod checks;
mod crowds;
mod disks;
mod files;
mod healthcheck;
mod logs;
mod mistakes;
mod picked_ports;
mod reload;
mod service_manager;
mod starting;
mod stdout_logs;
mod stopping;
mod storage;
mod surroundings;

/// A client's time.
const T: &str = "1621464827";
