//! A load for servers that speak the line protocol, and what they did with it.
//!
//! For people, as `redis-benchmark` is: an operator who wants to know what a
//! herd bears, somebody who compares two servers, a job that reads the JSON.
//! It knows the line protocol and addresses, and nothing else of a herd; so it
//! measures any server, and no part of the product can make it look better.
//!
//! # How it measures
//!
//! Each thread waits for its connections with one poll, takes all answers that
//! a read brings, and sends a batch in one write. Latencies go into histograms
//! of three significant digits (HDR). Three kinds of load:
//!
//! - **Closed**, the default: each connection sends a batch of `--pipeline`
//!   requests and waits for all of its answers. It finds the throughput. Its
//!   latencies are those of a server that is asked as fast as it answers, and
//!   it asks a server that stalls nothing.
//! - **Open** (`--rate`): requests are due on a schedule, whatever the server
//!   does, and latency counts from then. It finds what clients would see.
//! - **Spread** (`--spread`): see [`spread`].
//!
//! Before a load every client reports once, and the warm-up follows; neither
//! counts, but faults count from the first byte on. Throughput is the right
//! answers to requests that count, by the time from the start of the measured
//! part to the last of those answers.
//!
//! Each client belongs to one connection and its times only grow, so that every
//! report wins, and each answer and what every server must know in the end are
//! known beforehand ([`workload`]). An answer is compared with the bytes that were
//! sent ([`window`]), which costs little; nothing is taken on trust unless
//! `--unchecked` says so.
//!
//! # What it can not tell
//!
//! - Where the load runs on the machine of the servers it takes part of the
//!   machine: absolute figures are those of both together. Compare ratios, taken
//!   side by side.
//! - Times are those of this process: a reader that waits for its core reads
//!   late. `--threads` and a machine of its own help.
//! - A write of this side that the system splits, or joins, is not seen.
//! - A connection that breaks is not made anew; the load goes on without it.
//!
//! | file | |
//! |---|---|
//! | [`arguments`], [`settings`] | what is asked for; what of it makes sense |
//! | [`workload`], [`payload`], [`digits`] | which request is next; its text |
//! | [`pacing`], [`work`] | when requests are due; when a connection sends |
//! | [`window`], [`answer`] | what is under way; is this the answer? |
//! | [`connection`], [`worker`], [`timer`], [`dial`] | sockets and threads |
//! | [`load`], [`spread`], [`convergence`] | the three things that are measured |
//! | [`tally`], [`report`], [`table`], [`json`] | what was found, and how it is told |
//! | [`shared`], [`clock`], [`progress`], [`error`] | what goes on meanwhile |

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

/// How often the progress bar moves.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// What a shell makes of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Measures what `settings` say, and prints what it found to standard output.
/// Fails where nothing could be measured, and where something was wrong.
pub fn run(settings: &BenchSettings) -> Result<(), BenchError> {
    // More connections than this system lets it have are told of when they fail.
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

/// All that takes time, one after another; a load and the spread beneath it side
/// by side.
fn measure(settings: &BenchSettings, shared: &Arc<Shared>) -> Result<Measured, BenchError> {
    let spreading = settings.spread.map(|length| {
        let (settings, shared) = (settings.clone(), shared.clone());
        thread::spawn(move || spread::run(&settings, length, &shared))
    });
    let load = settings.load.as_ref();
    let loaded = load.map(|load| load::run(settings, load, shared));
    if matches!(loaded, Some(Err(_))) {
        // One that could not begin ends the spread beneath it too.
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

/// Looks for every report everywhere, unless somebody wants the results now.
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
    // What was not asked for is neither there nor lacking.
    (!shared.is_stopped()).then_some(settled)
}

/// Shows how far things are, and ends them early on Ctrl-C or SIGTERM.
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

/// The first time the run ends early, the second time at once.
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
