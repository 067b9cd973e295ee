//! Tests in their own process.

use std::env;
use std::process::Command;

/// The environment variable with the name of the only test of a process.
const VARIABLE: &str = "PROXYHERD_TEST_ALONE";

/// Runs a test in its own process, for state that a process has once: its event log, its
/// panic hook, its memory. `test` is a closure in the function with `#[test]`, and its path
/// determines the name of the test.
#[track_caller]
pub fn alone<F: FnOnce()>(test: F) {
    let path = std::any::type_name::<F>();
    let (_, path) = path.split_once("::").expect("a path in a crate");
    let name = path.strip_suffix("::{{closure}}").expect("a closure");
    if env::var_os(VARIABLE).is_some_and(|value| value == name) {
        test();
        return;
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--include-ignored"]);
    let ended = command.env(VARIABLE, name).output().unwrap();
    let stdout = String::from_utf8_lossy(&ended.stdout);
    let stderr = String::from_utf8_lossy(&ended.stderr);
    println!("{stdout}");
    eprintln!("{stderr}");
    assert!(ended.status.success(), "{name} failed alone");
    assert!(
        stdout.contains("1 passed"),
        "{name} is not the name of a test"
    );
}
