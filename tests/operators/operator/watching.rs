//! Watches: what they are told, where they begin, and how they end.

use super::*;

fn present(filter: Option<Filter>) -> WatchRequest {
    WatchRequest {
        filter,
        start: Some(Start::Present(true)),
    }
}

fn behind(incarnation: u64, sequence: u64) -> WatchRequest {
    WatchRequest {
        filter: None,
        start: Some(Start::Resume(Resume {
            incarnation,
            sequence,
        })),
    }
}

#[test]
fn it_begins_with_the_present_if_asked_and_goes_on_with_what_comes() {
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
    // What was replaced before it came was not missed.
    assert_eq!((first.sequence, first.replaced), (3, 0));

    let (mut live, first) = operator.watch_all();
    assert_eq!((first.sequence, first.replaced), (3, 0));
    // Both have nothing left to read and sleep, until they are woken.
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
fn it_tells_of_those_that_are_asked_for() {
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
fn a_watcher_of_a_silent_client_hears_how_far_it_has_come() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let nobody = Some(Filter::Client("nobody".to_owned()));
    let mut watch = operator
        .watch(WatchRequest {
            filter: nobody,
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
        let told = watch.next();
        done.store(true, SeqCst);
        assert!(told.reports.is_empty() && told.sequence > 0, "{told:?}");
    });
}

#[test]
fn a_watch_that_was_cut_off_resumes_and_is_told_what_it_missed() {
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
    let mut watch = operator.watch(behind(first.incarnation, 1)).unwrap();
    let told = watch.next();
    let reports: Vec<_> = told.reports.iter().map(place_of).collect();
    assert_eq!(reports, [pair("b", "+1+1"), pair("a", "+3+3")]);
    assert_eq!(
        (told.sequence, told.replaced, told.up_to_date),
        (4, 1, true)
    );
    // At the very end there is nothing to tell but that.
    let mut watch = operator.watch(behind(first.incarnation, 4)).unwrap();
    let told = watch.next();
    assert!(told.reports.is_empty() && told.up_to_date && told.replaced == 0);
}

#[test]
fn what_it_can_not_do_it_says() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let me = herd.incarnation("Riley").get();
    let refusal = |request| operator.watch(request).map(|_| ());
    let words = "is of another incarnation";
    assert_refused(refusal(behind(me ^ 1, 0)), Code::OutOfRange, words);
    let words = "resume.sequence is greater than the last sequence number, 0";
    assert_refused(refusal(behind(me, 1)), Code::OutOfRange, words);
    let no_id = Some(Filter::Client("a b".to_owned()));
    assert_invalid(refusal(present(no_id)), "client must be a client ID");
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
        let words = "circle.radius_meters must be a number of metres greater than 0";
        assert_invalid(refusal(circle(0.0, radius)), words);
    }
    let words = "circle.center must have a latitude from -90 to 90";
    assert_invalid(refusal(circle(91.0, 1.0)), words);
    let no_center = Filter::Circle(Circle {
        center: None,
        radius_meters: 1.0,
    });
    assert_invalid(
        refusal(present(Some(no_center))),
        "circle.center is missing",
    );
}

#[test]
fn watchers_are_limited_in_number_and_make_room_when_they_leave() {
    let herd = Herd::start(ALONE);
    // A connection carries 64 calls at a time.
    let (one, other) = (Operator::of(&herd, "Riley"), Operator::of(&herd, "Riley"));
    let mut watches: Vec<_> = (0..32).map(|_| one.watch_all().0).collect();
    watches.extend((0..32).map(|_| other.watch_all().0));
    let late = other.watch(WatchRequest::default()).map(|_| ());
    let words = "this server has 64 watches, the maximum";
    assert_refused(late, Code::ResourceExhausted, words);
    // They take no place of other calls.
    assert_eq!(one.status().name, "Riley");
    drop(watches);
    eventually("there is room again", || {
        one.watch(WatchRequest::default()).map(|_| ()).ok()
    });
}

#[test]
fn a_slow_watcher_sees_the_newest_of_each_client_in_the_end_and_slows_nobody() {
    const CLIENTS: usize = 200;
    const ROUNDS: usize = 150;
    let herd = Herd::start(ALONE);
    let (slow, quick) = (Operator::of(&herd, "Riley"), Operator::of(&herd, "Riley"));
    let (mut slow, began) = slow_watch(&slow);
    let (mut quick, _) = quick.watch_all();
    let mut client = herd.client("Riley");
    for round in 1..=ROUNDS {
        let line = |n| format!("IAMAT client-{n:0>100} +{}+1 {round}", round % 90);
        tell_all(&mut client, &(0..CLIENTS).map(line).collect::<Vec<_>>());
        // The quick one is told of each round before the next begins.
        let newest = format!("{round}");
        let mut current = BTreeSet::new();
        while current.len() < CLIENTS {
            let reports = quick.next().reports.into_iter();
            let reports = reports.map(|known| known.report.unwrap());
            current.extend(reports.filter(|it| it.time == newest).map(|it| it.client));
        }
    }
    let last = (CLIENTS * ROUNDS) as u64;
    let (mut told, mut replaced, mut seen) = (0, 0, began);
    let mut newest = HashMap::new();
    while seen < last {
        let response = slow.next();
        assert!(response.sequence > seen, "{response:?}");
        seen = response.sequence;
        told += response.reports.len() as u64;
        replaced += response.replaced;
        for known in response.reports {
            let report = known.report.unwrap();
            newest.insert(report.client, report.time);
        }
    }
    assert!(replaced > 0, "{told} were told");
    assert_eq!(told + replaced, last - began);
    assert_eq!(newest.len(), CLIENTS);
    assert!(newest.values().all(|time| *time == ROUNDS.to_string()));
}

/// A watch of which only the first response is read.
fn slow_watch(operator: &Operator) -> (Watch<'_>, u64) {
    let (watch, first) = operator.watch_all();
    (watch, first.sequence)
}

#[test]
fn watchers_are_sent_away_when_the_server_shuts_down_and_it_waits_for_none() {
    let mut herd = Herd::start(PAIR).adjust(|plan| plan.peers.drain = Duration::from_secs(60));
    herd.kill_and_launch("Riley");
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
    let drain = std::thread::scope(|scope| {
        let drain = scope.spawn(|| herd.drain("Riley"));
        let end = loop {
            match reading.try_next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it must say why it ends"),
                Err(status) => break status,
            }
        };
        assert_eq!(end.code(), Code::Unavailable, "{end}");
        assert!(end.message().contains("shutting down"), "{end}");
        drain.join().unwrap()
    });
    assert_eq!(drain, 0);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "it waited for {took:?}");
}

#[test]
fn hidden_reports_are_not_told() {
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
