//! Fuzzing: untrusted input is accepted or rejected as the protocol requires, and nothing panics.
//!
//! Inputs are mostly mutations of valid ones, since noise is rejected at its first byte. `checks`
//! holds the properties of each target; the targets of `fuzz/` run them under libFuzzer as well.
//! Each defect that was found is a test in `findings.rs`.
//!
//! | variable | effect |
//! |---|---|
//! | `PROXYHERD_FUZZ_SECONDS=n` | fuzzes each target for n seconds, instead of one |
//!
//! The files under `seeds` are valid inputs of each kind, and inputs for special cases.

mod checks;
mod findings;
mod inputs;
mod messages;
mod run;
mod texts;

use run::{fuzz, replay};

#[test]
fn lines_are_split_as_by_the_reference() {
    replay("lines", checks::lines::check);
    fuzz("lines", texts::streams(), checks::lines::check);
}

#[test]
fn commands_are_parsed_as_by_the_reference() {
    replay("command", checks::command::check);
    fuzz("command", texts::commands(), checks::command::check);
}

#[test]
fn numbers_are_computed_as_by_the_reference() {
    replay("numbers", checks::numbers::check);
    fuzz("numbers", texts::numbers(), checks::numbers::check);
}

#[test]
fn pushes_are_merged_as_by_the_reference() {
    replay("push", checks::push::check);
    fuzz("push", messages::pushes(), checks::push::check);
}

#[test]
fn greetings_are_accepted_as_by_the_reference() {
    replay("greeting", checks::greeting::check);
    fuzz("greeting", messages::greetings(), checks::greeting::check);
}

#[test]
fn configs_are_valid_herds_or_located_errors() {
    replay("config", checks::config::check);
    fuzz("config", texts::configs(), checks::config::check);
}
