//! libFuzzer's inputs for the check of that name.

#![no_main]

#[path = "../../tests/security/fuzz/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::greeting::check(bytes));
