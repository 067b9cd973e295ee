//! Fuzzing: whatever comes from outside is taken or refused as the protocol
//! says, and nothing panics.
//!
//! Inputs are mostly mutations of valid ones, since noise is refused at its
//! first byte. What must hold of each is in `checks`, which `fuzz/` hands to
//! libFuzzer as well. Whatever is found becomes a test by its name in
//! `findings.rs`.
//!
//! | variable | does |
//! |---|---|
//! | `PROXYHERD_FUZZ_SECONDS=n` | fuzzes each target for so long, instead of a second |
//!
//! A valid input of each kind, and more that reach into corners, are files
//! under `seeds`.

mod checks;
mod findings;
mod inputs;
mod messages;
mod run;
mod texts;

use run::{fuzz, replay};

#[test]
fn lines() {
    replay("lines", checks::lines::check);
    fuzz("lines", texts::streams(), checks::lines::check);
}

#[test]
fn commands() {
    replay("command", checks::command::check);
    fuzz("command", texts::commands(), checks::command::check);
}

#[test]
fn numbers() {
    replay("numbers", checks::numbers::check);
    fuzz("numbers", texts::numbers(), checks::numbers::check);
}

#[test]
fn pushes() {
    replay("push", checks::push::check);
    fuzz("push", messages::pushes(), checks::push::check);
}

#[test]
fn greetings() {
    replay("greeting", checks::greeting::check);
    fuzz("greeting", messages::greetings(), checks::greeting::check);
}

#[test]
fn configs() {
    replay("config", checks::config::check);
    fuzz("config", texts::configs(), checks::config::check);
}
