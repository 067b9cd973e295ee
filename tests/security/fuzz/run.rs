//! Runs a check on one input after another, for a time.

use std::cell::Cell;
use std::fs;
use std::panic;
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::inputs::Input;

/// How long a target runs if nobody says.
const TIME: Duration = Duration::from_secs(1);

/// How many cases run between two looks at the clock.
const CASES: u32 = 100;

/// Checks every seed of a target.
pub(crate) fn replay(target: &str, check: fn(&[u8])) {
    for (name, bytes) in seeds(target) {
        println!("{target}: {name}");
        check(&bytes);
    }
}

/// The files of a target, in the order of their names.
pub(crate) fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/security/fuzz/seeds");
    let files = fs::read_dir(dir.join(target)).expect("the target has seeds");
    let read = |path: PathBuf| (path.display().to_string(), fs::read(&path).unwrap());
    let mut seeds: Vec<_> = files.map(|file| read(file.unwrap().path())).collect();
    seeds.sort();
    seeds
}

/// Checks inputs of `strategy` until the time is over. The first that fails is
/// made as small as it goes, and printed.
pub(crate) fn fuzz(target: &str, strategy: impl Strategy<Value = Input>, check: fn(&[u8])) {
    let config = Config {
        cases: CASES,
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
            Ok(()) => cases += u64::from(CASES),
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

/// Runs what panics by the hundred, on its way to the smallest input, and keeps
/// that off the screen.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let aloud = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                aloud(panic);
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
        Err(_) => TIME,
    }
}
