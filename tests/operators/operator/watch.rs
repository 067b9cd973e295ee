//! Watches: their responses, where they begin, and how they end.

use super::*;

fn present(filter: Option<Filter>) -> WatchRequest {
    WatchRequest {
        filter,
        start: Some(Start::Present(true)),
    }
}

fn after(incarnation: u64, sequence: u64) -> WatchRequest {
    WatchRequest {
        filter: None,
        start: Some(Start::Resume(Resume {
            incarnation,
            sequence,
        })),
    }
}

#[test]
fn a_watch_begins_with_the_present_if_requested_and_continues_with_changes() {
    let herd = Herd::start(PAIR);
    let operator = Operator::of(&herd, "Riley");
    let mut client = herd.client("Riley");
    for line in ["IAMAT a +1+1 1", "IAMAT b +2+2 1", "IAMAT a +3+3 2"] {
        client.ask(line);
    }
    let mut whole = operator.watch(present(None)).unwrap();
    let first = whole.next();
    let reports: Vec<_> = first.reports.iter().map(place_of).collect();
    assert_eq!(reports, [pair("b", "+2+2"), pair("a", "+3+3")]);
    assert_eq!(first.incarnation, herd.incarnation("Riley").get());
    assert!(first.up_to_date);
    // Reports replaced before the watch began do not count as replaced.
    assert_eq!((first.sequence, first.replaced), (3, 0));

    let (mut live, first) = operator.watch_all();
    assert_eq!((first.sequence, first.replaced), (3, 0));
    // Both have read everything, and sleep until they are notified.
    whole.assert_silent();
    live.assert_silent();
    client.ask("IAMAT a +0+0 1");
    client.ask("IAMAT c +4+4 1");
    herd.client("Jaquez").ask("IAMAT d +5+5 1");
    for watch in [&mut whole, &mut live] {
        assert_eq!(watch.reports(2), [pair("c", "+4+4"), pair("d", "+5+5")]);
        watch.assert_silent();
    }
}

#[test]
fn a_watch_sends_the_reports_that_match_its_filter() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let circle = Filter::Circle(Circle {
        center: Some(Point {
            latitude: 0.0,
            longitude: 180.0,
        }),
        radius_meters: 150_000.0,
    });
    let filters = [
        Filter::Client("bus-1".to_owned()),
        Filter::Prefix("bus-".to_owned()),
        circle,
    ];
    let mut client = herd.client("Riley");
    client.ask("IAMAT bus-1 +9+9 1");
    client.ask("IAMAT bus-2 +9+9 1");
    client.ask("IAMAT car +0-179 1");
    client.ask("IAMAT cart +0+178 1");
    let mut watches = filters.map(|filter| operator.watch(present(Some(filter))).unwrap());
    let expected = [vec!["bus-1"], vec!["bus-1", "bus-2"], vec!["car"]];
    for (watch, expected) in watches.iter_mut().zip(expected) {
        let ids: Vec<_> = watch.reports(expected.len());
        let ids: Vec<_> = ids.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, expected);
    }
    client.ask("IAMAT bus-2 +0-180 2");
    client.ask("IAMAT bus-1 +8+8 2");
    client.ask("IAMAT car +0-178 2");
    let [one, bus, circle] = &mut watches;
    assert_eq!(one.reports(1), [pair("bus-1", "+8+8")]);
    assert_eq!(
        bus.reports(2),
        [pair("bus-2", "+0-180"), pair("bus-1", "+8+8")]
    );
    assert_eq!(circle.reports(1), [pair("bus-2", "+0-180")]);
}

#[test]
fn a_watch_without_matching_reports_sends_its_progress() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let unknown = Some(Filter::Client("nobody".to_owned()));
    let mut watch = operator
        .watch(WatchRequest {
            filter: unknown,
            start: None,
        })
        .unwrap();
    assert_eq!(watch.next().sequence, 0);
    let mut client = herd.client("Riley");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for time in 0.. {
                client.ask(&format!("IAMAT kiwi +1+1 {time}"));
                if done.load(SeqCst) {
                    return;
                }
            }
        });
        let response = watch.next();
        done.store(true, SeqCst);
        assert!(
            response.reports.is_empty() && response.sequence > 0,
            "{response:?}"
        );
    });
}

#[test]
fn a_watch_resumes_with_the_changes_since_its_last_response() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let mut client = herd.client("Riley");
    let (mut watch, first) = operator.watch_all();
    client.ask("IAMAT a +1+1 1");
    assert_eq!(watch.reports(1), [pair("a", "+1+1")]);
    drop(watch);
    for line in ["IAMAT a +2+2 2", "IAMAT b +1+1 1", "IAMAT a +3+3 3"] {
        client.ask(line);
    }
    let mut watch = operator.watch(after(first.incarnation, 1)).unwrap();
    let response = watch.next();
    let reports: Vec<_> = response.reports.iter().map(place_of).collect();
    assert_eq!(reports, [pair("b", "+1+1"), pair("a", "+3+3")]);
    assert_eq!(
        (response.sequence, response.replaced, response.up_to_date),
        (4, 1, true)
    );
    // At the end of the feed, the response says only that.
    let mut watch = operator.watch(after(first.incarnation, 4)).unwrap();
    let response = watch.next();
    assert!(response.reports.is_empty() && response.up_to_date && response.replaced == 0);
}

#[test]
fn an_invalid_request_is_rejected_with_its_cause() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let me = herd.incarnation("Riley").get();
    let watch = |request| operator.watch(request).map(|_| ());
    let message = "is of another incarnation";
    assert_rejected(watch(after(me ^ 1, 0)), Code::OutOfRange, message);
    let message = "resume.sequence is greater than the last sequence number, 0";
    assert_rejected(watch(after(me, 1)), Code::OutOfRange, message);
    let no_id = Some(Filter::Client("a b".to_owned()));
    assert_invalid(watch(present(no_id)), "client must be a client ID");
    let circle = |latitude, radius_meters| {
        let center = Point {
            latitude,
            longitude: 0.0,
        };
        present(Some(Filter::Circle(Circle {
            center: Some(center),
            radius_meters,
        })))
    };
    for radius in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let message = "circle.radius_meters must be a number of metres greater than 0";
        assert_invalid(watch(circle(0.0, radius)), message);
    }
    let message = "circle.center must have a latitude from -90 to 90";
    assert_invalid(watch(circle(91.0, 1.0)), message);
    let no_center = Filter::Circle(Circle {
        center: None,
        radius_meters: 1.0,
    });
    assert_invalid(watch(present(Some(no_center))), "circle.center is missing");
}

#[test]
fn the_number_of_watches_is_limited_and_a_cancelled_one_makes_room() {
    let herd = Herd::start(ALONE);
    // A connection carries 64 calls at a time.
    let (one, other) = (Operator::of(&herd, "Riley"), Operator::of(&herd, "Riley"));
    let mut watches: Vec<_> = (0..32).map(|_| one.watch_all().0).collect();
    watches.extend((0..32).map(|_| other.watch_all().0));
    let late = other.watch(WatchRequest::default()).map(|_| ());
    let message = "this server has 64 watches, the maximum";
    assert_rejected(late, Code::Unavailable, message);
    // Watches do not count as other calls.
    assert_eq!(one.status().name, "Riley");
    drop(watches);
    eventually("there is room again", || {
        one.watch(WatchRequest::default()).map(|_| ()).ok()
    });
}

#[test]
fn a_slow_watch_ends_with_the_newest_report_of_each_client_and_delays_no_other_caller() {
    const CLIENTS: usize = 200;
    const ROUNDS: usize = 150;
    let herd = Herd::start(ALONE);
    let (slow, fast) = (Operator::of(&herd, "Riley"), Operator::of(&herd, "Riley"));
    let (mut slow, began) = slow_watch(&slow);
    let (mut fast, _) = fast.watch_all();
    let mut client = herd.client("Riley");
    for round in 1..=ROUNDS {
        let line = |n| format!("IAMAT client-{n:0>100} +{}+1 {round}", round % 90);
        tell_all(&mut client, &(0..CLIENTS).map(line).collect::<Vec<_>>());
        // The fast watch has each round before the next begins.
        let newest = format!("{round}");
        let mut current = BTreeSet::new();
        while current.len() < CLIENTS {
            let reports = fast.next().reports.into_iter();
            let reports = reports.map(|known| known.report.unwrap());
            current.extend(reports.filter(|it| it.time == newest).map(|it| it.client));
        }
    }
    let last = (CLIENTS * ROUNDS) as u64;
    let (mut sent, mut replaced, mut seen) = (0, 0, began);
    let mut newest = HashMap::new();
    while seen < last {
        let response = slow.next();
        assert!(response.sequence > seen, "{response:?}");
        seen = response.sequence;
        sent += response.reports.len() as u64;
        replaced += response.replaced;
        for known in response.reports {
            let report = known.report.unwrap();
            newest.insert(report.client, report.time);
        }
    }
    assert!(replaced > 0, "{sent} were sent");
    assert_eq!(sent + replaced, last - began);
    assert_eq!(newest.len(), CLIENTS);
    assert!(newest.values().all(|time| *time == ROUNDS.to_string()));
}

/// Returns a watch of which only the first response is read.
fn slow_watch(operator: &Operator) -> (Watch<'_>, u64) {
    let (watch, first) = operator.watch_all();
    (watch, first.sequence)
}

#[test]
fn watches_end_when_the_server_shuts_down_and_the_drain_waits_for_none() {
    let mut herd = Herd::start(PAIR).adjust(|plan| plan.peers.drain = Duration::from_secs(60));
    herd.restart("Riley");
    herd.await_links();
    let operator = Operator::of(&herd, "Riley");
    let (mut reading, _) = operator.watch_all();
    let other = Operator::of(&herd, "Riley");
    let _never_reads = slow_watch(&other);
    let mut client = herd.client("Riley");
    for round in 1..=20 {
        let line = |n| format!("IAMAT client-{n:0>200} +1+1 {round}");
        tell_all(&mut client, &(0..500).map(line).collect::<Vec<_>>());
    }
    drop(client);
    let start = Instant::now();
    let lost = std::thread::scope(|scope| {
        let drain = scope.spawn(|| herd.drain("Riley"));
        let end = loop {
            match reading.try_next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the watch ended without a status"),
                Err(status) => break status,
            }
        };
        assert_eq!(end.code(), Code::Unavailable, "{end}");
        assert!(end.message().contains("shutting down"), "{end}");
        drain.join().unwrap()
    });
    assert_eq!(lost, 0);
    // The drain time is 60 s.
    assert!(start.elapsed() < LIMIT, "the drain waited for a watch");
}

#[test]
fn expired_reports_are_not_sent() {
    let (herd, now) = forgetful();
    let mut client = herd.client("Riley");
    client.ask("IAMAT old +1+1 100");
    now.store(110 * SECOND + 1, SeqCst);
    client.ask("IAMAT new +1+1 110");
    let operator = Operator::of(&herd, "Riley");
    let mut watch = operator.watch(present(None)).unwrap();
    assert_eq!(watch.reports(1), [pair("new", "+1+1")]);
    client.ask("IAMAT late +1+1 50");
    client.ask("IAMAT new +2+2 111");
    assert_eq!(watch.reports(1), [pair("new", "+2+2")]);
}
