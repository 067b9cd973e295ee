//! The testkit: its faults, its errors, and what it leaves behind.

use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, thread};

use proxyherd::gateway::AcknowledgeLevel;
use proxyherd::testkit::{Herd, TestkitError, Topology, eventually};

use crate::common::{ALONE, PAIR};

/// A limit that passes: the servers cannot agree.
const SHORT: Duration = Duration::from_millis(50);

/// Returns the message of a panic.
fn panic_of<T>(run: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(run()))).unwrap_err();
    *panic.downcast::<String>().expect("a formatted message")
}

#[test]
fn a_disagreement_names_clients_servers_and_links() {
    let herd = Herd::start(PAIR);
    herd.client("Riley").iamat("both", "+1+1");
    herd.settle();
    herd.cut("Riley", "Jaquez");
    let here = herd.client("Riley").iamat("kiwi", "+1+1");
    let there = herd.client("Jaquez").iamat("kiwi", "+2+2");
    let alone = herd.client("Jaquez").iamat("plum", "+3+3");
    eventually("the link is down at both ends", || {
        let is_up = herd.is_up("Riley", "Jaquez") || herd.is_up("Jaquez", "Riley");
        (!is_up).then_some(())
    });
    let error = herd.try_settle(SHORT).unwrap_err();
    let text = format!("{error:?}");
    println!("{text}");
    for expected in [
        "servers differ in 2 clients after 50ms\n".to_owned(),
        format!("\n  kiwi: {there} at Jaquez; {here} at Riley\n"),
        format!("\n  plum: {alone} at Jaquez; no report at Riley\n"),
        "\nlinks that are down: Riley - Jaquez (".to_owned(),
        " and Jaquez - Riley (".to_owned(),
        "; the test has set a fault there, which heal removes)".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected:?} in {text:?}");
    }
    let TestkitError::Disagreement(disagreement) = error else {
        panic!("{text}");
    };
    let clients = disagreement.differences.iter().map(|it| it.client.as_str());
    assert!(clients.eq(["kiwi", "plum"]));
    herd.heal("Riley", "Jaquez");
    herd.settle();
    assert_eq!(herd.at_line("Riley", "kiwi"), Some(there));
    assert_eq!(herd.at_line("Riley", "plum"), Some(alone));
}

#[test]
fn a_message_has_at_most_five_clients() {
    let herd = Herd::start(PAIR);
    herd.cut("Riley", "Jaquez");
    let mut client = herd.client("Riley");
    for n in 0..8 {
        client.iamat(&format!("kiwi-{n}"), "+1+1");
    }
    let text = herd.try_settle(SHORT).unwrap_err().to_string();
    assert!(text.contains("\n  kiwi-4: "), "{text}");
    assert!(text.contains("\n  and 3 more clients"), "{text}");
    assert!(!text.contains("kiwi-5"), "{text}");
}

#[test]
fn a_server_with_storage_has_its_reports_after_a_kill() {
    let adjust = |plan: &mut proxyherd::server::ServerPlan| {
        plan.gateway.acknowledge = AcknowledgeLevel::Disk;
    };
    let mut herd = Herd::new(ALONE).with_storage().adjust(adjust).launch_all();
    let line = herd.client("Riley").iamat("kiwi", "+1+1");
    herd.restart("Riley");
    assert_eq!(herd.at_line("Riley", "kiwi"), Some(line));

    let mut without = Herd::start(ALONE);
    without.client("Riley").iamat("kiwi", "+1+1");
    without.restart("Riley");
    assert_eq!(without.at_line("Riley", "kiwi"), None);
}

#[test]
fn a_folder_has_logs_while_its_herd_runs() {
    let mut herd = Herd::start(ALONE);
    let folder = herd.folder().to_owned();
    herd.client("Riley").iamat("kiwi", "+1+1");
    herd.restart("Riley");
    herd.client("Riley").iamat("plum", "+1+1");
    herd.kill("Riley");
    let log = |n| fs::read_to_string(folder.join(format!("Riley/{n}.log"))).unwrap();
    assert!(log(1).contains("IAMAT kiwi ") && !log(1).contains("IAMAT plum "));
    assert!(log(2).contains("IAMAT plum "));
    drop(herd);
    assert!(!folder.exists());
}

#[test]
fn a_folder_stays_if_the_test_panics() {
    let (sender, receiver) = std::sync::mpsc::channel::<PathBuf>();
    let test = thread::spawn(move || {
        let herd = Herd::start(ALONE);
        sender.send(herd.folder().to_owned()).unwrap();
        herd.client("Riley").iamat("kiwi", "nowhere");
    });
    let panic = test.join().unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.starts_with("the server rejected \"IAMAT kiwi nowhere "));
    let folder = receiver.recv().unwrap();
    assert!(folder.join("Riley/1.log").exists());
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn every_call_works_within_a_runtime() {
    let mut herd = Herd::start(PAIR);
    herd.client("Riley").iamat("kiwi", "+1+1");
    herd.settle();
    assert_eq!(herd.drain("Riley"), 0);
    herd.launch("Riley");
    herd.change("Riley", |plan| plan.clients.max_line = 512);
    herd.await_links();
    herd.settle();
    herd.kill("Jaquez");
}

#[test]
fn misuse_has_a_cause_and_a_remedy() {
    let mut herd = Herd::new(Topology::line(["Riley", "Jaquez", "Juzang"]));
    herd.launch("Riley");
    assert_eq!(
        panic_of(|| herd.clients_address("Bob")),
        "there is no server \"Bob\"; the servers are Riley, Jaquez and Juzang"
    );
    assert_eq!(
        panic_of(|| herd.clients_address("Jaquez")),
        "server Jaquez does not run; launch it first; the running ones are: Riley"
    );
    assert_eq!(
        panic_of(|| herd.cut("Riley", "Juzang")),
        "Riley and Juzang have no link; add it to the topology"
    );
    assert_eq!(
        panic_of(|| herd.launch("Riley")),
        "server Riley runs already; kill or drain it first"
    );
    let error = herd.try_client("Jaquez").unwrap_err().to_string();
    assert!(
        error.starts_with("cannot connect to server Jaquez: "),
        "{error}"
    );
}

#[test]
fn a_server_that_cannot_start_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut herd = Herd::new(ALONE).adjust(move |plan| plan.bind_clients = address.into());
    let error = herd.try_launch("Riley").unwrap_err().to_string();
    assert!(
        error.starts_with("cannot start server Riley: cannot bind 127.0.0.1:"),
        "{error}"
    );
    assert!(herd.running().is_empty());
    drop(taken);
    herd.launch("Riley");
}
