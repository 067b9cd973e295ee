//! What goes wrong in a run: drawn from its seed before it starts.

use std::time::Duration;

use super::herd::NAMES;
use crate::common::Mode;
use crate::common::Random;

/// How long things go wrong, in milliseconds.
const LONG: u64 = 4500;

/// Of that, how long new faults come.
const FRESH: u64 = 3500;

/// Every plan has each of these.
const KINDS: [Kind; 12] = [
    Kind::KillAndRestart,
    Kind::Kill,
    Kind::Stop,
    Kind::Freeze,
    Kind::Replace,
    Kind::Break(Mode::Cut),
    Kind::Break(Mode::Stall),
    Kind::Break(Mode::OnlyThere),
    Kind::Break(Mode::OnlyBack),
    Kind::Break(Mode::HalfOpen),
    Kind::Break(Mode::Delay(Duration::from_millis(300))),
    Kind::Break(Mode::Throttle(100_000)),
];

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// SIGKILL, and a new life before anybody missed the old one.
    KillAndRestart,
    /// SIGKILL, and a new life after a while.
    Kill,
    /// SIGTERM under load, and a new life at once.
    Stop,
    /// SIGSTOP, and SIGCONT after a while.
    Freeze,
    /// SIGSTOP, a new life elsewhere, and SIGCONT for the old one, which goes on
    /// beside it for a while.
    Replace,
    /// A proxy no longer carries all.
    Break(Mode),
}

/// One fault of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// When it begins.
    pub(crate) at: Duration,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    /// The server that it strikes, if nothing else strikes it already; for a
    /// way: the first of its places in the list that is whole.
    pub(crate) place: usize,
    /// Does it strike both ways of a link?
    pub(crate) both_ways: bool,
}

pub(crate) struct Plan {
    pub(crate) faults: Vec<Fault>,
    /// When all of it heals.
    pub(crate) heals: Duration,
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut kinds = KINDS.to_vec();
        kinds.extend((0..4).map(|_| random.pick(&KINDS)));
        for place in (1..kinds.len()).rev() {
            kinds.swap(place, random.below(place + 1));
        }
        let mut fault = |kind| Fault {
            kind,
            at: millis(random.between(0, latest(kind))),
            lasts: millis(random.pick(&[200, 500, 1000, 2000, 4000])),
            place: random.below(2 * NAMES.len()),
            both_ways: random.chance(400),
        };
        let mut faults: Vec<Fault> = kinds.into_iter().map(&mut fault).collect();
        faults.sort_by_key(|fault| fault.at);
        Self {
            faults,
            heals: millis(LONG),
        }
    }
}

/// A server is told to stop while it still has neighbours that nothing has
/// struck, see [`driver`](super::driver).
fn latest(kind: Kind) -> u64 {
    match kind {
        Kind::Stop => FRESH / 4,
        _ => FRESH,
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
