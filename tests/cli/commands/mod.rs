//! The commands that query a herd, run as processes with arguments, output and exit
//! codes: against servers that the test fakes, and against a running herd.

mod fake_server;
mod locate;
mod nearby;
mod running_herd;
mod status;
mod targets;
mod transfer;
mod verify;
mod watch;
