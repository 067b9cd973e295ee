//! The commands that ask a herd, as people and scripts meet them: a process with
//! arguments, output and an exit code, against servers that the test plays and
//! against a herd that runs.

mod asking;
mod locate;
mod nearby;
mod operator;
mod real;
mod status;
mod verify;
mod watch;
