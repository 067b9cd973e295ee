//! What a run came upon.

use std::fmt;
use std::time::Duration;

/// How often each of these happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Answers that were judged.
    pub(crate) answers: usize,
    pub(crate) killed: usize,
    pub(crate) frozen: usize,
    pub(crate) replaced: usize,
    pub(crate) stopped: usize,
    pub(crate) broken_ways: usize,
    /// Reports of servers that were told to stop, found at a neighbour.
    pub(crate) drained: usize,
    /// How long the herd took to agree once all was well.
    pub(crate) agreed: Duration,
    /// And until nobody said anything more.
    pub(crate) silent: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.killed += other.killed;
        self.frozen += other.frozen;
        self.replaced += other.replaced;
        self.stopped += other.stopped;
        self.broken_ways += other.broken_ways;
        self.drained += other.drained;
        self.agreed = self.agreed.max(other.agreed);
        self.silent = self.silent.max(other.silent);
    }

    /// Did everything come up that a run is there for?
    pub(crate) fn is_complete(&self) -> bool {
        let counts = [
            self.answers,
            self.killed,
            self.frozen,
            self.replaced,
            self.stopped,
            self.broken_ways,
            self.drained,
        ];
        !counts.contains(&0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "killed {}, frozen {}, replaced {}, stopped {} (at a neighbour: {} reports), \
             ways broken {}; {} answers judged; agreed after {:.1?}, silent after {:.1?}",
            self.killed,
            self.frozen,
            self.replaced,
            self.stopped,
            self.drained,
            self.broken_ways,
            self.answers,
            self.agreed,
            self.silent
        )
    }
}
