//! Clocks that are wrong, of servers and of clients: they show in skews, and
//! nothing else depends on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use proxyherd::gateway::Clock;
use proxyherd::log::Log;
use proxyherd::model::timestamp::UnixNanos;

use crate::common::{Client, Herd, Mode, Topology, eventually};

const PAIR: Topology<'static> = (&["A", "B"], &[("A", "B")]);

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
const NOW: i64 = 1_621_464_827 * SECOND;
/// In the year 2262, the last that a server's clock can tell.
const FAR: i64 = 9_223_372_036 * SECOND;

/// A clock that stands still until it is set, which no timer may notice.
#[derive(Clone)]
struct Hands(Arc<AtomicI64>);

impl Hands {
    fn at(nanos: i64) -> Self {
        Self(Arc::new(AtomicI64::new(nanos)))
    }

    fn step(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::new(move || UnixNanos(hands.0.load(Relaxed)))
    }
}

fn pair(a: &Hands, b: &Hands) -> Herd {
    let mut herd = Herd::new(PAIR).adjust(|plan| {
        plan.clients.idle = Duration::from_secs(1);
        plan.peers.drain = Duration::from_millis(500);
        if plan.name.as_str() == "A" {
            plan.gateway.max_future = Duration::from_secs(100 * 365 * 24 * 3600);
        }
    });
    herd.launch_with("A", a.clock(), Log::off());
    herd.launch_with("B", b.clock(), Log::off());
    herd.await_links();
    herd
}

/// What a server answers to who asks about kiwi.
fn kiwi(client: &mut Client) -> String {
    client.send("WHATSAT kiwi 1 0\n").places().0
}

#[test]
fn skews_follow_a_clock_that_steps_and_the_order_of_reports_does_not() {
    let hands = Hands::at(NOW);
    let herd = pair(&hands, &Hands::at(NOW));
    let mut client = herd.client("A");
    // Each with the server's clock then, and whether it is news.
    let steps = [
        (0, "1621464800", "+27.000000000", true),
        (-HOUR, "1621464801", "-3574.000000000", true),
        (0, "1621464799", "-3572.000000000", false),
        (2 * HOUR, "1621464800.5", "+3626.500000000", false),
        (0, "1621464802", "+3625.000000000", true),
        (-HOUR, "1621464803", "+24.000000000", true),
    ];
    let mut newest = String::new();
    for (n, (step, time, skew, is_news)) in steps.into_iter().enumerate() {
        hands.step(step);
        let answer = client.ask(&format!("IAMAT kiwi +1+{n} {time}"));
        assert_eq!(answer, format!("AT A {skew} kiwi +1+{n} {time}"));
        if is_news {
            newest = answer;
            herd.await_everywhere("kiwi", &format!("+1+{n}"));
        }
        assert_eq!(kiwi(&mut client), newest);
        assert_eq!(kiwi(&mut herd.client("B")), newest);
    }
}

/// How much `A` says to `B` in half a second, in which it has five heartbeats of
/// less than a hundred bytes; fewer where the machine is busy.
fn chatter(herd: &Herd) -> u64 {
    let before = herd.said("A", "B");
    std::thread::sleep(Duration::from_millis(500));
    herd.said("A", "B") - before
}

#[test]
fn timers_do_not_notice_a_clock_that_steps() {
    let hands = Hands::at(NOW);
    let mut herd = pair(&hands, &hands);
    let since = herd.link("A", "B").since;
    for step in [-HOUR, 2 * HOUR] {
        let mut client = herd.client("A");
        let connected = Instant::now();
        hands.step(step);
        // Not sooner and not later than its second.
        assert_eq!(client.line(), b"");
        let idle = connected.elapsed();
        assert!(idle >= Duration::from_millis(990), "{idle:?}");
        assert!(idle < Duration::from_secs(3), "{idle:?}");
        let heartbeats = chatter(&herd);
        println!("after a step of {step} ns: {heartbeats} bytes said");
        assert!((1..2_000).contains(&heartbeats), "{heartbeats} bytes");
        assert!(herd.is_up("A", "B") && herd.is_up("B", "A"));
        assert_eq!(herd.link("A", "B").since, since, "it never was down");
    }

    herd.set_link("A", "B", Mode::Stall);
    hands.step(-HOUR);
    let start = Instant::now();
    eventually("A notices", || (!herd.is_up("A", "B")).then_some(()));
    hands.step(-HOUR);
    herd.set_link("A", "B", Mode::Pass);
    herd.await_links();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");

    herd.kill("B");
    eventually("A notices", || (!herd.is_up("A", "B")).then_some(()));
    herd.client("A").ask("IAMAT kiwi +1+1 1");
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| hands.step(-HOUR));
        assert_eq!(herd.drain("A"), 1);
    });
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn the_far_future_is_refused_where_the_client_speaks_and_taken_from_a_neighbour() {
    let herd = pair(&Hands::at(FAR), &Hands::at(NOW));
    let (mut a, mut b) = (herd.client("A"), herd.client("B"));
    // In 1970.
    let past = a.ask("IAMAT kiwi +1+1 0.5");
    assert_eq!(past, "AT A +9223372035.500000000 kiwi +1+1 0.5");
    herd.await_everywhere("kiwi", "+1+1");
    let past = b.ask("IAMAT kiwi +2+2 1");
    assert_eq!(past, "AT B +1621464826.000000000 kiwi +2+2 1");
    herd.await_everywhere("kiwi", "+2+2");

    // In 2286.
    let far = "IAMAT kiwi +3+3 10000000000";
    assert_eq!(b.ask(far), format!("? {far}"));
    let answer = a.ask(far);
    assert_eq!(answer, "AT A -776627964.000000000 kiwi +3+3 10000000000");
    herd.await_everywhere("kiwi", "+3+3");
    assert_eq!(kiwi(&mut b), answer);

    // It stays the newest, on both.
    let now = b.ask("IAMAT kiwi +4+4 1621464827");
    assert_eq!(now, "AT B +0.000000000 kiwi +4+4 1621464827");
    b.ask("IAMAT plum +4+4 1621464827");
    herd.await_everywhere("plum", "+4+4");
    assert_eq!((kiwi(&mut a), kiwi(&mut b)), (answer.clone(), answer));
    assert!(herd.is_up("A", "B") && herd.is_up("B", "A"));
}
