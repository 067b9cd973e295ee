//! The libFuzzer target of the check `command`.

#![no_main]

#[path = "../../tests/security/fuzz/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::command::check(bytes));
