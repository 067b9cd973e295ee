//! The levels of acknowledgement: an answer does not come before its report is where the level says.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use proxyherd::gateway::AcknowledgeLevel;
use proxyherd::server::ServerPlan;
use tempfile::TempDir;

use crate::common::{ALONE, Client, Herd, Mode, PAIR, all_the_while, eventually};

const T: &str = "1621464827";

/// Returns a pair of servers that answer when a neighbour has the report.
fn answering_by_neighbour() -> Herd {
    let level = |plan: &mut ServerPlan| plan.gateway.acknowledge = AcknowledgeLevel::Neighbour;
    Herd::new(PAIR).adjust(level).launch_all()
}

/// The time between two syncs, and between two attempts of a disk that fails, in a test that waits
/// for neither.
const NEVER: Duration = Duration::from_secs(60);

/// Returns one server that answers when its disk has the report, and stores in `dir`.
fn answering_by_disk(dir: PathBuf) -> Herd {
    let adjust = move |plan: &mut ServerPlan| {
        plan.gateway.acknowledge = AcknowledgeLevel::Disk;
        plan.storage.dir = Some(dir.clone());
        plan.storage.sync = NEVER;
    };
    Herd::new(ALONE).adjust(adjust).launch_all()
}

/// A directory of storage that cannot be used until it is mended.
struct BrokenDir(TempDir);

impl BrokenDir {
    fn new() -> Self {
        let dir = Self(TempDir::new().unwrap());
        // A file of that name stops even root.
        fs::write(dir.path(), "in the way").unwrap();
        dir
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn mend(&self) {
        fs::remove_file(self.path()).unwrap();
    }
}

/// Returns the number of failed attempts to write of Riley.
fn errors(herd: &Herd) -> u64 {
    herd.gateway("Riley").storage().unwrap().snapshot().errors
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
fn an_answer_waits_for_the_disk_and_not_for_the_next_sync() {
    let dir = TempDir::new().unwrap();
    let herd = answering_by_disk(dir.path().to_owned());
    let storage = herd.gateway("Riley").storage().unwrap();
    let mut client = herd.client("Riley");
    for n in 1..=3 {
        assert!(
            client
                .ask(&format!("IAMAT kiwi +1+1 {n}"))
                .ends_with(&format!(" kiwi +1+1 {n}"))
        );
        assert_eq!(storage.durable(), n);
    }
    // One that changes nothing waits for nothing.
    let syncs = storage.snapshot().syncs;
    assert!(client.ask("IAMAT kiwi +1+1 1").ends_with(" kiwi +1+1 1"));
    assert_eq!(storage.snapshot().syncs, syncs);
}

#[test]
fn a_disk_that_fails_holds_answers_back_and_a_drain_is_its_chance() {
    let dir = BrokenDir::new();
    let mut herd = answering_by_disk(dir.path());
    eventually("a failed write", || (errors(&herd) > 0).then_some(()));
    let clients = ["2", "1"].map(|time| {
        // The second is stale, and waits for the first.
        let mut client = herd.client("Riley");
        client.send(format!("IAMAT kiwi +{time}+{time} {time}\nlast\n"));
        client
    });
    await_waiting(&herd, 2);
    // They do not make the server try again and again.
    all_the_while(Duration::from_millis(200), || assert_eq!(errors(&herd), 1));
    clients.iter().for_each(assert_silent);
    dir.mend();
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
    let dir = TempDir::new().unwrap();
    let herd = answering_by_disk(dir.path().to_owned());
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
    let dir = BrokenDir::new();
    let mut herd = answering_by_disk(dir.path());
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
