//! Counters of the outcomes of queries.

use std::time::Duration;

use crate::metrics::{Counter, Histogram};

use super::PlacesResponse;

/// Counts responses. A query that requests no place calls no provider, and one whose caller was
/// dropped gets no response: neither counts.
#[derive(Debug, Default)]
pub struct PlacesCounters {
    answered: Counter,
    failed: Counter,
    took: Histogram,
}

impl PlacesCounters {
    pub(super) fn record(&self, response: &PlacesResponse, took: Duration) {
        let count = if response.is_failure() {
            &self.failed
        } else {
            &self.answered
        };
        count.add(1);
        self.took.observe(took, 1);
    }

    /// Returns the number of queries that were answered, with places or with none.
    pub fn answered(&self) -> u64 {
        self.answered.get()
    }

    /// Returns the number of queries that the provider failed to answer.
    pub fn failed(&self) -> u64 {
        self.failed.get()
    }

    /// Returns the duration of both kinds.
    pub fn took(&self) -> &Histogram {
        &self.took
    }
}
