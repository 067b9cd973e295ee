//! The proof of progress that feeds a watchdog.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use proxyherd::model::client::ClientId;
use proxyherd::server::ProgressProbe;
use tokio::runtime::Builder;

use crate::common::{Herd, LIMIT, PAIR};

/// Asks for a proof on another thread, and returns what receives it.
fn ask(probe: &ProgressProbe) -> Receiver<()> {
    let (sender, receiver) = mpsc::channel();
    let probe = probe.clone();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(probe.progress());
        let _ = sender.send(());
    });
    receiver
}

/// Checks that there is no proof until `release` is dropped.
#[track_caller]
fn assert_starved(probe: &ProgressProbe, release: Sender<()>) {
    let proof = ask(probe);
    let waited = proof.recv_timeout(Duration::from_secs(1));
    assert_eq!(waited, Err(RecvTimeoutError::Timeout));
    drop(release);
    proof.recv_timeout(LIMIT).expect("it makes progress again");
}

#[test]
fn a_server_that_waits_for_nothing_but_work_makes_progress() {
    let mut herd = Herd::start(PAIR);
    herd.kill("Jaquez");
    let probe = herd.progress_probe("Riley");
    for _ in 0..3 {
        ask(&probe).recv_timeout(LIMIT).unwrap();
    }
    herd.drain("Riley");
    ask(&probe)
        .recv_timeout(LIMIT)
        .expect("its ports are closed");
}

#[test]
fn a_lock_that_is_never_released_starves_the_watchdog_of_its_server_only() {
    let herd = Herd::start(PAIR);
    herd.client("Riley").ask("IAMAT kiwi +1+1 1621464827");
    let (release, released) = mpsc::channel::<()>();
    let (hold, held) = mpsc::channel();
    let gateway = herd.gateway("Riley").clone();
    thread::spawn(move || {
        let kiwi = ClientId::parse(b"kiwi").unwrap();
        gateway.locate(kiwi, |_| {
            hold.send(()).unwrap();
            let _ = released.recv();
        });
    });
    held.recv_timeout(LIMIT).unwrap();
    ask(&herd.progress_probe("Jaquez"))
        .recv_timeout(LIMIT)
        .unwrap();
    assert_starved(&herd.progress_probe("Riley"), release);
}

#[test]
fn a_thread_that_never_returns_starves_the_watchdog() {
    let herd = Herd::start(PAIR);
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    // The only one of this server's runtime.
    herd.runtime("Riley").spawn(async move {
        begin.send(()).unwrap();
        let _ = released.recv();
    });
    begun.recv_timeout(LIMIT).unwrap();
    assert_starved(&herd.progress_probe("Riley"), release);
}
