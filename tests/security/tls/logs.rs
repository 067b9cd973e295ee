//! Logs of servers in this process. Events of all tests go through one subscriber, so each test
//! that reads a log uses server names of its own.

use std::path::PathBuf;
use std::sync::LazyLock;

use proxyherd::gateway::Clock;
use proxyherd::log::{self, Log, Router};
use tempfile::TempDir;
use tracing::level_filters::LevelFilter;

use crate::common::{Herd, eventually};

static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    let router = Router::new();
    log::install(&router, LevelFilter::INFO).unwrap();
    router
});

/// The log of one server.
pub(crate) struct ServerLog {
    log: Log,
    path: PathBuf,
    _dir: TempDir,
}

impl ServerLog {
    /// Launches a server of a herd with a log.
    pub(crate) fn launch(herd: &mut Herd, name: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let settings = log::LogSettings {
            dir: dir.path().to_owned(),
            ..log::LogSettings::default()
        };
        let log = Log::open(&settings, name).unwrap();
        ROUTER.register(name, &log);
        herd.launch_with(name, Clock::system(), log.clone());
        let path = dir.path().join(format!("{name}.log"));
        Self {
            log,
            path,
            _dir: dir,
        }
    }

    pub(crate) fn text(&self) -> String {
        assert!(self.log.flush());
        std::fs::read_to_string(&self.path).unwrap_or_default()
    }

    /// Repeats `again` until a line contains all of `parts`.
    #[track_caller]
    pub(crate) fn await_line(&self, parts: &[&str], mut again: impl FnMut()) {
        eventually(&format!("a line contains {parts:?}"), || {
            again();
            let text = self.text();
            let has_all = |line: &str| parts.iter().all(|part| line.contains(part));
            text.lines().any(has_all).then_some(())
        });
    }
}
