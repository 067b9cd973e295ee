//! The libFuzzer target of the check `lines`.

#![no_main]

#[path = "../../tests/security/fuzz/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::lines::check(bytes));
