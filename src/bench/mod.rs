//! A load generator for servers that implement the line protocol.
//!
//! It serves operators who measure the capacity of a herd, people who compare two servers,
//! and jobs that read the JSON, as `redis-benchmark` does. It depends only on the line
//! protocol and on addresses. It therefore measures any server, and no other part of the
//! product can influence its results.
//!
//! # Method
//!
//! Each thread waits for its connections with one poll, reads all available answers, and
//! sends a batch in one write. Latencies go into histograms of three significant digits
//! (HDR). There are three kinds of load:
//!
//! - **Closed**, the default: each connection sends a batch of `--pipeline`
//!   requests and waits for all of its answers. It measures throughput. Its
//!   latencies are those of a server that is queried as fast as it answers; a
//!   stalled server receives no requests.
//! - **Open** (`--rate`): requests are due on a schedule, independent of the
//!   server, and latency counts from the due time. It measures what clients see.
//! - **Spread** (`--spread`): see [`spread`].
//!
//! Before a load every client reports once, and the warm-up follows; neither counts, but
//! faults count from the first byte. Throughput is the number of correct answers to
//! requests that count, divided by the time from the start of the measured part to the last
//! of those answers.
//!
//! Each client belongs to one connection and its times only increase, so every report is the
//! newest.
//! Each answer and the final state of every server are therefore known in advance
//! ([`workload`]). Each answer is compared with the bytes that were sent ([`window`]),
//! which is cheap; only `--unchecked` turns this off.
//!
//! # Limits
//!
//! - A load generator on the servers' machine uses part of that machine: absolute
//!   figures are those of both together. Compare ratios, measured side by side.
//! - Times are those of this process: a reader that waits for a core reads
//!   late. `--threads` and a separate machine help.
//! - The system may split or join writes of this process, which is not detected.
//! - A broken connection is not replaced; the load continues without it.
//!
//! | file | |
//! |---|---|
//! | [`arguments`], [`settings`] | arguments, and their validated form |
//! | [`workload`], [`payload`], [`digits`] | the next request and its text |
//! | [`walk`] | how clients move |
//! | [`pacing`], [`work`] | the schedule of requests and of each connection |
//! | [`window`], [`answer`] | pending requests and the check of their answers |
//! | [`connection`], [`worker`], [`timer`], [`dial`] | sockets and threads |
//! | [`load`], [`spread`], [`convergence`] | the three measurements |
//! | [`tally`], [`report`], [`table`] | results and their formats |
//! | [`run_state`], [`clock`], [`progress`], [`error`] | shared state, progress and errors |

mod answer;
mod arguments;
mod clock;
mod connection;
mod convergence;
mod dial;
mod digits;
mod error;
mod load;
mod pacing;
mod payload;
mod progress;
mod report;
mod run_state;
mod settings;
mod spread;
mod table;
mod tally;
mod timer;
mod walk;
mod window;
mod work;
mod worker;
mod workload;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::oneshot;

use crate::signals::Stop;
use crate::{output, threads};

use convergence::Convergence;
use load::LoadResult;
use progress::ProgressDisplay;
use report::BenchReport;
use run_state::RunState;
use spread::Spread;

pub use arguments::{BenchArguments, NOTES};
pub use error::BenchError;
pub use settings::BenchSettings;

/// The interval between two updates of the progress bar.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// The number of threads beside those of the load, and of each server in the convergence check:
/// the measurement, the spread, lookups of names, and standard error.
const OTHER_THREADS: usize = 4;

/// The exit status of a program that Ctrl-C ended, as shells report it.
const INTERRUPTED_EXIT_CODE: i32 = 130;

/// Measures as `settings` specify, and prints the results to standard output.
///
/// # Errors
///
/// Fails if nothing could be measured, or if the results contain faults.
pub fn run(settings: &BenchSettings) -> Result<(), BenchError> {
    // If the limit stays too low, the connections beyond it report the error.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let threads = settings.load.as_ref().map_or(0, |load| load.threads) as usize;
    threads::check(threads + settings.servers.len() + OTHER_THREADS)?;
    let state = Arc::new(RunState::new(threads));
    let (done, is_done) = oneshot::channel();
    let measuring = {
        let (settings, state) = (settings.clone(), state.clone());
        thread::spawn(move || {
            let measured = measure(&settings, &state);
            drop(done);
            measured
        })
    };
    let watcher = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    watcher.block_on(watch(settings, &state, is_done))?;
    let (loaded, spread, convergence) = measuring
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let stopped_early = state.is_stopped();
    let report = BenchReport::new(settings, stopped_early, loaded, spread, convergence);
    print(settings, &report)
}

type Measured = (Option<LoadResult>, Option<Spread>, Option<Convergence>);

/// Runs all measurements one after another, except that a load and the spread beneath it
/// run side by side.
fn measure(settings: &BenchSettings, state: &Arc<RunState>) -> Result<Measured, BenchError> {
    let spreading = settings.spread.map(|length| {
        let (settings, state) = (settings.clone(), state.clone());
        thread::spawn(move || spread::run(&settings, length, &state))
    });
    let load = settings.load.as_ref();
    let loaded = load.map(|load| load::run(settings, load, state));
    if matches!(loaded, Some(Err(_))) {
        // A load that fails to start also ends the spread beneath it.
        state.end_load();
    }
    let loaded = loaded.transpose()?;
    let spread = spreading.map(|thread| {
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let checked = loaded
        .as_ref()
        .filter(|_| settings.checks_convergence && !state.is_stopped());
    let convergence = checked.map(|loaded| convergence::check(settings, loaded, state));
    // The result of a stopped check would be meaningless.
    let convergence = convergence.filter(|_| !state.is_stopped());
    Ok((loaded, spread.transpose()?, convergence))
}

/// Shows the progress, and ends the run early on Ctrl-C or SIGTERM.
async fn watch(
    settings: &BenchSettings,
    state: &RunState,
    mut is_done: oneshot::Receiver<()>,
) -> io::Result<()> {
    let mut signals = Stop::listen()?;
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    let mut progress = ProgressDisplay::new();
    loop {
        tokio::select! {
            _ = &mut is_done => break,
            _ = ticks.tick() => progress.update(settings, state),
            _ = signals.wait() => stop(state, &progress),
        }
    }
    progress.clear();
    Ok(())
}

/// Ends the run early at the first signal, and immediately at the second.
fn stop(state: &RunState, progress: &ProgressDisplay) {
    if state.is_stopped() {
        progress.clear();
        std::process::exit(INTERRUPTED_EXIT_CODE);
    }
    state.stop();
}

fn print(settings: &BenchSettings, report: &BenchReport) -> Result<(), BenchError> {
    let text = if settings.json {
        let json = serde_json::to_string_pretty(report);
        json.expect("keys are texts and numbers are finite") + "\n"
    } else {
        table::tables(report)
    };
    output::print(&text).map_err(BenchError::Print)?;
    report
        .fault_summary()
        .map_or(Ok(()), |summary| Err(BenchError::Faulty(summary)))
}
