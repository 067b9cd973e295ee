//! What all threads of a run share: the clock, the wish to stop, and how far
//! things are.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Barrier, OnceLock};

use super::clock::Stopwatch;

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// Every client makes its first report.
    Introducing,
    /// The load runs, and nothing counts yet.
    Warming,
    /// What happens counts.
    Measuring,
    /// Servers are asked for the newest report of every client.
    Settling,
    /// Reports are sent one by one and looked for.
    Spreading,
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::Introducing,
        Self::Warming,
        Self::Measuring,
        Self::Settling,
        Self::Spreading,
    ];
}

/// One for each run.
pub(super) struct Shared {
    pub(super) clock: Stopwatch,
    /// Somebody wants the results now.
    stop: AtomicBool,
    /// The load is over.
    over: AtomicBool,
    stage: AtomicU8,
    /// Answers since the beginning; rounds, while a spread is measured.
    pub(super) answered: AtomicU64,
    barrier: Barrier,
    start: OnceLock<u64>,
}

impl Shared {
    /// For so many threads that make a load.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            clock: Stopwatch::start(),
            stop: AtomicBool::new(false),
            over: AtomicBool::new(false),
            stage: AtomicU8::new(Stage::Introducing as u8),
            answered: AtomicU64::new(0),
            barrier: Barrier::new(threads),
            start: OnceLock::new(),
        }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    pub(super) fn end_load(&self) {
        self.over.store(true, Relaxed);
    }

    pub(super) fn is_load_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    pub(super) fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Relaxed))]
    }

    pub(super) fn count(&self, answers: u64) {
        self.answered.fetch_add(answers, Relaxed);
    }

    /// Waits for the other threads; all get the same moment to start from.
    pub(super) fn start_together(&self) -> u64 {
        self.barrier.wait();
        *self.start.get_or_init(|| {
            self.enter(Stage::Warming);
            self.clock.now()
        })
    }

    /// When the load started, if it has.
    pub(super) fn started(&self) -> Option<u64> {
        self.start.get().copied()
    }
}
