//! Command lines and surroundings that are wrong.

use super::{assert_code, run};
use crate::common::{free_ports, loopback};

#[test]
fn a_server_that_is_not_there_is_told_with_a_way_out() {
    let address = loopback(free_ports(1)[0]).to_string();
    for words in ["--seconds 1", "--spread --server 127.0.0.1:9"] {
        let ended = run(&[&address], words);
        assert_code(&ended, 1);
        assert!(ended.stderr.contains("Connection refused"), "{ended:?}");
        assert!(ended.stderr.contains("`proxyherd up`"), "{ended:?}");
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn nonsense_ends_with_2_and_nothing_is_sent() {
    for (words, told) in [
        ("--clients 10", "take more --clients or fewer --connections"),
        ("--spread", "--spread needs two servers or more"),
        ("--requests 5 --seconds 5", "cannot be used with"),
        ("--pipeline none", "invalid value 'none'"),
    ] {
        let ended = run(&["127.0.0.1:1"], words);
        assert_code(&ended, 2);
        assert!(ended.stderr.contains(told), "{ended:?}");
        assert!(ended.stderr.contains("'--help'"), "{ended:?}");
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn help_is_whole_and_fits_a_terminal() {
    let ended = run(&[], "--help");
    assert_code(&ended, 0);
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
        "--most",
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
            ended.stdout.contains(&format!("\n      {option}")),
            "{option}"
        );
    }
    for line in ended.stdout.lines() {
        assert!(line.chars().count() <= 82, "{line}");
    }
}
