//! What came of the questions that were asked.

use std::time::Duration;

use crate::metrics::{Counter, Histogram};

use super::PlacesResponse;

/// Counts answers. A question with which nothing is wanted asks nobody, and one whose asker left gets no answer: neither
/// counts.
#[derive(Debug, Default)]
pub struct PlacesCounters {
    answered: Counter,
    failed: Counter,
    took: Histogram,
}

impl PlacesCounters {
    pub(super) fn note(&self, answer: &PlacesResponse, took: Duration) {
        let count = match answer.is_failure() {
            true => &self.failed,
            false => &self.answered,
        };
        count.add(1);
        self.took.observe(took, 1);
    }

    /// How many questions were answered with places, or that there are none.
    pub fn answered(&self) -> u64 {
        self.answered.get()
    }

    /// How many questions the provider failed to answer.
    pub fn failed(&self) -> u64 {
        self.failed.get()
    }

    /// How long both kinds took.
    pub fn took(&self) -> &Histogram {
        &self.took
    }
}
