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
//! Each client belongs to one connection and its times only increase, so every report wins.
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
//! | [`pacing`], [`work`] | the schedule of requests and of each connection |
//! | [`window`], [`answer`] | pending requests and the check of their answers |
//! | [`connection`], [`worker`], [`timer`], [`dial`] | sockets and threads |
//! | [`load`], [`spread`], [`convergence`] | the three measurements |
//! | [`tally`], [`report`], [`table`], [`json`] | results and their formats |
//! | [`shared`], [`clock`], [`progress`], [`error`] | shared state, progress and errors |

mod answer;
mod arguments;
mod clock;
mod connection;
mod convergence;
mod dial;
mod digits;
mod error;
mod json;
mod load;
mod pacing;
mod payload;
mod progress;
mod report;
mod settings;
mod shared;
mod spread;
mod table;
mod tally;
mod timer;
mod window;
mod work;
mod worker;
mod workload;

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use progress::ProgressLine;
use report::BenchReport;
use shared::Shared;

pub use arguments::{Arguments, NOTES};
pub use error::BenchError;
pub use settings::BenchSettings;

/// The interval between two updates of the progress bar.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// The exit status of a program that Ctrl-C ended, as shells report it.
const INTERRUPTED: i32 = 130;

/// Measures as `settings` specify, and prints the results to standard output.
///
/// # Errors
///
/// Fails if nothing could be measured, or if the results contain faults.
pub fn run(settings: &BenchSettings) -> Result<(), BenchError> {
    // If the limit stays too low, the connections beyond it report the error.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let threads = settings.load.as_ref().map_or(0, |load| load.threads);
    let shared = Arc::new(Shared::new(threads as usize));
    let (done, is_done) = oneshot::channel();
    let measuring = {
        let (settings, shared) = (settings.clone(), shared.clone());
        thread::spawn(move || {
            let measured = measure(&settings, &shared);
            drop(done);
            measured
        })
    };
    let watcher = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    watcher.block_on(watch(settings, &shared, is_done))?;
    let (loaded, spread, settled) = measuring
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    tell(&BenchReport {
        settings,
        stopped_early: shared.is_stopped(),
        loaded,
        spread,
        settled,
    })
}

type Measured = (
    Option<load::Loaded>,
    Option<spread::Spread>,
    Option<Vec<convergence::Convergence>>,
);

/// Runs all measurements one after another, except that a load and the spread beneath it
/// run side by side.
fn measure(settings: &BenchSettings, shared: &Arc<Shared>) -> Result<Measured, BenchError> {
    let spreading = settings.spread.map(|length| {
        let (settings, shared) = (settings.clone(), shared.clone());
        thread::spawn(move || spread::run(&settings, length, &shared))
    });
    let load = settings.load.as_ref();
    let loaded = load.map(|load| load::run(settings, load, shared));
    if matches!(loaded, Some(Err(_))) {
        // A load that fails to start also ends the spread beneath it.
        shared.end_load();
    }
    let loaded = loaded.transpose()?;
    let spread = spreading.map(|thread| {
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let sought = loaded.as_ref().filter(|_| settings.verifies);
    let settled = sought.and_then(|loaded| find_all(settings, loaded, shared));
    Ok((loaded, spread.transpose()?, settled))
}

/// Looks up every report at every server, unless the run was stopped early.
fn find_all(
    settings: &BenchSettings,
    loaded: &load::Loaded,
    shared: &Shared,
) -> Option<Vec<convergence::Convergence>> {
    if shared.is_stopped() {
        return None;
    }
    let servers = loaded.tally.servers.iter();
    let names: Vec<_> = servers.map(|server| server.name.clone()).collect();
    let reported = loaded.reported.clone();
    let settled = convergence::settle(settings, reported, &names, loaded.ended, shared);
    // The result of a stopped check would be meaningless.
    (!shared.is_stopped()).then_some(settled)
}

/// Shows the progress, and ends the run early on Ctrl-C or SIGTERM.
async fn watch(
    settings: &BenchSettings,
    shared: &Shared,
    mut is_done: oneshot::Receiver<()>,
) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut ticks = tokio::time::interval(SHOWN_EVERY);
    let mut progress = ProgressLine::new();
    loop {
        tokio::select! {
            _ = &mut is_done => break,
            _ = ticks.tick() => progress.show(settings, shared),
            _ = interrupt.recv() => stop(shared, &progress),
            _ = terminate.recv() => stop(shared, &progress),
        }
    }
    progress.clear();
    Ok(())
}

/// Ends the run early at the first signal, and immediately at the second.
fn stop(shared: &Shared, progress: &ProgressLine) {
    if shared.is_stopped() {
        progress.clear();
        std::process::exit(INTERRUPTED);
    }
    shared.stop();
}

fn tell(outcome: &BenchReport<'_>) -> Result<(), BenchError> {
    let text = match outcome.settings.json {
        true => json::json(outcome),
        false => table::table(outcome),
    };
    let mut stdout = io::stdout();
    let printed = stdout.write_all(text.as_bytes());
    printed
        .and_then(|()| stdout.flush())
        .map_err(BenchError::Print)?;
    match outcome.complaint() {
        Some(words) => Err(BenchError::Faulty(words)),
        None => Ok(()),
    }
}
