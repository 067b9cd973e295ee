//! Log lines of refused calls: each kind of refusal is logged, and a flood of them is rate limited.

use std::path::Path;
use std::time::Instant;

use crate::common::{Herd, Life, Stranger, alone, eventually};
use proxyherd::gateway::Clock;
use proxyherd::log::{self, Log, Router};
use tokio::task::JoinHandle;
use tonic::Status;
use tracing::level_filters::LevelFilter;

fn refusals(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("Riley.log")).unwrap();
    let refused = text.lines().filter(|line| line.contains(" rejected "));
    refused.map(str::to_owned).collect()
}

// A process has one log of events.
#[test]
fn refused_calls_are_logged_once_a_second_with_the_number_of_suppressed_ones() {
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
        let mut herd = Herd::new((&["Riley", "Jaquez"], &[("Riley", "Jaquez")]))
            .adjust(|plan| plan.peers.max_pushes = 2);
        let mut held: Vec<JoinHandle<Status>> = Vec::new();
        herd.launch_with("Riley", Clock::system(), log.clone());
        let stranger = Stranger::dial(herd.peers_address("Riley"));
        let greeting = Life::new("Mallory", 7, "Riley").greeting();

        let start = Instant::now();
        for _ in 0..300 {
            stranger.greet(&greeting).unwrap_err();
        }
        let seconds = start.elapsed().as_secs() as usize;
        assert!(log.flush());
        let lines = refusals(dir.path());
        assert!((1..=seconds + 1).contains(&lines.len()), "{lines:?}");
        let first = &lines[0];
        let words = "PermissionDenied: no server named \"Mallory\" is in this server's config";
        assert!(
            first.contains("rejected a greeting from 127.0.0.1:"),
            "{first}"
        );
        assert!(first.ends_with(words), "{first}");

        let last = await_refusal(&log, dir.path(), "(suppressed ", || {
            stranger.greet(&greeting).unwrap_err();
        });
        assert!(last.ends_with(" before this one)"), "{last}");

        // Calls that are refused before their message is read are logged too.
        await_refusal(&log, dir.path(), "a greeting from 127.0.0.1:", || {
            stranger.send("Greet", &[0xff; 32]).unwrap_err();
        });
        await_refusal(&log, dir.path(), "OutOfRange: ", || {
            stranger.send("Push", &[0; (1 << 20) + 1]).unwrap_err();
        });
        await_refusal(
            &log,
            dir.path(),
            "ResourceExhausted: 2 calls of strangers are under way",
            || {
                held.retain(|call| !call.is_finished());
                held.resize_with(2, || stranger.hold("Push"));
                let _ = stranger.greet(&greeting);
            },
        );
    });
}

/// Repeats `refuse` until a new line of a refused call contains `words`, and returns it.
#[track_caller]
fn await_refusal(log: &Log, dir: &Path, words: &str, mut refuse: impl FnMut()) -> String {
    let before = refusals(dir).len();
    eventually(&format!("a refused call is logged: {words}"), || {
        refuse();
        assert!(log.flush());
        let mut new = refusals(dir).into_iter().skip(before);
        new.find(|line| line.contains(words))
    })
}
