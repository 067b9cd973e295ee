//! Ctrl-C.

use super::liner::{Does, Liner};
use super::{assert_code, bench, parse};
use crate::common::{Process, eventually};

/// A load without an end.
const LOAD: &str = "--seconds 1000 --warmup 0 --clients 10 --connections 2 --json";

#[test]
fn the_first_ends_a_load_early_and_tells_what_was_measured() {
    let two = [(); 2].map(|()| Liner::start(|_, _| Does::Right));
    let addresses = [&*two[0].address, &*two[1].address];
    let process = Process::spawn(&mut bench(&addresses, LOAD));
    eventually("the load runs", || (two[1].lines() > 200).then_some(()));
    process.signal("INT");
    let ended = process.end();
    assert_code(&ended, 0);
    let told = parse(&ended);
    assert_eq!(told["stopped_early"], true);
    assert_eq!(told["good"], true);
    assert!(told["load"]["all"]["answered"].as_u64() > Some(100));
    // They share nothing, and nobody waited to find that out.
    assert!(told["settled"].is_null());
}

#[test]
fn the_second_ends_it_at_once() {
    let liner = Liner::start(|line, _| match line {
        50.. => Does::Nothing,
        _ => Does::Right,
    });
    let load = format!("{LOAD} --timeout 1000");
    let process = Process::spawn(&mut bench(&[&liner.address], &load));
    eventually("both wait", || (liner.lines() >= 52).then_some(()));
    let mut process = process;
    eventually("it ends", || {
        process.signal("INT");
        (!process.is_running()).then_some(())
    });
    let ended = process.end();
    assert_code(&ended, 130);
    assert_eq!(ended.stdout, "");
}
