//! What latencies count from.

use std::time::Duration;

use super::liner::{Does, Liner};
use super::{assert_code, measure};

/// How long the server answers nobody.
const STALL: Duration = Duration::from_millis(500);

/// A server that stalls once, at its 200th line.
fn stalls() -> Liner {
    Liner::start(|line, _| match line {
        200 => Does::Late(STALL),
        _ => Does::Right,
    })
}

#[test]
fn what_was_due_in_a_stall_has_waited_for_its_end() {
    // Whether it could be sent meanwhile, or not.
    for pipeline in [4, 1000] {
        let liner = stalls();
        let words = format!(
            "--rate 500 --seconds 2 --warmup 0 --clients 10 --connections 1 --pipeline {pipeline}"
        );
        let (told, ended) = measure(&[&liner.address], &words);
        assert_code(&ended, 0);
        let load = &told["load"];
        assert_eq!(load["all"]["latency_us"]["count"], 1000);
        // A quarter of a thousand requests were due in the stall, one every two
        // milliseconds; the first of them waited for all of it, the last for none.
        for (key, millis) in [("max", 500.0), ("p99", 475.0), ("p90", 290.0)] {
            let micros = load["all"]["latency_us"][key].as_f64().unwrap();
            assert!(micros >= millis * 1e3, "{key}: {load}");
        }
    }
}

#[test]
fn a_load_that_can_not_keep_its_rate_says_so() {
    let liner = Liner::start(|line, _| match line {
        10.. => Does::Late(Duration::from_millis(20)),
        _ => Does::Right,
    });
    let words = "--rate 500 --seconds 1 --warmup 0 --clients 10 --connections 1 --pipeline 1";
    let (told, ended) = measure(&[&liner.address], words);
    assert_code(&ended, 0);
    let load = &told["load"];
    let sent = load["all"]["sent"].as_u64().unwrap();
    let unsent = load["unsent"].as_u64().unwrap();
    assert_eq!(sent + unsent, 500, "{load}");
    assert!(unsent >= 440, "{load}");
    // Those wait, too: half of them for about half of the second.
    let median = load["all"]["latency_us"]["p50"].as_f64().unwrap();
    assert!(median > 300_000.0, "{load}");
}
