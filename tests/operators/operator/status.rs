//! The status of a server.

use super::*;

use proxyherd::proto::{RejectedCalls, RejectedConnections};

#[test]
fn lines_and_links_are_counted() {
    let herd = Herd::start(PAIR);
    let operator = Operator::of(&herd, "Riley");
    let mut client = herd.client("Riley");
    let lines = [
        ("IAMAT kiwi +1+1 5", "AT "),
        ("IAMAT kiwi +1+1 6", "AT "),
        ("IAMAT kiwi +1+1 4", "AT "),
        ("IAMAT kiwi +1+1 99999999999", "? "),
        ("WHATSAT nobody 1 1", "? "),
        ("what?", "? "),
    ];
    for (line, answer) in lines {
        assert!(client.ask(line).starts_with(answer), "{line}");
    }
    client.send("WHATSAT kiwi 1 1\nWHATSAT kiwi 1 0\n");
    client.places();
    client.places();
    let status = eventually(
        "the lines are counted and the report is acknowledged",
        || {
            let status = operator.status();
            let lines = status.client_lines.unwrap();
            let is_acknowledged =
                status.links[0].lag_reports == 0 && status.links[0].reports_sent > 0;
            (is_acknowledged && lines.located == 2).then_some(status)
        },
    );
    assert_eq!((&*status.name, &*status.herd), ("Riley", "test"));
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(status.incarnation, herd.incarnation("Riley").get());
    assert!(nanos(status.uptime) > 0 && status.now.unwrap().seconds > 1_700_000_000);
    assert_eq!(status.expire_after, None);
    assert_eq!((status.clients, status.last_sequence), (1, 2));
    assert!(!status.draining);

    let lines = status.client_lines.unwrap();
    assert_eq!((lines.accepted, lines.stale), (2, 1));
    let rejected = (lines.rejected_max_future, lines.rejected_max_clients);
    assert_eq!(rejected, (1, 0));
    assert_eq!((lines.located, lines.unknown, lines.malformed), (2, 1, 1));
    assert_eq!(status.client_connections, 1);
    assert_eq!(status.client_connections_accepted, 1);
    let rejected = status.client_connections_rejected.unwrap();
    assert_eq!(rejected, RejectedConnections::default());
    let rejected = status.peer_calls_rejected.unwrap();
    assert_eq!(rejected, RejectedCalls::default());
    let places = status.places.unwrap();
    // A WHATSAT for 0 places queries no provider.
    assert_eq!((places.answered, places.failed), (1, 0));
    assert_eq!(places.provider, "custom");

    let link = &status.links[0];
    assert_eq!(
        (&*link.neighbour, link.up, &*link.reason),
        ("Jaquez", true, "")
    );
    assert_eq!((link.cursor, link.lag), (2, None));
    assert!(link.since.is_some() && nanos(link.last_round_trip) > 0);
    assert!(link.batches_sent >= 1 && (1..=2).contains(&link.reports_sent));

    let jaquez = Operator::of(&herd, "Jaquez");
    let link = jaquez.link();
    assert_eq!(link.neighbour, "Riley");
    assert_eq!(link.received_newer, status.links[0].reports_sent);
    assert_eq!((link.received_duplicate, link.received_stale), (0, 0));
    assert!(link.batches_received > 0);
    assert_eq!(jaquez.status().places.unwrap().answered, 0);
}

#[test]
fn lag_is_shown_while_a_neighbour_is_stalled_and_ends_afterwards() {
    let herd = Herd::start(PAIR);
    let operator = Operator::of(&herd, "Riley");
    herd.set_link("Riley", "Jaquez", Mode::Stall);
    let mut client = herd.client("Riley");
    for line in ["IAMAT a +1+1 1", "IAMAT b +1+1 1", "IAMAT c +1+1 1"] {
        client.ask(line);
    }
    let link = operator.link();
    assert_eq!(link.lag_reports, 3, "{link:?}");
    let lag = nanos(link.lag);
    eventually("the lag grows, and the link is down", || {
        let link = operator.link();
        let is_down = !link.up && !link.reason.is_empty() && link.calls_failed > 0;
        let is_stalled = nanos(link.stalled) > SECOND / 10;
        (is_down && is_stalled && nanos(link.lag) > lag + SECOND / 10).then_some(())
    });
    // Only the newest report of each client is missing, however often it reports.
    for time in 2..50 {
        client.ask(&format!("IAMAT a +1+1 {time}"));
    }
    assert_eq!(operator.link().lag_reports, 3);
    herd.set_link("Riley", "Jaquez", Mode::Pass);
    eventually("there is no lag", || {
        let link = operator.link();
        let is_clear = link.lag.is_none() && link.stalled.is_none();
        (link.up && link.lag_reports == 0 && is_clear).then_some(())
    });
}

#[test]
fn clients_includes_expired_reports() {
    let (herd, now) = forgetful();
    herd.client("Riley").ask("IAMAT kiwi +1+1 100");
    now.store(200 * SECOND, SeqCst);
    let status = Operator::of(&herd, "Riley").status();
    assert_eq!(status.clients, 1);
    assert_eq!(nanos(status.expire_after), 10 * SECOND);
    assert_eq!(status.now.unwrap().seconds, 200);
}
