//! What a server knows of one client.

use super::*;

#[test]
fn it_tells_the_report_how_it_came_and_how_old_it_is() {
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
    // A client whose clock is ahead.
    herd.client("Riley").ask("IAMAT fast +1-2 1002.5");
    let located = Operator::of(&herd, "Riley").locate("fast").unwrap();
    assert_eq!(nanos(located.age), -2 * SECOND);
}

#[test]
fn what_is_not_there_and_what_is_hidden_are_told_apart() {
    let (herd, now) = forgetful();
    let operator = Operator::of(&herd, "Riley");
    herd.client("Riley").ask("IAMAT kiwi +1+1 100");
    let words = "this server has no report of that client";
    assert_refused(operator.locate("nobody"), Code::NotFound, words);
    now.store(110 * SECOND, SeqCst);
    assert!(operator.locate("kiwi").is_ok());
    now.store(110 * SECOND + 1, SeqCst);
    let words = "has expired (expire_after)";
    assert_refused(operator.locate("kiwi"), Code::NotFound, words);
    for no_id in ["", "a b", &"x".repeat(256)] {
        let words = "client must be a client ID: 1 to 255 bytes without white space";
        assert_invalid(operator.locate(no_id), words);
    }
}
