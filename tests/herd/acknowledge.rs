//! The levels of acknowledgement: an answer does not come before its report is where the level says.

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use proxyherd::gateway::AcknowledgeLevel;
use proxyherd::server::ServerPlan;
use tempfile::TempDir;

use crate::common::{ALONE, Client, Herd, Mode, PAIR, eventually};

const T: &str = "1621464827";

/// Returns a pair of servers that answer when a neighbour has the report.
fn answering_by_neighbour() -> Herd {
    let level = |plan: &mut ServerPlan| plan.gateway.acknowledge = AcknowledgeLevel::Neighbour;
    Herd::new(PAIR).adjust(level).launch_all()
}

/// Returns one server that answers when its disk has the report, and its directory.
fn answering_by_disk(sync: Duration) -> (Herd, TempDir) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_owned();
    let adjust = move |plan: &mut ServerPlan| {
        plan.gateway.acknowledge = AcknowledgeLevel::Disk;
        plan.storage.dir = Some(path.clone());
        plan.storage.sync = sync;
    };
    let herd = Herd::new(ALONE).adjust(adjust).launch_all();
    await_first_write(&herd);
    (herd, dir)
}

/// Waits until the first write after the start has ended: the next is due after `sync`.
fn await_first_write(herd: &Herd) {
    let storage = herd.gateway("Riley").storage().unwrap();
    eventually("a write", || storage.snapshot().succeeded_at);
}

fn await_waiting(herd: &Herd, connections: u64) {
    eventually("connections wait", || {
        let waiting = herd.counters("Riley").client_connections_waiting();
        (waiting == connections).then_some(())
    });
}

/// Asserts that nothing has arrived at a client.
fn assert_silent(client: &Client) {
    let stream = client.sender();
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]).map_err(|error| error.kind());
    stream.set_nonblocking(false).unwrap();
    assert_eq!(peeked, Err(ErrorKind::WouldBlock));
}

#[test]
fn an_answer_waits_for_a_neighbour_and_those_behind_it_wait_too() {
    let herd = answering_by_neighbour();
    let mut other = herd.client("Riley");
    assert!(
        other
            .ask(&format!("IAMAT plum +2+2 {T}"))
            .starts_with("AT Riley ")
    );
    herd.set_link("Riley", "Jaquez", Mode::Stall);
    let mut client = herd.client("Riley");
    client.send(format!(
        "first\nIAMAT kiwi +1+1 {T}\nWHATSAT plum 1 1\nlast\n"
    ));
    await_waiting(&herd, 1);
    assert_eq!(client.text(), "? first");
    assert_silent(&client);
    // Who only asks does not wait, and sees what is not acknowledged.
    other.send("WHATSAT kiwi 1 1\n");
    assert!(other.places().0.contains(" kiwi "));
    // A report that changes nothing waits for what is held.
    other.send(format!("IAMAT kiwi +1+1 {T}\n"));
    await_waiting(&herd, 2);
    assert_silent(&other);

    herd.set_link("Riley", "Jaquez", Mode::Pass);
    assert!(client.text().contains(" kiwi +1+1 "));
    assert!(client.places().0.contains(" plum +2+2 "));
    assert_eq!(client.text(), "? last");
    assert!(other.text().contains(" kiwi +1+1 "));
    await_waiting(&herd, 0);
    assert_eq!(herd.position("Jaquez", "kiwi").as_deref(), Some("+1+1"));
}

#[test]
fn an_answer_that_never_became_true_is_not_given() {
    let mut herd = answering_by_neighbour();
    herd.set_link("Riley", "Jaquez", Mode::Cut);
    let mut client = herd.client("Riley");
    client.send(format!("IAMAT kiwi +1+1 {T}\n"));
    await_waiting(&herd, 1);
    herd.drain("Riley");
    assert_eq!(client.rest_until_cut(), b"");
}

#[test]
fn an_answer_waits_for_the_disk_and_a_drain_is_its_chance() {
    let (mut herd, _dir) = answering_by_disk(Duration::from_secs(60));
    let clients = ["2", "1"].map(|time| {
        // The second is stale, and waits for the first.
        let mut client = herd.client("Riley");
        client.send(format!("IAMAT kiwi +{time}+{time} {time}\nlast\n"));
        client
    });
    await_waiting(&herd, 2);
    clients.iter().for_each(assert_silent);
    let answers = clients.map(|mut client| thread::spawn(move || client.rest()));
    assert_eq!(herd.drain("Riley"), 0);
    for (answer, time) in answers.into_iter().zip(["2", "1"]) {
        let answer = String::from_utf8(answer.join().unwrap()).unwrap();
        assert!(
            answer.ends_with(&format!(" kiwi +{time}+{time} {time}\n? last\n")),
            "{answer}"
        );
    }
    herd.launch("Riley");
    assert_eq!(herd.position("Riley", "kiwi").as_deref(), Some("+2+2"));
}

#[test]
fn lines_in_a_row_share_the_waits_and_keep_their_order() {
    const LINES: usize = 20_000;
    let (herd, _dir) = answering_by_disk(Duration::from_millis(10));
    let mut client = herd.client("Riley");
    let line = |n: usize| format!("IAMAT client-{} +1+1 {n}.5\n", n % 100);
    let mut sender = client.sender();
    let sending = thread::spawn(move || {
        let lines: String = (0..LINES).map(line).collect();
        std::io::Write::write_all(&mut sender, lines.as_bytes()).unwrap();
    });
    for n in 0..LINES {
        let answer = client.text();
        assert!(
            answer.ends_with(&format!(" client-{} +1+1 {n}.5", n % 100)),
            "{answer}"
        );
    }
    sending.join().unwrap();
    let durable = herd.gateway("Riley").storage().unwrap().durable();
    assert_eq!(durable, LINES as u64);
}

#[test]
fn waiting_answers_are_bounded_in_memory() {
    let (mut herd, _dir) = answering_by_disk(Duration::from_secs(60));
    let mut client = herd.client("Riley");
    client.fill(&format!("IAMAT kiwi +1+1 {T}\n"));
    let lines = herd.counters("Riley").client_lines.stale.get();
    // 64 KiB of answers, each of which is longer than 50 bytes.
    assert!((500..1500).contains(&lines), "{lines}");
    herd.drain("Riley");
}

#[test]
fn a_client_that_closed_its_side_waits_no_longer_than_the_idle_limit() {
    let level = |plan: &mut ServerPlan| {
        plan.gateway.acknowledge = AcknowledgeLevel::Neighbour;
        plan.clients.idle = Duration::from_millis(100);
    };
    let herd = Herd::new(PAIR).adjust(level).launch_all();
    herd.set_link("Riley", "Jaquez", Mode::Cut);
    let mut open = herd.client("Riley");
    open.send(format!("IAMAT kiwi +1+1 {T}\n"));
    await_waiting(&herd, 1);
    let mut closed = herd.client("Riley");
    closed.send(format!("IAMAT plum +1+1 {T}\n")).half_close();
    assert_eq!(closed.rest(), b"");
    await_waiting(&herd, 1);
    assert_silent(&open);
    herd.set_link("Riley", "Jaquez", Mode::Pass);
    assert!(open.text().contains(" kiwi "));
}

#[test]
fn a_level_changes_at_run_time_for_the_lines_that_follow() {
    let mut herd = Herd::start(PAIR);
    let mut client = herd.client("Riley");
    herd.set_link("Riley", "Jaquez", Mode::Stall);
    assert!(
        client
            .ask(&format!("IAMAT kiwi +1+1 {T}"))
            .starts_with("AT ")
    );
    herd.change("Riley", |plan| {
        plan.gateway.acknowledge = AcknowledgeLevel::Neighbour
    });
    client.send(format!("IAMAT plum +1+1 {T}\n"));
    await_waiting(&herd, 1);
    herd.change("Riley", |_| {});
    client.send("last\n");
    assert!(
        herd.client("Riley")
            .ask(&format!("IAMAT fig +1+1 {T}"))
            .contains(" fig ")
    );
    assert_silent(&client);
    herd.set_link("Riley", "Jaquez", Mode::Pass);
    assert!(client.text().contains(" plum "));
    assert_eq!(client.text(), "? last");
}
