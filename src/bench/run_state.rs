//! The state that all threads of a run share.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Barrier, OnceLock};

use tokio_util::sync::CancellationToken;

use super::clock::Stopwatch;

/// The current stage of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// Every client sends its first report.
    Preloading,
    /// The load runs and does not count.
    Warming,
    /// The load runs and counts.
    Measuring,
    /// Every server is queried for the newest report of every client.
    Converging,
    /// Single reports are sent and looked up, without a load.
    Spreading,
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::Preloading,
        Self::Warming,
        Self::Measuring,
        Self::Converging,
        Self::Spreading,
    ];
}

/// The clock, the stop flags and the progress of one run.
pub(super) struct RunState {
    pub(super) clock: Stopwatch,
    /// Read for each request, unlike `stopped`, which has a lock.
    is_stopped: AtomicBool,
    stopped: CancellationToken,
    is_load_over: AtomicBool,
    stage: AtomicU8,
    /// The number of answers since the start of the run; of reports while a spread is
    /// measured without a load.
    pub(super) answered: AtomicU64,
    barrier: Barrier,
    start: OnceLock<u64>,
}

impl RunState {
    /// Creates the state of a run whose load has `threads` threads, and starts its clock.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            clock: Stopwatch::start(),
            is_stopped: AtomicBool::new(false),
            stopped: CancellationToken::new(),
            is_load_over: AtomicBool::new(false),
            stage: AtomicU8::new(Stage::Preloading as u8),
            answered: AtomicU64::new(0),
            barrier: Barrier::new(threads),
            start: OnceLock::new(),
        }
    }

    /// Ends the run early.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
        self.stopped.cancel();
    }

    /// Returns the token that is cancelled when the run ends early.
    pub(super) fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Relaxed)
    }

    /// Ends the spread that runs beside the load.
    pub(super) fn end_load(&self) {
        self.is_load_over.store(true, Relaxed);
    }

    pub(super) fn is_load_over(&self) -> bool {
        self.is_load_over.load(Relaxed)
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    pub(super) fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Relaxed))]
    }

    /// Adds to the number of answers.
    pub(super) fn count(&self, answers: u64) {
        self.answered.fetch_add(answers, Relaxed);
    }

    /// Waits for the other threads of the load, and returns the same start time to each.
    pub(super) fn start_together(&self) -> u64 {
        self.barrier.wait();
        *self.start.get_or_init(|| {
            self.enter(Stage::Warming);
            self.clock.now()
        })
    }

    /// Returns the start time of the load, or `None` before it.
    pub(super) fn start(&self) -> Option<u64> {
        self.start.get().copied()
    }
}
