//! The decision when a connection sends, and how many requests.

use super::connection::LoadConnection;
use super::pacing::Pacing;
use super::window::{Timing, WorkerState};

/// The number of first reports that one connection sends in a batch.
const PRELOAD_BATCH: usize = 64;

/// The task of the connections of one thread.
pub(super) enum Work {
    /// Every client reports once. These reports do not count.
    Preload,
    /// Each connection sends a batch, waits for all of its answers, and sends the next.
    Closed(ClosedLoop),
    /// Requests are sent when they are due, up to a number of unanswered requests.
    Open {
        pacing: Pacing,
        /// The maximum number of unanswered requests of one connection.
        pipeline: usize,
        /// True when the schedule has ended.
        is_over: bool,
    },
}

/// A load that waits for answers.
pub(super) struct ClosedLoop {
    pub(super) pipeline: usize,
    /// The start of the measured part.
    pub(super) measured_from: u64,
    /// The time after which no request is sent.
    pub(super) end: u64,
    /// The number of counted requests that may still be sent.
    pub(super) left: u64,
}

impl Work {
    /// Appends the requests that are due at `now` to a connection's window. `unix` is the
    /// same moment in nanoseconds since 1970.
    pub(super) fn hand_out(
        &mut self,
        to: &mut LoadConnection,
        now: u64,
        unix: u64,
        state: &mut WorkerState,
    ) {
        match self {
            Self::Preload => preload(to, now, unix, state),
            Self::Closed(closed) => closed.hand_out(to, now, unix, state),
            Self::Open {
                pacing, pipeline, ..
            } => {
                while to.window.len() < *pipeline {
                    let due = pacing.due(to.index, to.turn);
                    let Some(due) = due.filter(|due| due.at <= now) else {
                        break;
                    };
                    to.turn += 1;
                    let timing = Timing {
                        due: due.at,
                        sent: now,
                        counts: due.counts,
                    };
                    let request = to.workload.next(unix);
                    to.window.push(request, timing, state);
                }
            }
        }
    }

    /// Returns true if no more requests will be sent.
    pub(super) fn is_over(&self, now: u64) -> bool {
        match self {
            Self::Preload => false,
            Self::Closed(closed) => closed.left == 0 || now >= closed.end,
            Self::Open { is_over, .. } => *is_over,
        }
    }
}

impl ClosedLoop {
    fn hand_out(&mut self, to: &mut LoadConnection, now: u64, unix: u64, state: &mut WorkerState) {
        if !to.window.is_empty() {
            return;
        }
        let counts = now >= self.measured_from;
        let timing = Timing {
            due: now,
            sent: now,
            counts,
        };
        let mut batch = self.pipeline as u64;
        if counts {
            batch = batch.min(self.left);
            self.left -= batch;
        }
        for _ in 0..batch {
            let request = to.workload.next(unix);
            to.window.push(request, timing, state);
        }
    }
}

fn preload(to: &mut LoadConnection, now: u64, unix: u64, state: &mut WorkerState) {
    if !to.window.is_empty() {
        return;
    }
    let timing = Timing {
        due: now,
        sent: now,
        counts: false,
    };
    for _ in 0..PRELOAD_BATCH {
        let Some(request) = to.workload.preload(unix) else {
            break;
        };
        to.window.push(request, timing, state);
    }
}
