//! Limits of one client: what happens at each, and that no other client is affected.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{ALONE, Herd, LIMIT, eventually, linked, places_from};
use proxyherd::gateway::ClientSettings;
use proxyherd::places::{Places, PlacesQuery, PlacesResponse};
use tokio::sync::oneshot;

/// The time of Riley's clock, in nanoseconds.
const NOW: i64 = 1_621_464_828_000_000_000;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Starts Riley alone with changed limits.
fn riley(adjust: impl Fn(&mut ClientSettings) + Send + Sync + 'static) -> Herd {
    Herd::new(ALONE)
        .adjust(move |plan| adjust(&mut plan.clients))
        .launched_at(NOW)
}

/// Starts Riley alone with this places provider.
fn riley_asking(places: Places) -> Herd {
    Herd::new(ALONE).with_places(places).launched_at(NOW)
}

fn iamat(client: &str, position: &str) -> String {
    format!("IAMAT {client} {position} 1621464828\n")
}

fn at_line(client: &str, position: &str) -> String {
    format!("AT Riley +0.000000000 {client} {position} 1621464828")
}

/// The queries that a places provider received and has not answered.
struct PendingQueries(Receiver<(PlacesQuery, oneshot::Sender<PlacesResponse>)>);

/// Returns a places provider that answers when the test makes it, and its queries.
fn slow_places() -> (Places, PendingQueries) {
    let (sender, queries) = channel();
    let places = Places::new(
        move |query| {
            let (respond, response) = oneshot::channel();
            // Fails once the test is over.
            let _ = sender.send((query, respond));
            async { response.await.unwrap_or_else(|_| PlacesResponse::none()) }
        },
        LIMIT,
    );
    (places, PendingQueries(queries))
}

impl PendingQueries {
    /// Returns the next query and the sender of its response.
    fn next(&self) -> (PlacesQuery, oneshot::Sender<PlacesResponse>) {
        self.0.recv_timeout(LIMIT).expect("a query")
    }

    fn is_empty(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// Returns a response that identifies its query.
fn answer_to(query: &PlacesQuery) -> PlacesResponse {
    PlacesResponse {
        json: json_of(query.radius_metres() / 1000.0),
        places: 1,
    }
}

fn json_of(radius: f64) -> String {
    format!("{{\n   \"radius\" : {radius}\n}}")
}

// Queries in progress.

#[test]
fn a_query_in_progress_delays_only_later_answers_on_its_own_connection() {
    let (places, queries) = slow_places();
    let herd = riley_asking(places);
    let mut client = herd.client("Riley");
    let (kiwi, plum) = (iamat("kiwi", "+1+1"), iamat("plum", "+2+2"));
    client.send(format!("{kiwi}WHATSAT kiwi 7 1\n{plum}what?\n"));
    assert_eq!(client.text(), at_line("kiwi", "+1+1"));

    // The lines after it take effect at once, and other clients are served.
    let (query, respond) = queries.next();
    let mut other = herd.client("Riley");
    other.send("WHATSAT plum 1 0\n");
    assert_eq!(other.places().0, at_line("plum", "+2+2"));

    respond.send(answer_to(&query)).unwrap();
    let expected = (at_line("kiwi", "+1+1"), json_of(7.0));
    assert_eq!(client.places(), expected);
    assert_eq!(client.text(), at_line("plum", "+2+2"));
    assert_eq!(client.text(), "? what?");
}

#[test]
fn an_at_line_shows_the_report_at_the_time_of_its_whatsat() {
    let (places, queries) = slow_places();
    let herd = riley_asking(places);
    let mut client = herd.client("Riley");
    client.send(iamat("kiwi", "+1+1")).text();
    client.send("WHATSAT kiwi 7 1\n");
    let (query, respond) = queries.next();
    assert_eq!(query.degrees(), (1.0, 1.0));
    herd.client("Riley").send(iamat("kiwi", "-2-2")).text();
    respond.send(answer_to(&query)).unwrap();
    assert_eq!(client.places().0, at_line("kiwi", "+1+1"));
    client.send("WHATSAT kiwi 7 0\n");
    assert_eq!(client.places().0, at_line("kiwi", "-2-2"));
}

#[test]
fn the_answer_of_a_query_in_progress_is_sent_in_one_write() {
    let (places, queries) = slow_places();
    let herd = riley_asking(places);
    let json = format!("{{\n   \"long\" : \"{}\"\n}}", "x".repeat(20_000));
    herd.client("Riley").send(iamat("kiwi", "+1+1")).text();
    for _ in 0..20 {
        let mut client = herd.client("Riley");
        client.send("WHATSAT kiwi 7 1\nwhat?\n");
        let (json, places) = (json.clone(), 1);
        let expected = format!("{}\n{json}\n\n? what?\n", at_line("kiwi", "+1+1"));
        queries
            .next()
            .1
            .send(PlacesResponse { json, places })
            .unwrap();
        assert!(client.read_once() == expected.as_bytes());
    }
}

#[test]
fn up_to_max_waiting_queries_of_a_connection_run_concurrently_and_are_answered_in_order() {
    assert_eq!(ClientSettings::default().max_waiting, 16);
    for max_waiting in [16, 1, 3] {
        let (places, queries) = slow_places();
        let herd = Herd::new(ALONE)
            .with_places(places)
            .adjust(move |plan| plan.clients.max_waiting = max_waiting)
            .launched_at(NOW);
        let mut client = herd.client("Riley");
        client.send(iamat("kiwi", "+1+1")).text();
        let lines: String = (0..40).map(|km| format!("WHATSAT kiwi {km} 1\n")).collect();
        client.send(lines);

        let mut waiting = Vec::new();
        let mut expected = (0..40).map(f64::from);
        while expected.len() > 0 {
            let more = max_waiting.min(expected.len());
            waiting.extend((0..more).map(|_| queries.next()));
            // The server has taken all it may before it answers another client.
            herd.client("Riley").ask("?");
            assert!(
                queries.is_empty(),
                "more than {max_waiting} run concurrently"
            );
            for (query, respond) in waiting.drain(..).rev() {
                respond.send(answer_to(&query)).unwrap();
            }
            for km in expected.by_ref().take(more) {
                assert_eq!(client.places().1, json_of(km));
            }
        }
    }
}

#[test]
fn at_most_64_kib_of_answers_wait_for_a_query_in_progress() {
    let (places, queries) = slow_places();
    let herd = riley_asking(places);
    let mut client = herd.client("Riley");
    client.send(iamat("kiwi", "+1+1")).text();
    let name = |n: usize| format!("{n:0>200}");
    // The query itself counts too, for less than a line.
    let most = (64 * 1024_usize).div_ceil(at_line(&name(0), "+1+1").len() + 1);

    let lines: String = (0..5000).map(|n| iamat(&name(n), "+1+1")).collect();
    let mut sender = client.sender();
    let sending = thread::spawn(move || {
        sender.write_all(b"WHATSAT kiwi 7 1\n").unwrap();
        sender.write_all(lines.as_bytes()).unwrap();
    });
    let (query, respond) = queries.next();
    let store = herd.gateway("Riley").replica().store();
    eventually("the server takes lines up to its limit", || {
        (store.clients() >= most).then_some(())
    });
    herd.client("Riley").ask("?");
    let taken = store.clients() - 1;
    assert!((most - 1..=most).contains(&taken), "{taken} of {most}");

    respond.send(answer_to(&query)).unwrap();
    client.places();
    for n in 0..5000 {
        assert_eq!(client.text(), at_line(&name(n), "+1+1"));
    }
    sending.join().unwrap();
}

#[test]
fn a_client_that_half_closes_still_gets_all_answers() {
    let (places, queries) = slow_places();
    let herd = Herd::new(ALONE)
        .with_places(places)
        .adjust(|plan| plan.clients.max_waiting = 2)
        .launched_at(NOW);
    let mut client = herd.client("Riley");
    client.send(iamat("kiwi", "+1+1")).text();
    let ask = |km| format!("WHATSAT kiwi {km} 1\n");
    client.send([ask(0), ask(1), ask(2), ask(3)].concat() + "last");
    client.half_close();
    for _ in 0..4 {
        let (query, respond) = queries.next();
        respond.send(answer_to(&query)).unwrap();
    }
    let at_line = at_line("kiwi", "+1+1");
    let answer = |km| format!("{at_line}\n{}\n\n", json_of(km));
    let expected = [answer(0.0), answer(1.0), answer(2.0), answer(3.0)].concat() + "? last\n";
    assert_eq!(String::from_utf8(client.rest()).unwrap(), expected);
}

#[test]
fn a_query_without_an_answer_ends_at_its_time_limit_with_an_error() {
    let places = Places::new(|_| std::future::pending(), millis(100));
    let herd = riley_asking(places);
    let mut client = herd.client("Riley");
    client.send(iamat("kiwi", "+1+1")).text();
    let start = Instant::now();
    for _ in 0..2 {
        client.send("WHATSAT kiwi 7 1\nwhat?\n");
        let (at, json) = client.places();
        assert_eq!(at, at_line("kiwi", "+1+1"));
        assert!(
            json.ends_with("   \"status\" : \"UNKNOWN_ERROR\"\n}"),
            "{json}"
        );
        assert_eq!(client.text(), "? what?");
    }
    assert!(start.elapsed() >= millis(200));
}

// Clients that send nothing or read nothing.

#[test]
fn a_client_that_is_silent_is_disconnected_after_the_idle_limit_without_an_answer() {
    let idle = millis(300);
    let herd = riley(move |limits| limits.idle = idle);
    let connected = Instant::now();
    let mut silent = herd.client("Riley");
    let mut talked = herd.client("Riley");
    assert_eq!(talked.ask("x"), "? x");
    let mut stuck = herd.client("Riley");
    stuck.send("half a li");
    for client in [&mut silent, &mut talked, &mut stuck] {
        assert_eq!(client.rest(), b"");
        assert!(connected.elapsed() >= idle);
    }
}

#[test]
fn any_byte_from_a_client_restarts_its_idle_limit() {
    let idle = millis(400);
    let herd = riley(move |limits| limits.idle = idle);
    let line = eventually("the test sends in time", || dawdle(&herd, idle));
    assert!(line.starts_with("? xxxxxxxxxx"), "{line}");
}

/// Sends one line byte by byte, over more than two idle limits, and returns the answer. Returns
/// `None` if this machine was too slow to stay within the limit.
fn dawdle(herd: &Herd, idle: Duration) -> Option<String> {
    let mut client = herd.client("Riley");
    let start = Instant::now();
    let mut last_sent = start;
    while start.elapsed() < idle * 5 / 2 {
        thread::sleep(millis(20));
        if last_sent.elapsed() > idle / 2 {
            return None;
        }
        last_sent = Instant::now();
        client.send("x");
    }
    client.send("\n");
    (last_sent.elapsed() < idle / 2).then(|| client.text())
}

#[test]
fn a_client_that_waits_for_places_is_not_idle() {
    let idle = millis(200);
    let takes = idle * 5 / 2;
    let places = Places::new(
        move |query| async move {
            tokio::time::sleep(takes).await;
            answer_to(&query)
        },
        LIMIT,
    );
    let herd = Herd::new(ALONE)
        .with_places(places)
        .adjust(move |plan| plan.clients.idle = idle)
        .launched_at(NOW);
    let mut client = herd.client("Riley");
    let start = Instant::now();
    let at = client
        .send(iamat("kiwi", "+1+1") + "WHATSAT kiwi 7 1\n")
        .text();
    assert_eq!(client.places(), (at, json_of(7.0)));
    // Its silence begins with the answer.
    assert_eq!(client.rest(), b"");
    assert!(start.elapsed() >= takes + idle);
}

#[test]
fn a_client_that_never_reads_is_disconnected_after_the_write_limit_and_others_are_served() {
    let herd = riley(|limits| limits.write = millis(200));
    let unread = herd.client("Riley");
    let mut sender = unread.sender();
    let sending = thread::spawn(move || {
        let line = [&[b'x'; 4000][..], b"\n"].concat();
        loop {
            if let Err(error) = sender.write_all(&line) {
                return error.kind();
            }
        }
    });
    let mut other = herd.client("Riley");
    while !sending.is_finished() {
        assert_eq!(other.ask("x"), "? x");
    }
    let end = sending.join().unwrap();
    let cut = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(cut.contains(&end), "{end}");
}

#[test]
fn a_client_that_sends_20_000_lines_before_it_reads_gets_all_answers() {
    const LINES: usize = 20_000;
    let herd = riley(|_| {});
    let (mut sent, mut expected) = (String::new(), String::new());
    for n in 0..LINES {
        let (name, position) = (format!("client-{n}"), format!("+{}-{}", n % 90, n % 180));
        if n % 10 == 0 {
            sent += &format!("where is {name}?\r\n");
            expected += &format!("? where is {name}?\n");
        } else {
            sent += &iamat(&name, &position);
            expected += &format!("{}\n", at_line(&name, &position));
        }
    }
    let client = herd.client("Riley");
    let mut sender = client.sender();
    let sending = thread::spawn(move || sender.write_all(sent.as_bytes()).unwrap());
    eventually("the server has answered much", || {
        (herd.gateway("Riley").replica().store().clients() > LINES / 10).then_some(())
    });
    let mut reading = client.reader();
    let mut received = vec![0; expected.len()];
    reading.read_exact(&mut received).unwrap();
    assert!(received == expected.as_bytes());
    sending.join().unwrap();
}

#[test]
fn a_hundred_whatsats_in_one_segment_are_all_answered() {
    let mut table = "name,lat,lon,vicinity\n".to_owned();
    for place in 0..20 {
        table += &format!("Place {place},0.{place:02},0,{}\n", "x".repeat(900));
    }
    let herd = riley_asking(places_from("twenty.csv", &table).unwrap());
    let mut client = herd.client("Riley");
    client.send(iamat("kiwi", "+0+0")).text();
    client.send("WHATSAT kiwi 50 20\n");
    let (at, json) = client.places();
    let answer = format!("{at}\n{json}\n\n");
    // Two megabytes of answers to two kilobytes of lines.
    client.send("WHATSAT kiwi 50 20\n".repeat(100) + "end");
    let expected = answer.repeat(100) + "? end\n";
    assert!(client.finish() == expected.as_bytes());
}

// The number of connections, and the length of lines.

/// Returns everything that a client receives that sends `x` and half-closes.
fn visit(herd: &Herd) -> Vec<u8> {
    let mut visitor = herd.client("Riley");
    // Both fail if the server has closed already.
    let _ = visitor.sender().write_all(b"x\n");
    let _ = visitor.sender().shutdown(Shutdown::Write);
    visitor.rest_until_cut()
}

#[test]
fn a_connection_over_max_connections_is_closed_without_an_answer_until_another_closes() {
    let herd = riley(|limits| limits.max_connections = 2);
    let mut staying = herd.client("Riley");
    let mut leaving = herd.client("Riley");
    assert_eq!(staying.ask("a"), "? a");
    assert_eq!(leaving.ask("b"), "? b");
    for _ in 0..5 {
        assert_eq!(herd.client("Riley").rest(), b"");
        assert_eq!(visit(&herd), b"");
    }
    assert_eq!(staying.ask("a"), "? a");
    drop(leaving);
    eventually("another connection is admitted", || {
        let answer = visit(&herd);
        assert!(answer == b"" || answer == b"? x\n", "{answer:?}");
        (answer == b"? x\n").then_some(())
    });
    // Each closed connection makes room for one.
    for _ in 0..5 {
        eventually("a connection is admitted again", || {
            (visit(&herd) == b"? x\n").then_some(())
        });
    }
    assert_eq!(staying.ask("a"), "? a");
}

#[test]
fn connections_that_have_sent_nothing_make_room_and_others_stay() {
    let herd = riley(|limits| limits.max_connections = 3);
    let mut staying = herd.client("Riley");
    assert_eq!(staying.ask("a"), "? a");
    let mut silent: Vec<_> = (0..20).map(|_| herd.client("Riley")).collect();
    let mut served = herd.client("Riley");
    assert_eq!(served.ask("b"), "? b");
    // The oldest ones are gone, and the last is still there.
    for evicted in &mut silent[..19] {
        assert_eq!(evicted.rest_until_cut(), b"");
    }
    assert_eq!(silent[19].ask("c"), "? c");
    assert_eq!(herd.rejected_clients("Riley").evicted.get(), 19);
    // All have sent something: nobody makes room.
    assert_eq!(visit(&herd), b"");
    assert_eq!(herd.rejected_clients("Riley").max_connections.get(), 1);
    assert_eq!(
        (staying.ask("d"), served.ask("e")),
        ("? d".into(), "? e".into())
    );
}

#[test]
fn the_config_sets_the_maximum_length_of_a_line() {
    for limit in [512, 10_000] {
        let herd = riley(move |limits| limits.max_line = limit);
        let mut client = herd.client("Riley");
        let (at, past) = ("x".repeat(limit), "x".repeat(limit + 1));
        assert_eq!(client.ask(&at), format!("? {at}"));
        assert_eq!(client.ask(&format!("{at}\r")), format!("? {at}"));
        assert_eq!(client.ask(&past), format!("? {at}"));
        let padded = |length: usize| format!("{:<length$}", iamat("kiwi", "+1+1").trim());
        assert_eq!(client.ask(&padded(limit)), at_line("kiwi", "+1+1"));
        assert_eq!(
            client.ask(&padded(limit + 1)),
            format!("? {}", padded(limit))
        );
    }
}

// A server that shuts down.

#[test]
fn a_server_that_shuts_down_answers_what_it_read_and_queries_in_progress_with_an_error() {
    let (places, queries) = slow_places();
    let mut herd = Herd::new(ALONE)
        .with_places(places)
        .adjust(|plan| plan.clients.max_waiting = 2)
        .launched_at(NOW);
    let mut client = herd.client("Riley");
    client.send(iamat("kiwi", "+1+1")).text();
    let ask = |km| format!("WHATSAT kiwi {km} 1\n");
    client.send([ask(0), ask(1), ask(2)].concat() + "what?\nnever ended");
    let (_first, (second, respond)) = (queries.next(), queries.next());
    respond.send(answer_to(&second)).unwrap();

    // Bytes that arrive too late to be read do not discard answers that were sent.
    let (address, mut sender) = (herd.clients_address("Riley"), client.sender());
    let late = thread::spawn(move || {
        eventually("no further connection is accepted", || {
            TcpStream::connect(address).is_err().then_some(())
        });
        sender.write_all(b" and never read\nwhat?\n").unwrap();
    });
    herd.drain("Riley");
    late.join().unwrap();

    for answered in [false, true, false] {
        let (at, json) = client.places();
        assert_eq!(at, at_line("kiwi", "+1+1"));
        if answered {
            assert_eq!(json, json_of(1.0))
        } else {
            assert!(json.contains("the server is shutting down"), "{json}");
            assert!(
                json.ends_with("   \"status\" : \"UNKNOWN_ERROR\"\n}"),
                "{json}"
            );
        }
    }
    assert_eq!(client.text(), "? what?");
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_server_that_shuts_down_pushes_its_reports_even_if_a_client_never_reads() {
    let drain = millis(1000);
    let mut herd = Herd::new(linked(&["Abe", "Zoe"], &[("Abe", "Zoe")]))
        .adjust(move |plan| plan.peers.drain = drain)
        .launched_at(NOW);
    let mut unread = herd.client("Abe").sender();
    unread.set_write_timeout(Some(millis(100))).unwrap();
    let lines = "x\n".repeat(10_000);
    while unread.write_all(lines.as_bytes()).is_ok() {}
    let answer = herd.client("Abe").send(iamat("kiwi", "+1+1")).text();
    assert_eq!(answer.replace("Abe", "Riley"), at_line("kiwi", "+1+1"));
    let start = Instant::now();
    assert_eq!(herd.drain("Abe"), 0);
    // Without a limit it would wait for the client forever.
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    herd.await_everywhere("kiwi", "+1+1");
}

#[test]
fn a_client_that_never_stops_sending_does_not_delay_a_server_that_shuts_down() {
    // Twice the limit of a wait: a server that waits for the client exceeds it.
    let drain = LIMIT * 2;
    let mut herd = Herd::new(linked(&["Abe", "Zoe"], &[("Abe", "Zoe")]))
        .adjust(move |plan| plan.peers.drain = drain);
    herd = herd.launched_at(NOW);
    let mut client = herd.client("Abe");
    let mut sender = client.sender();
    let reports: String = (0..100_000)
        .map(|n| iamat(&format!("{n}"), "+1+1"))
        .collect();
    let sending = thread::spawn(move || {
        let more = "x\n".repeat(50_000);
        let mut sent = sender.write_all(reports.as_bytes());
        while sent.is_ok() {
            sent = sender.write_all(more.as_bytes());
        }
    });
    let reading = thread::spawn(move || client.rest_until_cut());
    let clients = |server| herd.gateway(server).replica().store().clients();
    eventually("it sends many reports", || {
        (clients("Abe") > 2000).then_some(())
    });
    let start = Instant::now();
    assert_eq!(herd.drain("Abe"), 0);
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    // Each report that was answered is held elsewhere.
    let received = reading.join().unwrap();
    sending.join().unwrap();
    let answered = received
        .split(|&byte| byte == b'\n')
        .filter(|line| line.starts_with(b"AT "))
        .count();
    let known = herd.gateway("Zoe").replica().store().clients();
    assert!(
        answered > 2000 && known >= answered,
        "{answered} answered, {known} known"
    );
}
