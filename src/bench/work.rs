//! When a connection sends, and how much.

use super::connection::Connection;
use super::pacing::Pacing;
use super::window::{Timing, WorkerState};

/// How many first reports are under way on one connection.
const INTRODUCED_AT_ONCE: usize = 64;

/// What the connections of one thread are to do.
pub(super) enum Work {
    /// Every client reports once, which does not count.
    Introduce,
    /// Each connection sends a batch, waits for all of its answers, and sends
    /// the next.
    Closed(Closed),
    /// Requests go when they are due, up to the most that may be unanswered.
    Open {
        pacing: Pacing,
        /// How many requests of one connection may be unanswered.
        pipeline: usize,
        /// All that was due has had its turn.
        is_over: bool,
    },
}

/// A load that waits for answers.
pub(super) struct Closed {
    pub(super) pipeline: usize,
    /// When requests begin to count, and when the last is sent.
    pub(super) measured_from: u64,
    pub(super) end: u64,
    /// How many that count may still be sent.
    pub(super) left: u64,
}

impl Work {
    /// Gives a connection what it has to send at `now`. `unix` is the same
    /// moment since 1970.
    pub(super) fn hand_out(
        &mut self,
        to: &mut Connection,
        now: u64,
        unix: u64,
        desk: &mut WorkerState,
    ) {
        match self {
            Self::Introduce => introduce(to, now, unix, desk),
            Self::Closed(closed) => closed.hand_out(to, now, unix, desk),
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
                    let request = to.lane.next(unix);
                    to.window.push(request, timing, desk);
                }
            }
        }
    }

    /// Nothing more will be sent.
    pub(super) fn is_over(&self, now: u64) -> bool {
        match self {
            Self::Introduce => false,
            Self::Closed(closed) => closed.left == 0 || now >= closed.end,
            Self::Open { is_over, .. } => *is_over,
        }
    }
}

impl Closed {
    fn hand_out(&mut self, to: &mut Connection, now: u64, unix: u64, desk: &mut WorkerState) {
        if !to.window.is_empty() {
            return;
        }
        let counts = now >= self.measured_from;
        let timing = Timing {
            due: now,
            sent: now,
            counts,
        };
        let batch = match counts {
            true => self.left.min(self.pipeline as u64),
            false => self.pipeline as u64,
        };
        for _ in 0..batch {
            let request = to.lane.next(unix);
            to.window.push(request, timing, desk);
        }
        if counts {
            self.left -= batch;
        }
    }
}

fn introduce(to: &mut Connection, now: u64, unix: u64, desk: &mut WorkerState) {
    if !to.window.is_empty() {
        return;
    }
    let timing = Timing {
        due: now,
        sent: now,
        counts: false,
    };
    for _ in 0..INTRODUCED_AT_ONCE {
        let Some(request) = to.lane.introduce(unix) else {
            break;
        };
        to.window.push(request, timing, desk);
    }
}
