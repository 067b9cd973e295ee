//! Calls that fail, lose their answers, or come twice and late: clients do not
//! notice, and everything gets across all the same.

use std::time::Duration;

use tokio::runtime::Runtime;

use super::load::Load;
use super::relay::Relay;
use crate::common::{CLASSIC, Herd, eventually};

#[test]
fn thirty_calls_in_a_hundred_fail_and_everything_gets_across() {
    let herd = Herd::start(CLASSIC);
    let runtime = Runtime::new().unwrap();
    let relays: Vec<_> = (1..)
        .zip(CLASSIC.1.iter().flat_map(|&(a, b)| [(a, b), (b, a)]))
        .map(|(seed, (from, to))| {
            let relay = Relay::start(runtime.handle(), herd.peers_address(to), seed * 7919);
            herd.lead(from, to, relay.address());
            herd.redial(from, to);
            relay
        })
        .collect();
    let calls = || {
        relays
            .iter()
            .map(Relay::calls)
            .fold((0, 0), |sum, calls| (sum.0 + calls.0, sum.1 + calls.1))
    };
    let load = Load::start(&herd, CLASSIC.0, 0);
    eventually("calls enough", || (calls().0 > 600).then_some(()));
    let served = load.stop();
    served.assert_quick("30% of calls failing");
    // They go on failing.
    let took = served.await_everywhere(&herd);
    let (made, failed) = calls();
    println!("30% of calls failing: {failed} of {made}; all agree after {took:?}");
    let share = failed as f64 / made as f64;
    assert!((0.22..0.38).contains(&share), "{failed} of {made}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}
