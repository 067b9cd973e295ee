//! The schedule of an open-loop load.
//!
//! Request `n` of a load is due `n` intervals after its start, independent of earlier
//! requests. A stalled server therefore still receives requests on time, and the latency of
//! requests after the stall includes their wait. (A load that waits for answers sends a
//! stalled server nothing, and so does not measure the stall; Gil Tene calls that
//! coordinated omission.) Connections take turns.

/// The schedule of one load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacing {
    start: u64,
    /// Nanoseconds between two requests, over all connections.
    interval: f64,
    connections: u64,
    /// The first request that counts, and the first that is not sent.
    warm: u64,
    end: u64,
}

impl Pacing {
    /// Creates the schedule of a load of `rate` requests a second that begins at `start`:
    /// `warm` requests that do not count, then `count` that do.
    pub(super) fn new(start: u64, rate: u64, connections: u32, warm: u64, count: u64) -> Self {
        Self {
            start,
            interval: 1e9 / rate as f64,
            connections: connections.into(),
            warm,
            end: warm.saturating_add(count),
        }
    }

    /// Returns the request of the connection's turn `turn`, both counted from 0, or `None`
    /// after the end of the load.
    pub(super) fn due(&self, connection: u32, turn: u64) -> Option<Due> {
        let number = turn * self.connections + u64::from(connection);
        (number < self.end).then(|| Due {
            at: self.at(number),
            counts: number >= self.warm,
        })
    }

    /// Returns the due time of the first request that counts.
    pub(super) fn measured_from(&self) -> u64 {
        self.at(self.warm)
    }

    /// Returns the end of the load.
    pub(super) fn end(&self) -> u64 {
        self.at(self.end)
    }

    fn at(&self, number: u64) -> u64 {
        self.start + (number as f64 * self.interval) as u64
    }
}

/// A request on the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The due time in nanoseconds on the clock of the run.
    pub(super) at: u64,
    /// True for requests after the warm-up.
    pub(super) counts: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_turns_at_even_intervals() {
        let pacing = Pacing::new(1_000, 1_000_000, 3, 2, 5);
        let mut dues = Vec::new();
        for turn in 0..3 {
            for connection in 0..3 {
                dues.extend(pacing.due(connection, turn).map(|due| (due.at, due.counts)));
            }
        }
        let want: Vec<_> = (0..7).map(|n| (1_000 + n * 1_000, n >= 2)).collect();
        assert_eq!(dues, want);
        assert_eq!(pacing.measured_from(), 3_000);
        assert_eq!(pacing.end(), 8_000);
    }

    #[test]
    fn odd_rates_do_not_drift() {
        let pacing = Pacing::new(0, 7, 1, 0, u64::MAX);
        let hour = pacing.due(0, 7 * 3600).unwrap().at;
        assert!(hour.abs_diff(3_600_000_000_000) < 1_000, "{hour}");
    }

    #[test]
    fn being_due_does_not_depend_on_when_it_is_asked() {
        let pacing = Pacing::new(0, 1_000, 1, 0, 10);
        assert_eq!(pacing.due(0, 9), pacing.due(0, 9));
        assert_eq!(pacing.due(0, 10), None);
    }
}
