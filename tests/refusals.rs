//! What is written of calls that were refused: each kind of refusal, and no
//! flood of them. One test, since a process has one log of events.

mod common;

use std::path::Path;
use std::time::Instant;

use common::{Herd, Life, Stranger, eventually};
use proxyherd::gateway::Clock;
use proxyherd::log::{self, Level, Log, Router};

fn refusals(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("Riley.log")).unwrap();
    let refused = text.lines().filter(|line| line.contains(" refused "));
    refused.map(str::to_owned).collect()
}

#[test]
fn a_refusal_is_written_once_and_a_flood_of_them_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let settings = log::Settings {
        dir: dir.path().to_owned(),
        ..log::Settings::default()
    };
    let log = Log::open(&settings, "Riley").unwrap();
    let router = Router::new();
    router.register("Riley", &log);
    log::install(&router, Level::Info).unwrap();
    let mut herd = Herd::new((&["Riley", "Jaquez"], &[("Riley", "Jaquez")]));
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
        first.contains("refused a greeting from 127.0.0.1:"),
        "{first}"
    );
    assert!(first.ends_with(words), "{first}");

    let last = eventually("a later refusal is written again", || {
        stranger.greet(&greeting).unwrap_err();
        assert!(log.flush());
        let mut now = refusals(dir.path());
        (now.len() > lines.len()).then(|| now.pop().unwrap())
    });
    assert!(
        last.contains("more refusals before this one were not written"),
        "{last}"
    );
}
