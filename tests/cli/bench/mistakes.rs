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
fn help_fits_a_terminal() {
    let output = run(&[], "--help");
    assert_code(&output, 0);
    for line in output.stdout.lines() {
        assert!(line.chars().count() <= 82, "{line}");
    }
}
