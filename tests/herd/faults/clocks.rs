//! Wrong clocks of servers and clients: what they affect, and what they do not.

use std::time::{Duration, Instant};

use proxyherd::log::Log;

use crate::common::{Client, Herd, LIMIT, ManualClock, Mode, Topology, eventually, linked};

const PAIR: Topology<'static> = (&["A", "B"], &[("A", "B")]);

const HOUR: i64 = 3600;
const NOW: i64 = 1_621_464_827;
/// The latest time of a server's clock, in the year 2262.
const MAX_TIME: i64 = 9_223_372_036;

/// Launches the pair. A accepts reports from a far future.
fn launch(herd: Herd, a: &ManualClock, b: &ManualClock) -> Herd {
    let mut herd = herd;
    herd.launch_with("A", a.clock(), Log::off());
    herd.launch_with("B", b.clock(), Log::off());
    herd.await_links();
    herd
}

fn pair(a: &ManualClock, b: &ManualClock) -> Herd {
    let herd = Herd::new(PAIR).adjust(|plan| {
        if plan.name.as_str() == "A" {
            plan.gateway.max_future = Duration::from_secs(100 * 365 * 24 * 3600);
        }
    });
    launch(herd, a, b)
}

/// Queries kiwi, and returns the AT line.
fn query_kiwi(client: &mut Client) -> String {
    client.send("WHATSAT kiwi 1 0\n").places().0
}

#[test]
fn a_servers_clock_affects_skews_and_orders_reports_only_if_it_is_far_behind_their_clients() {
    let clock = ManualClock::at(NOW);
    let herd = pair(&clock, &ManualClock::at(NOW));
    let mut client = herd.client("A");
    // The step of the clock, the report's time, its skew, and whether it is newer.
    let steps = [
        (0, "1621464800", "+27.000000000", true),
        (-30, "1621464801", "-4.000000000", true),
        (0, "1621464799", "-2.000000000", false),
        (2 * HOUR, "1621464800.5", "+7196.500000000", false),
        (0, "1621464802", "+7195.000000000", true),
        (-2 * HOUR, "1621464803", "-6.000000000", true),
        (-HOUR, "1621464804", "-3607.000000000", false),
        (HOUR, "1621465000", "-203.000000000", true),
    ];
    let mut newest = String::new();
    for (n, (step, time, skew, is_newer)) in steps.into_iter().enumerate() {
        clock.step(step);
        let answer = client.ask(&format!("IAMAT kiwi +1+{n} {time}"));
        assert_eq!(answer, format!("AT A {skew} kiwi +1+{n} {time}"));
        if is_newer {
            newest = answer;
            herd.await_everywhere("kiwi", &format!("+1+{n}"));
        }
        assert_eq!(query_kiwi(&mut client), newest);
        assert_eq!(query_kiwi(&mut herd.client("B")), newest);
    }
}

#[test]
fn a_server_whose_clock_leaps_ahead_hides_reports_and_loses_none() {
    let (right, leaping) = (ManualClock::at(NOW), ManualClock::at(NOW));
    let herd = Herd::new(PAIR).adjust(|plan| {
        plan.gateway.expire_after = Some(Duration::from_secs(HOUR as u64));
    });
    let mut herd = launch(herd, &right, &leaping);
    let report = |herd: &Herd, server: &str, client: &str| {
        let line = format!("IAMAT {client} +1+1 {NOW}");
        let answer = herd.client(server).ask(&line);
        assert!(answer.starts_with(&format!("AT {server} ")), "{answer}");
    };
    report(&herd, "A", "before");
    herd.await_everywhere("before", "+1+1");
    leaping.step(72 * HOUR);
    assert_eq!(herd.position("B", "before"), None);
    report(&herd, "A", "at-a");
    report(&herd, "B", "at-b");
    eventually("at-b is at A", || herd.position("A", "at-b"));
    // B has at-a too, although its clock hides it.
    herd.await_pushes();
    // By its clock, B holds nothing that a neighbour needs.
    herd.kill("A");
    herd.launch_with("A", right.clock(), Log::off());
    for client in ["before", "at-a", "at-b"] {
        eventually(client, || herd.position("A", client));
    }
    leaping.step(-72 * HOUR);
    for client in ["before", "at-a", "at-b"] {
        herd.await_everywhere(client, "+1+1");
    }
}

#[test]
fn a_server_whose_clock_is_wrong_is_shown_by_all_its_links() {
    let (right, wrong) = (ManualClock::at(NOW), ManualClock::at(NOW + 5));
    let mut herd = Herd::new(linked(&["A", "X", "B"], &[("A", "X"), ("X", "B")]));
    for (server, clock) in [("A", &right), ("X", &wrong), ("B", &right)] {
        herd.launch_with(server, clock.clock(), Log::off());
    }
    herd.await_links();
    let second = 1_000_000_000;
    let await_offsets = |expected: i64| {
        for (from, to, sign) in [("A", "X", 1), ("B", "X", 1), ("X", "A", -1), ("X", "B", -1)] {
            eventually(&format!("{from} knows the clock of {to}"), || {
                let offset = herd.link(from, to).clock_offset?;
                let error = offset.nanos - sign * expected * second;
                let is_right = error.unsigned_abs() <= offset.max_error.as_nanos() as u64;
                is_right.then_some(())
            });
        }
    };
    await_offsets(5);
    wrong.set(NOW);
    await_offsets(0);
    herd.kill("X");
    eventually("A does not know it", || {
        herd.link("A", "X").clock_offset.is_none().then_some(())
    });
}

#[test]
fn a_client_whose_clock_is_ahead_cannot_pin_its_position() {
    let clock = ManualClock::at(NOW);
    let herd = launch(Herd::new(PAIR), &clock, &clock);
    let (mut a, mut b) = (herd.client("A"), herd.client("B"));
    let ahead = NOW + 23 * HOUR;
    a.ask(&format!("IAMAT kiwi +1+1 {ahead}"));
    herd.await_everywhere("kiwi", "+1+1");
    // It counts as a report of 10 s after its receipt.
    clock.step(10);
    b.ask(&format!("IAMAT kiwi +2+2 {}", NOW + 10));
    b.ask(&format!("IAMAT plum +2+2 {}", NOW + 10));
    herd.await_everywhere("plum", "+2+2");
    assert!(
        query_kiwi(&mut a).contains(" +1+1 "),
        "the later client time"
    );
    clock.step(1);
    b.ask(&format!("IAMAT kiwi +3+3 {}", NOW + 11));
    herd.await_everywhere("kiwi", "+3+3");
    // The clock that is ahead still orders its own reports.
    clock.step(1);
    a.ask(&format!("IAMAT kiwi +4+4 {}", ahead + 12));
    herd.await_everywhere("kiwi", "+4+4");
}

#[test]
fn a_client_whose_clock_is_behind_is_ordered_by_its_own_time() {
    let clock = ManualClock::at(NOW);
    let herd = launch(Herd::new(PAIR), &clock, &clock);
    let (mut a, mut b) = (herd.client("A"), herd.client("B"));
    for (age, position, newest) in [
        (2 * HOUR, "+1+1", "+1+1"),
        (HOUR, "+2+2", "+2+2"),
        (HOUR + 1, "+3+3", "+2+2"),
        (HOUR - 1, "+4+4", "+4+4"),
    ] {
        a.ask(&format!("IAMAT kiwi {position} {}", NOW - age));
        a.ask(&format!("IAMAT plum {position} {}", NOW + 10 - age));
        herd.await_everywhere("plum", newest);
        assert!(query_kiwi(&mut b).contains(&format!(" {newest} ")), "{age}");
    }
}

/// Returns the bytes that A sends to B in a second of at least one heartbeat.
///
/// Ten heartbeats of less than a hundred bytes are usual, fewer on a busy machine.
fn heartbeat_rate(herd: &Herd) -> f64 {
    let (before, start) = (herd.bytes_sent("A", "B"), Instant::now());
    std::thread::sleep(Duration::from_millis(500));
    let sent = eventually("a heartbeat", || {
        let sent = herd.bytes_sent("A", "B") - before;
        (sent > 0).then_some(sent)
    });
    sent as f64 / start.elapsed().as_secs_f64()
}

#[test]
fn a_clock_that_steps_does_not_affect_timers() {
    let idle = Duration::from_secs(1);
    let clock = ManualClock::at(NOW);
    let herd = Herd::new(PAIR).adjust(move |plan| {
        plan.clients.idle = idle;
        plan.peers.drain = Duration::from_millis(500);
    });
    let mut herd = launch(herd, &clock, &clock);
    let since = herd.link("A", "B").since;
    for step in [-HOUR, 2 * HOUR] {
        let connected = Instant::now();
        let mut client = herd.client("A");
        clock.step(step);
        // The client is disconnected, and not before its second has passed.
        assert_eq!(client.line(), b"");
        assert!(connected.elapsed() >= idle, "{:?}", connected.elapsed());
        let rate = heartbeat_rate(&herd);
        assert!(rate < 4_000.0, "{rate} bytes a second");
        assert!(herd.is_up("A", "B") && herd.is_up("B", "A"));
        assert_eq!(herd.link("A", "B").since, since, "the link was down");
    }

    herd.set_link("A", "B", Mode::Stall);
    clock.step(-HOUR);
    eventually("A detects it", || (!herd.is_up("A", "B")).then_some(()));
    clock.step(-HOUR);
    herd.set_link("A", "B", Mode::Pass);
    herd.await_links();

    herd.kill("B");
    eventually("A detects it", || (!herd.is_up("A", "B")).then_some(()));
    herd.client("A").ask("IAMAT kiwi +1+1 1");
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| clock.step(-HOUR));
        assert_eq!(herd.drain("A"), 1);
    });
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
}

#[test]
fn a_report_from_the_far_future_is_rejected_from_a_client_and_accepted_from_a_neighbour() {
    let herd = pair(&ManualClock::at(MAX_TIME), &ManualClock::at(NOW));
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
    assert_eq!(query_kiwi(&mut b), answer);

    // It remains the newest at both servers.
    let now = b.ask("IAMAT kiwi +4+4 1621464827");
    assert_eq!(now, "AT B +0.000000000 kiwi +4+4 1621464827");
    b.ask("IAMAT plum +4+4 1621464827");
    herd.await_everywhere("plum", "+4+4");
    assert_eq!(
        (query_kiwi(&mut a), query_kiwi(&mut b)),
        (answer.clone(), answer)
    );
    assert!(herd.is_up("A", "B") && herd.is_up("B", "A"));
}
