//! The faults of a run, drawn from its seed before it starts.

use std::time::Duration;

use super::herd::NAMES;
use crate::common::Mode;
use crate::common::Random;

/// The time from the start until all faults are healed.
const RUN_MILLIS: u64 = 4500;

/// The time in which faults begin.
const MAX_START_MILLIS: u64 = 3500;

/// The kinds of faults. Every plan has each of them.
const KINDS: [Kind; 14] = [
    Kind::KillAndRestart,
    Kind::Kill,
    Kind::Stop,
    Kind::Freeze,
    Kind::Replace,
    Kind::Crowd,
    Kind::Break(Mode::Cut),
    Kind::Break(Mode::Stall),
    Kind::Break(Mode::OnlyForward),
    Kind::Break(Mode::OnlyBackward),
    Kind::Break(Mode::HalfOpen),
    Kind::Break(Mode::Delay(Duration::from_millis(300))),
    Kind::Break(Mode::Throttle(100_000)),
    // A few reports at once.
    Kind::Break(Mode::Ceiling(1500)),
];

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// SIGKILL, and an immediate restart.
    KillAndRestart,
    /// SIGKILL, and a later restart.
    Kill,
    /// SIGTERM under load, and an immediate restart.
    Stop,
    /// SIGSTOP, and SIGCONT later.
    Freeze,
    /// SIGSTOP, a replacement on other ports, and SIGCONT for the old process, which runs beside
    /// the new one for a time.
    Replace,
    /// More strangers at the peer port than the server may open files, silent or with half a
    /// message.
    Crowd,
    /// Another mode of a proxy.
    Break(Mode),
}

/// One fault of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// The start of the fault, from the start of the run.
    pub(crate) at: Duration,
    /// The length of the fault.
    pub(crate) lasts: Duration,
    /// The index of the preferred server or route. The fault affects the first one from there
    /// that has no other fault.
    pub(crate) target: usize,
    /// True if both directions of a link are affected.
    pub(crate) both_directions: bool,
}

pub(crate) struct Plan {
    pub(crate) faults: Vec<Fault>,
    /// The time at which all faults are healed.
    pub(crate) heals: Duration,
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut kinds = KINDS.to_vec();
        kinds.extend((0..4).map(|_| random.pick(&KINDS)));
        for index in (1..kinds.len()).rev() {
            kinds.swap(index, random.below(index + 1));
        }
        let mut fault = |kind| Fault {
            kind,
            at: millis(random.between(0, latest_start(kind))),
            lasts: millis(random.pick(&[200, 500, 1000, 2000, 4000])),
            target: random.below(2 * NAMES.len()),
            both_directions: random.chance(400),
        };
        let mut faults: Vec<Fault> = kinds.into_iter().map(&mut fault).collect();
        faults.sort_by_key(|fault| fault.at);
        Self {
            faults,
            heals: millis(RUN_MILLIS),
        }
    }
}

/// Returns the latest start of a fault in milliseconds. A server is stopped while it has
/// neighbours without an earlier fault, see [`driver`](super::driver).
fn latest_start(kind: Kind) -> u64 {
    match kind {
        Kind::Stop => MAX_START_MILLIS / 4,
        _ => MAX_START_MILLIS,
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
