//! The watch of the API: server-sent events.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use serde_json::Value;

use super::herd;
use crate::common::{ALONE, PAIR, http_connect, http_get_with, http_json};

/// A reader of a watch.
struct EventReader(BufReader<TcpStream>);

/// One event, or a comment without a name.
#[derive(Debug, Default, PartialEq)]
struct Event {
    id: String,
    name: String,
    data: String,
}

impl EventReader {
    /// Begins a watch, after a cursor if it is not empty.
    fn open(web: SocketAddr, query: &str, cursor: &str) -> Self {
        let mut stream = http_connect(web);
        let resume = match cursor {
            "" => String::new(),
            cursor => format!("Last-Event-ID: {cursor}\r\n"),
        };
        // Without chunks, which HTTP/1.0 does not have, the lines are those of the stream.
        let request = format!("GET /api/v1/watch?{query} HTTP/1.0\r\nHost: {web}\r\n{resume}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = Self(BufReader::new(stream));
        assert_eq!(reader.line().unwrap(), "HTTP/1.0 200 OK");
        let mut head = Vec::new();
        while let Some(line) = reader.line().filter(|line| !line.is_empty()) {
            head.push(line);
        }
        assert!(
            head.contains(&"content-type: text/event-stream".to_owned()),
            "{head:?}"
        );
        assert_eq!(reader.line().unwrap(), "retry: 1000");
        assert_eq!(reader.line().unwrap(), "");
        reader
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Returns the next event or comment; `None` at the end of the stream.
    fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.line()?;
            let (field, value) = line.split_once(':').unwrap_or_default();
            match field {
                "id" => event.id = value.trim().to_owned(),
                "event" => event.name = value.trim().to_owned(),
                "data" => event.data = value.trim().to_owned(),
                _ if line.is_empty() => return Some(event),
                _ => {}
            }
        }
    }

    /// Returns the next report: the client, its time, and the ID of the event.
    fn report(&mut self) -> (String, String, String) {
        loop {
            let event = self.next().expect("an event");
            if event.name != "report" {
                continue;
            }
            let feature: Value = serde_json::from_str(&event.data).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            return (
                text(&feature["id"]),
                text(&feature["properties"]["time"]),
                event.id,
            );
        }
    }
}

#[test]
fn reports_are_sent_as_they_come_and_a_watch_resumes_without_a_gap() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    let mut client = herd.client("Riley");
    client.ask("IAMAT before +1+1 1");
    let (_, list) = http_json(web, "/api/v1/clients");
    let listed = list["cursor"].as_str().unwrap();
    client.ask("IAMAT between +1+1 1");
    let mut watch = EventReader::open(web, "", listed);
    assert_eq!(watch.report().0, "between");
    client.ask("IAMAT after +1+1 2");
    let (id, time, cursor) = watch.report();
    assert_eq!((&*id, &*time), ("after", "2"));
    drop(watch);
    client.ask("IAMAT away +1+1 3");
    let mut watch = EventReader::open(web, "", &cursor);
    assert_eq!(watch.report().0, "away");
    // Without a cursor, a watch begins with the next change.
    let mut fresh = EventReader::open(web, "", "");
    client.ask("IAMAT next +1+1 4");
    assert_eq!(fresh.report().0, "next");
}

#[test]
fn filters_are_combined() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    let mut client = herd.client("Riley");
    let mut fiji = EventReader::open(web, "bbox=177,-20,-178,-15&prefix=k", "");
    let mut kiwi = EventReader::open(web, "client=kiwi", "");
    for (id, position) in [
        ("kiwi", "+51+0"),
        ("emu", "-18+179"),
        ("kea", "-18-179"),
        ("kiwi", "-18+180"),
    ] {
        client.ask(&format!(
            "IAMAT {id} {position} {}",
            position.len() + id.len()
        ));
    }
    assert_eq!(fiji.report().0, "kea");
    assert_eq!(fiji.report().0, "kiwi");
    // The reader may have been slower than the client.
    assert_eq!(kiwi.report().0, "kiwi");
}

#[test]
fn an_unknown_position_resets_the_watch_and_a_malformed_one_is_an_error() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    herd.client("Riley").ask("IAMAT kiwi +1+1 1");
    let own = format!("{:016x}", herd.incarnation("Riley").get());
    for unknown in [
        "00000000000000ff-1",
        &format!("{own}-2"),
        &format!("{own}-99999999999999999999"),
    ] {
        let mut watch = EventReader::open(web, "", unknown);
        let reset = watch.next().unwrap();
        let cursor = format!("{own}-1");
        assert_eq!((&*reset.name, &reset.id), ("reset", &cursor));
        assert_eq!(reset.data, format!("{{\"cursor\":\"{cursor}\"}}"));
    }
    for malformed in ["x", "1", "00000000000000FF-1"] {
        let headers = format!("Last-Event-ID: {malformed}\r\n");
        let response = http_get_with(web, "/api/v1/watch", &headers);
        assert_eq!(response.status, 400, "{}", response.body);
    }
}

#[test]
fn a_slow_reader_is_sent_the_newest_report_of_each_client_and_the_number_it_missed() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    let mut client = herd.client("Riley");
    // The IDs fill the buffers on the way long before the reports end.
    let id = |n: usize| format!("{n}-{}", "x".repeat(240));
    let mut watch = EventReader::open(web, "", "");
    const ROUNDS: usize = 200;
    for time in 1..=ROUNDS {
        let lines: String = (0..200)
            .map(|n| format!("IAMAT {} +1+1 {time}\n", id(n)))
            .collect();
        client.send(&lines);
        for _ in 0..200 {
            client.text();
        }
    }
    let (mut missed, mut reports) = (0, 0);
    let mut newest = std::collections::HashMap::new();
    while newest
        .values()
        .filter(|time| **time == ROUNDS.to_string())
        .count()
        < 200
    {
        let event = watch.next().expect("an event");
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        match &*event.name {
            "missed" => missed += data["replaced"].as_u64().unwrap(),
            "report" => {
                reports += 1;
                let time = data["properties"]["time"].as_str().unwrap().to_owned();
                newest.insert(data["id"].to_string(), time);
            }
            _ => {}
        }
    }
    assert!(missed > 0);
    assert_eq!(missed + reports, 200 * ROUNDS as u64);
}

#[test]
fn a_quiet_watch_is_kept_alive_and_ends_when_the_server_shuts_down() {
    let mut herd = herd(PAIR);
    let web = herd.web_address("Riley");
    let mut watch = EventReader::open(web, "client=nobody", "");
    let silence = watch.next().unwrap();
    assert_eq!((&*silence.name, &*silence.data), ("", ""));
    let incarnation = format!("{:016x}", herd.incarnation("Riley").get());
    assert_eq!(silence.id, format!("{incarnation}-0"));
    let draining = thread::spawn(move || herd.drain("Riley"));
    while watch.next().is_some() {}
    draining.join().unwrap();
}

#[test]
fn further_watches_are_rejected_until_one_ends() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    let watches: Vec<EventReader> = (0..32).map(|_| EventReader::open(web, "", "")).collect();
    let response = http_get_with(web, "/api/v1/watch", "");
    assert_eq!(response.status, 429);
    assert!(
        response.head.contains("\r\nretry-after: 5\r\n"),
        "{}",
        response.head
    );
    assert_eq!(http_json(web, "/api/v1/clients").0, 200);
    drop(watches);
    crate::common::eventually("a watch is accepted again", || {
        let mut stream = http_connect(web);
        let request = "GET /api/v1/watch HTTP/1.0\r\nHost: localhost\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.contains("200").then_some(())
    });
}
