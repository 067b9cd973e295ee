//! The events of a run.

use std::fmt;

/// The number of events of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    /// Checked answers.
    pub(crate) answers: usize,
    /// Answers of a server while another one was frozen.
    pub(crate) answers_beside_frozen: usize,
    /// Answers of a server with a crowd of strangers.
    pub(crate) answers_in_crowd: usize,
    pub(crate) killed: usize,
    pub(crate) frozen: usize,
    pub(crate) replaced: usize,
    pub(crate) stopped: usize,
    pub(crate) crowds: usize,
    pub(crate) broken_routes: usize,
    /// Reports of stopped servers that a neighbour had.
    pub(crate) drained: usize,
}

impl Coverage {
    pub(crate) fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.answers_beside_frozen += other.answers_beside_frozen;
        self.answers_in_crowd += other.answers_in_crowd;
        self.killed += other.killed;
        self.frozen += other.frozen;
        self.replaced += other.replaced;
        self.stopped += other.stopped;
        self.crowds += other.crowds;
        self.broken_routes += other.broken_routes;
        self.drained += other.drained;
    }

    /// Returns true if every event happened.
    pub(crate) fn is_complete(&self) -> bool {
        let counts = [
            self.answers,
            self.answers_beside_frozen,
            self.answers_in_crowd,
            self.killed,
            self.frozen,
            self.replaced,
            self.stopped,
            self.crowds,
            self.broken_routes,
            self.drained,
        ];
        !counts.contains(&0)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "killed {}, frozen {}, replaced {}, stopped {} (at a neighbour: {} reports), \
             crowds {}, routes broken {}; {} answers, {} beside a frozen server, {} in a crowd",
            self.killed,
            self.frozen,
            self.replaced,
            self.stopped,
            self.drained,
            self.crowds,
            self.broken_routes,
            self.answers,
            self.answers_beside_frozen,
            self.answers_in_crowd
        )
    }
}
