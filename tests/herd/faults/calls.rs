//! Calls that fail, lose their answers, or arrive twice and late. Clients are served, and
//! every report reaches every server.

use tokio::runtime::Runtime;

use super::relay::Relay;
use crate::common::{CLASSIC, Herd, eventually};
use crate::load::ClientLoad;

#[test]
fn every_report_reaches_every_server_while_thirty_percent_of_calls_fail() {
    let herd = Herd::start(CLASSIC);
    let runtime = Runtime::new().unwrap();
    let relays: Vec<_> = (1..)
        .zip(CLASSIC.1.iter().flat_map(|&(a, b)| [(a, b), (b, a)]))
        .map(|(seed, (from, to))| {
            let relay = Relay::start(runtime.handle(), herd.peers_address(to), seed * 7919);
            herd.redirect(from, to, relay.address());
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
    let load = ClientLoad::start(&herd, CLASSIC.0, 0);
    eventually("600 calls are made", || (calls().0 > 600).then_some(()));
    let reports = load.stop();
    // Calls continue to fail.
    reports.await_everywhere(&herd);
    let (made, failed) = calls();
    println!("{failed} of {made} calls failed");
    let share = failed as f64 / made as f64;
    assert!((0.22..0.38).contains(&share), "{failed} of {made}");
}
