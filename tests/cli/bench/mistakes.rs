//! Invalid command lines, and servers that are not running.

use super::{assert_code, run};
use crate::common::{free_ports, loopback};

#[test]
fn an_unreachable_server_is_reported_with_advice() {
    let address = loopback(free_ports(1)[0]).to_string();
    for arguments in ["--seconds 1", "--spread --server 127.0.0.1:9"] {
        let output = run(&[&address], arguments);
        assert_code(&output, 1);
        assert!(output.stderr.contains("Connection refused"), "{output:?}");
        assert!(output.stderr.contains("`proxyherd up`"), "{output:?}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn an_invalid_command_line_exits_with_2_and_sends_nothing() {
    for (arguments, message) in [
        ("--clients 10", "use more --clients or fewer --connections"),
        ("--spread", "--spread requires two servers or more"),
        ("--requests 5 --seconds 5", "cannot be used with"),
        ("--pipeline none", "invalid value 'none'"),
    ] {
        let output = run(&["127.0.0.1:1"], arguments);
        assert_code(&output, 2);
        assert!(output.stderr.contains(message), "{output:?}");
        assert!(output.stderr.contains("'--help'"), "{output:?}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn help_lists_every_option_and_fits_a_terminal() {
    let output = run(&[], "--help");
    assert_code(&output, 0);
    for option in [
        "--server",
        "--connections",
        "--pipeline",
        "--requests",
        "--seconds",
        "--warmup",
        "--clients",
        "--id-length",
        "--prefix",
        "--whatsat",
        "--radius",
        "--limit",
        "--rate",
        "--threads",
        "--timeout",
        "--unchecked",
        "--verify",
        "--no-verify",
        "--spread",
        "--under-load",
        "--json",
    ] {
        assert!(
            output.stdout.contains(&format!("\n      {option}")),
            "{option}"
        );
    }
    for line in output.stdout.lines() {
        assert!(line.chars().count() <= 82, "{line}");
    }
}
