//! Log lines of rejected calls: each kind of rejection is logged, and a flood of them is rate
//! limited.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{FakeSender, Herd, PAIR, PeerClient, alone, within};
use proxyherd::gateway::Clock;
use proxyherd::log::{self, Log, Router};
use tokio::task::JoinHandle;
use tonic::Status;
use tracing::level_filters::LevelFilter;

fn rejections(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("Riley.log")).unwrap();
    let rejected = text.lines().filter(|line| line.contains(" rejected "));
    rejected.map(str::to_owned).collect()
}

// A process has one log of events.
#[test]
fn rejected_calls_are_logged_once_a_second_with_the_number_of_suppressed_ones() {
    alone(|| {
        let dir = tempfile::tempdir().unwrap();
        let settings = log::LogSettings {
            dir: dir.path().to_owned(),
            ..log::LogSettings::default()
        };
        let log = Log::open(&settings, "Riley").unwrap();
        let router = Router::new();
        router.register("Riley", &log);
        log::install(&router, LevelFilter::INFO).unwrap();
        let mut herd = Herd::new(PAIR).adjust(|plan| plan.peers.max_pushes = 2);
        let mut held: Vec<JoinHandle<Status>> = Vec::new();
        herd.launch_with("Riley", Clock::system(), log.clone());
        let caller = PeerClient::dial(herd.peers_address("Riley"));
        let greeting = FakeSender::new("Mallory", 7, "Riley").greeting();

        let start = Instant::now();
        for _ in 0..300 {
            caller.greet(&greeting).unwrap_err();
        }
        let seconds = start.elapsed().as_secs() as usize;
        assert!(log.flush());
        let lines = rejections(dir.path());
        assert!((1..=seconds + 1).contains(&lines.len()), "{lines:?}");
        let first = &lines[0];
        let expected = "PermissionDenied: no server named \"Mallory\" is in this server's config";
        assert!(
            first.contains("rejected a greeting from 127.0.0.1:"),
            "{first}"
        );
        assert!(first.ends_with(expected), "{first}");

        let last = await_rejection(&log, dir.path(), "(suppressed ", || {
            caller.greet(&greeting).unwrap_err();
        });
        assert!(last.ends_with(" before this one)"), "{last}");

        // Calls that are rejected before their message is read are logged too.
        await_rejection(&log, dir.path(), "a greeting from 127.0.0.1:", || {
            caller.send("Greet", &[0xff; 32]).unwrap_err();
        });
        await_rejection(&log, dir.path(), "OutOfRange: ", || {
            caller.send("Push", &[0; (1 << 20) + 1]).unwrap_err();
        });
        await_rejection(
            &log,
            dir.path(),
            "Unavailable: 2 calls of strangers are under way",
            || {
                held.retain(|call| !call.is_finished());
                held.resize_with(2, || caller.hold("Push"));
                let _ = caller.greet(&greeting);
            },
        );
    });
}

/// Repeats `call` until a new line of a rejected call contains `expected`, and returns it.
#[track_caller]
fn await_rejection(log: &Log, dir: &Path, expected: &str, mut call: impl FnMut()) -> String {
    let before = rejections(dir).len();
    // One line a second is logged, and on a busy machine most are of other calls.
    let limit = Duration::from_secs(120);
    within(
        limit,
        &format!("a rejected call is logged: {expected}"),
        || {
            call();
            assert!(log.flush());
            let mut new = rejections(dir).into_iter().skip(before);
            new.find(|line| line.contains(expected))
        },
    )
}
