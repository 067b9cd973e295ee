//! What is written of calls that were refused: each kind of refusal, and no
//! flood of them.

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
fn a_refusal_is_written_once_and_a_flood_of_them_is_counted() {
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

        // What is refused before anyone looks at what it says is written too.
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

/// Waits until a refusal that `refuse` brings about is written with these words.
#[track_caller]
fn await_refusal(log: &Log, dir: &Path, words: &str, mut refuse: impl FnMut()) -> String {
    let before = refusals(dir).len();
    eventually(&format!("a refusal is written: {words}"), || {
        refuse();
        assert!(log.flush());
        let mut new = refusals(dir).into_iter().skip(before);
        new.find(|line| line.contains(words))
    })
}
