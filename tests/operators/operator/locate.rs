//! Locating one client.

use super::*;

#[test]
fn the_report_has_its_sequence_number_source_and_age() {
    let herd = Herd::new(PAIR).launched_at(1000 * SECOND + SECOND / 2);
    herd.client("Riley").ask("IAMAT kiwi +1-2 999.25");
    herd.await_everywhere("kiwi", "+1-2");
    for (server, from) in [("Riley", ""), ("Jaquez", "Riley")] {
        let located = Operator::of(&herd, server).locate("kiwi").unwrap();
        assert_eq!(nanos(located.age), 1_250_000_000);
        let known = located.known.unwrap();
        assert_eq!((known.sequence, &*known.learned_from), (1, from));
        let learned = known.learned_at.unwrap();
        assert_eq!((learned.seconds, learned.nanos), (1000, 500_000_000));
        let report = known.report.unwrap();
        assert_eq!((&*report.client, &*report.position), ("kiwi", "+1-2"));
        assert_eq!((&*report.origin, &*report.time), ("Riley", "999.25"));
        assert_eq!(report.skew_nanos, 1_250_000_000);
    }
    // The client's clock is ahead.
    herd.client("Riley").ask("IAMAT fast +1-2 1002.5");
    let located = Operator::of(&herd, "Riley").locate("fast").unwrap();
    assert_eq!(nanos(located.age), -2 * SECOND);
}

#[test]
fn unknown_clients_and_expired_reports_have_different_messages() {
    let (herd, now) = forgetful();
    let operator = Operator::of(&herd, "Riley");
    herd.client("Riley").ask("IAMAT kiwi +1+1 100");
    let message = "this server has no report of that client";
    assert_rejected(operator.locate("nobody"), Code::NotFound, message);
    now.store(110 * SECOND, SeqCst);
    assert!(operator.locate("kiwi").is_ok());
    now.store(110 * SECOND + 1, SeqCst);
    let message = "has expired (expire_after)";
    assert_rejected(operator.locate("kiwi"), Code::NotFound, message);
    for no_id in ["", "a b", &"x".repeat(256)] {
        let message = "client must be a client ID: 1 to 255 bytes without white space";
        assert_invalid(operator.locate(no_id), message);
    }
}
