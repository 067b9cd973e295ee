//! Servers that differ though their links have caught up.

use std::time::Duration;

use crate::common::{FakeSender, Herd, PAIR, PeerClient, eventually, report};
use proxyherd::gateway::LinkTraffic;
use proxyherd::peers::PeerSettings;

/// Starts the pair, with small batches.
fn pair(interval: Option<Duration>) -> Herd {
    let adjust = move |peers: &mut PeerSettings| {
        peers.anti_entropy = interval;
        peers.batch_reports = 50;
    };
    let herd = Herd::new(PAIR).adjust(move |plan| adjust(&mut plan.peers));
    let herd = herd.launch_all();
    herd.await_links();
    herd
}

/// Makes a server hold reports that its neighbour does not hold and, by all that the server knows,
/// has sent: what a restored image of the neighbour's machine leaves behind.
fn plant(herd: &Herd, server: &str, neighbour: &str, clients: usize) {
    let calls = PeerClient::dial(herd.peers_address(server));
    let mut sender = FakeSender::new(neighbour, herd.incarnation(neighbour).get(), server);
    sender.greet(&calls);
    let reports = (0..clients).map(|n| report(&format!("{server}-{n}"), "+1+1", "1"));
    calls.push(&sender.push(0, 0, reports.collect())).unwrap();
    assert_eq!(clients_of(herd, server), clients);
}

fn clients_of(herd: &Herd, server: &str) -> usize {
    herd.gateway(server).replica().store().clients()
}

fn with_traffic<T>(herd: &Herd, server: &str, read: impl FnOnce(&LinkTraffic) -> T) -> T {
    let gateway = herd.gateway(server);
    let (neighbour, _) = gateway.replica().neighbours().next().unwrap();
    read(gateway.links().traffic(neighbour))
}

#[test]
fn servers_that_differ_are_alike_again_without_a_restart() {
    let herd = pair(Some(Duration::from_millis(200)));
    plant(&herd, "Riley", "Jaquez", 300);
    eventually("Jaquez has what Riley holds", || {
        (clients_of(&herd, "Jaquez") == 300).then_some(())
    });
    let counts = |traffic: &LinkTraffic| {
        let counters = &traffic.counters;
        (
            counters.ranges_differed.get(),
            counters.reports_pushed_again.get(),
        )
    };
    eventually("all batches are acknowledged", || {
        (with_traffic(&herd, "Riley", counts).1 == 300).then_some(())
    });
    let (ranges, reports) = with_traffic(&herd, "Riley", counts);
    assert!((200..=300).contains(&ranges), "{ranges} ranges");
    assert_eq!(with_traffic(&herd, "Jaquez", counts).1, 0, "it had none");
    let comparisons = || with_traffic(&herd, "Riley", |it| it.counters.comparisons.get());
    let before = comparisons();
    eventually("three more comparisons", || {
        (comparisons() >= before + 3).then_some(())
    });
    assert_eq!(with_traffic(&herd, "Riley", counts), (ranges, reports));
}

#[test]
fn without_comparisons_servers_stay_different() {
    let herd = pair(None);
    plant(&herd, "Riley", "Jaquez", 1);
    herd.client("Riley").ask("IAMAT kiwi +1+1 1");
    eventually("a later report arrives", || {
        herd.position("Jaquez", "kiwi").map(drop)
    });
    assert_eq!(herd.position("Jaquez", "Riley-0"), None);
}
