//! Repetition of a check on generated inputs for a time.

use std::cell::Cell;
use std::fs;
use std::panic;
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::inputs::Input;

/// The time for each target unless the environment sets another.
const DEFAULT_TIME: Duration = Duration::from_secs(1);

/// The number of cases between two checks of the clock.
const CASES_PER_RUN: u32 = 100;

/// Checks every seed of a target.
pub(crate) fn replay(target: &str, check: fn(&[u8])) {
    for (name, bytes) in seeds(target) {
        println!("{target}: {name}");
        check(&bytes);
    }
}

/// Returns the names and contents of a target's files, sorted by name.
pub(crate) fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/security/fuzz/seeds");
    let files = fs::read_dir(dir.join(target)).expect("the target has seeds");
    let read = |path: PathBuf| (path.display().to_string(), fs::read(&path).unwrap());
    let mut seeds: Vec<_> = files.map(|file| read(file.unwrap().path())).collect();
    seeds.sort();
    seeds
}

/// Checks inputs of `strategy` until the time is over. The first input that fails is minimized and
/// printed.
pub(crate) fn fuzz(target: &str, strategy: impl Strategy<Value = Input>, check: fn(&[u8])) {
    let config = Config {
        cases: CASES_PER_RUN,
        failure_persistence: None,
        ..Config::default()
    };
    let (start, mut cases) = (Instant::now(), 0);
    while start.elapsed() < time() {
        let mut runner = TestRunner::new(config.clone());
        let ran = quietly(|| {
            runner.run(&strategy, |input| {
                check(&input.0);
                Ok(())
            })
        });
        match ran {
            Ok(()) => cases += u64::from(CASES_PER_RUN),
            Err(TestError::Fail(reason, input)) => {
                panic!(
                    "{reason}\nof {target}, the smallest input found, for findings.rs:\n{input:?}"
                )
            }
            Err(TestError::Abort(reason)) => panic!("{target}: {reason}"),
        }
    }
    let each_second = cases as f64 / start.elapsed().as_secs_f64();
    println!("{target}: {cases} cases, {each_second:.0} a second");
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs a closure without printing its panics, of which minimizing an input causes hundreds.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default_hook = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                default_hook(panic);
            }
        }));
    });
    QUIET.set(true);
    let ran = run();
    QUIET.set(false);
    ran
}

fn time() -> Duration {
    match std::env::var("PROXYHERD_FUZZ_SECONDS") {
        Ok(seconds) => Duration::from_secs(seconds.parse().expect("a number of seconds")),
        Err(_) => DEFAULT_TIME,
    }
}
