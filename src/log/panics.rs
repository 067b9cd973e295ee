//! The panic hook: a panic as one line in the logs and on the terminal.

use std::env;
use std::panic::{self, PanicHookInfo};
use std::thread;
use std::time::Duration;

use super::router::Router;
use super::terminal;

/// Maximum time for a panic to reach the files, and then the terminal: the process may end right
/// after it.
const MAX_FLUSH_WAIT: Duration = Duration::from_millis(200);

/// Installs a hook that makes each panic in the process one error event, with its thread, place and
/// message. The event is in the logs of `router` and on the terminal when the hook returns, if each
/// accepts it within 200 ms. Rust's own message is printed only with `RUST_BACKTRACE` set, or while
/// there is no subscriber of events. Call it once, after [`install`](super::install).
pub fn log_panics(router: &Router) {
    let router = router.clone();
    let default_hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        report(panic);
        router.flush_within(MAX_FLUSH_WAIT);
        terminal::flush_terminal_within(MAX_FLUSH_WAIT);
        if wants_backtrace() || !tracing::enabled!(tracing::Level::ERROR) {
            default_hook(panic);
        }
    }));
}

fn report(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let place = panic.location().map(ToString::to_string);
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        place = place.as_deref().unwrap_or("unknown"),
        "panicked: {}",
        panic.payload_as_str().unwrap_or("(no message)"),
    );
}

fn wants_backtrace() -> bool {
    env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{AlreadyInstalled, Log, LogSettings, install};
    use std::process::{Command, Output};
    use tempfile::TempDir;
    use tracing::level_filters::LevelFilter;

    /// The environment variable with the directory for the logs of the child process.
    const DIR: &str = "PROXYHERD_TEST_PANICS_DIR";

    /// Runs the child. Hooks and subscribers belong to a whole process, so the test needs one of
    /// its own.
    #[test]
    #[ignore = "runs in a process that the other tests start"]
    fn child() {
        let Some(dir) = env::var_os(DIR) else { return };
        let settings = LogSettings {
            dir: dir.into(),
            ..LogSettings::default()
        };
        let log = Log::open(&settings, "Riley").unwrap();
        let router = Router::new();
        router.register("Riley", &log);
        assert!(install(&router, LevelFilter::INFO).unwrap().is_on());
        assert_eq!(
            install(&router, LevelFilter::INFO).unwrap_err(),
            AlreadyInstalled
        );
        log_panics(&router);

        let plain = thread::Builder::new().name("plain".to_owned());
        let plain = plain.spawn(|| panic!("a message\nof two lines"));
        assert!(plain.unwrap().join().is_err());
        std::process::abort(); // nothing is flushed after the hook
    }

    fn run_child(dir: &TempDir, backtrace: &str) -> Output {
        let (_, module) = module_path!().split_once("::").unwrap();
        Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg(format!("{module}::child"))
            .env(DIR, dir.path())
            .env("RUST_BACKTRACE", backtrace)
            .env("RUST_LOG", "proxyherd=loud")
            .output()
            .unwrap()
    }

    #[test]
    fn a_panic_is_one_line_in_the_log_and_on_the_terminal() {
        let dir = TempDir::new().unwrap();
        let output = run_child(&dir, "0");
        let screen = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<_> = screen.lines().collect();
        let [invalid_variable, panic] = lines[..] else {
            panic!("{screen}")
        };
        assert!(invalid_variable.starts_with("warning: RUST_LOG is invalid"));
        let start =
            "error: panicked: a message\\nof two lines thread=plain place=src/log/panics.rs:";
        assert!(panic.starts_with(start), "{panic}");

        let log = std::fs::read_to_string(dir.path().join("Riley.log")).unwrap();
        let start = "Z ERROR panicked: a message\\nof two lines thread=plain ";
        assert!(log.contains(start), "{log}");
    }

    #[test]
    fn a_backtrace_is_printed_if_rust_backtrace_is_set() {
        let dir = TempDir::new().unwrap();
        let screen = String::from_utf8(run_child(&dir, "1").stderr).unwrap();
        assert!(screen.contains("stack backtrace:"), "{screen}");
        assert!(screen.contains("error: panicked: a message"), "{screen}");
    }
}
