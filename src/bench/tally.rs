//! Measured latencies, counts, and the first faults.

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use super::workload::RequestKind;

/// The longest distinct latency, an hour in nanoseconds. Longer ones count as this one.
const MAX_LATENCY_NANOS: u64 = 3_600_000_000_000;

/// The number of faults that are kept as examples.
pub(super) const MAX_EXAMPLES: usize = 5;

/// A histogram of latencies in nanoseconds, with three significant digits.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, MAX_LATENCY_NANOS, 3);
        Self(histogram.expect("a lowest value of 1 and three digits are within bounds"))
    }

    /// Records `count` latencies of `nanos`.
    pub(super) fn record(&mut self, nanos: u64, count: u64) {
        self.0.saturating_record_n(nanos, count);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("both histograms have the same bounds");
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn max(&self) -> u64 {
        self.0.max()
    }

    /// Returns the latency that a share of all, from 0 to 1, did not exceed.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }
}

impl Serialize for Latencies {
    /// Serializes a summary in microseconds, or null without a latency.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Summary {
            count: u64,
            min: f64,
            mean: f64,
            p50: f64,
            p90: f64,
            p99: f64,
            p999: f64,
            max: f64,
        }
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let summary = (self.count() > 0).then(|| Summary {
            count: self.count(),
            min: micros(self.0.min()),
            mean: self.0.mean() / 1e3,
            p50: micros(self.quantile(0.5)),
            p90: micros(self.quantile(0.9)),
            p99: micros(self.quantile(0.99)),
            p999: micros(self.quantile(0.999)),
            max: micros(self.max()),
        });
        summary.serialize(serializer)
    }
}

/// The counted requests of one kind to one server, without those of the warm-up.
#[derive(Clone, Debug)]
pub(super) struct RequestTally {
    pub(super) sent: u64,
    /// The number of correct answers.
    pub(super) answered: u64,
    /// The latencies of all answers, including wrong ones. Requests that were due and not
    /// sent by the end of the load count with their wait until then.
    pub(super) latencies: Latencies,
}

impl RequestTally {
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            answered: 0,
            latencies: Latencies::new(),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.latencies.add(&other.latencies);
    }
}

/// The faults from the first to the last byte of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Faults {
    /// The number of wrong answers.
    pub(super) wrong: u64,
    /// The number of unanswered requests.
    pub(super) missing: u64,
    /// The number of lines without a request.
    pub(super) unexpected: u64,
    /// The number of connections that ended or exceeded the time limit.
    pub(super) broken: u64,
}

impl Faults {
    pub(super) fn add(&mut self, other: Self) {
        self.wrong += other.wrong;
        self.missing += other.missing;
        self.unexpected += other.unexpected;
        self.broken += other.broken;
    }
}

/// The results of one server.
#[derive(Clone, Debug)]
pub(super) struct ServerTally {
    /// The server's name in its AT lines.
    pub(super) name: Option<String>,
    pub(super) kinds: [RequestTally; 2],
    pub(super) faults: Faults,
    /// The number of requests that were due and not sent by the end of the load, because
    /// too many were unanswered.
    pub(super) unsent: u64,
}

impl ServerTally {
    fn new() -> Self {
        Self {
            name: None,
            kinds: [RequestTally::new(), RequestTally::new()],
            faults: Faults::default(),
            unsent: 0,
        }
    }

    pub(super) fn kind(&mut self, kind: RequestKind) -> &mut RequestTally {
        &mut self.kinds[kind as usize]
    }

    /// Returns the sum of both kinds.
    pub(super) fn all(&self) -> RequestTally {
        let mut all = self.kinds[0].clone();
        all.add(&self.kinds[1]);
        all
    }

    fn add(&mut self, other: &Self) {
        if self.name.is_none() {
            self.name.clone_from(&other.name);
        }
        for (mine, theirs) in self.kinds.iter_mut().zip(&other.kinds) {
            mine.add(theirs);
        }
        self.faults.add(other.faults);
        self.unsent += other.unsent;
    }
}

/// The results of one thread, or of all threads together.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// One tally for each server, in the order of the settings.
    pub(super) servers: Vec<ServerTally>,
    /// Descriptions of the first faults.
    pub(super) examples: Vec<String>,
    /// The start of the measured part, in nanoseconds on the clock of the run.
    pub(super) measured_from: u64,
    /// The time of the last counted answer, in nanoseconds on the clock of the run.
    pub(super) last_answer: u64,
}

impl Tally {
    pub(super) fn new(servers: usize) -> Self {
        Self {
            servers: vec![ServerTally::new(); servers],
            examples: Vec::new(),
            measured_from: 0,
            last_answer: 0,
        }
    }

    /// Keeps the description of a fault, up to [`MAX_EXAMPLES`].
    pub(super) fn add_example(&mut self, describe: impl FnOnce() -> String) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(describe());
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        for (mine, theirs) in self.servers.iter_mut().zip(&other.servers) {
            mine.add(theirs);
        }
        self.examples.extend(other.examples);
        self.examples.truncate(MAX_EXAMPLES);
        self.measured_from = self.measured_from.max(other.measured_from);
        self.last_answer = self.last_answer.max(other.last_answer);
    }

    /// Returns the sum of one kind over all servers.
    pub(super) fn kind(&self, kind: RequestKind) -> RequestTally {
        let mut sum = RequestTally::new();
        for server in &self.servers {
            sum.add(&server.kinds[kind as usize]);
        }
        sum
    }

    /// Returns the sum of both kinds over all servers.
    pub(super) fn all(&self) -> RequestTally {
        let mut all = self.kind(RequestKind::Iamat);
        all.add(&self.kind(RequestKind::Whatsat));
        all
    }

    /// Returns the faults of all servers.
    pub(super) fn faults(&self) -> Faults {
        let mut sum = Faults::default();
        for server in &self.servers {
            sum.add(server.faults);
        }
        sum
    }

    pub(super) fn unsent(&self) -> u64 {
        self.servers.iter().map(|server| server.unsent).sum()
    }

    /// Returns the seconds from the start of the measured part to the last counted answer.
    pub(super) fn seconds(&self) -> f64 {
        self.last_answer.saturating_sub(self.measured_from) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let mut latencies = Latencies::new();
        for micros in 1..=1000 {
            latencies.record(micros * 1_000, 1);
        }
        for (share, micros) in [(0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1000)] {
            let nanos = latencies.quantile(share);
            assert!(nanos.abs_diff(micros * 1_000) <= micros, "{share}: {nanos}");
        }
        assert_eq!(latencies.count(), 1000);
    }

    #[test]
    fn a_latency_above_the_maximum_counts_as_the_maximum() {
        let mut latencies = Latencies::new();
        latencies.record(u64::MAX, 2);
        assert_eq!(latencies.count(), 2);
        assert!(latencies.max() >= MAX_LATENCY_NANOS);
    }

    #[test]
    fn tallies_of_threads_add_up() {
        let tally = |answered, wrong, last_answer| {
            let mut tally = Tally::new(2);
            let server = &mut tally.servers[1];
            server.name = Some("Riley".to_owned());
            server.faults.wrong = wrong;
            let requests = server.kind(RequestKind::Whatsat);
            (requests.sent, requests.answered) = (answered + wrong, answered);
            requests.latencies.record(1_000, answered);
            (0..4).for_each(|n| tally.add_example(|| format!("{n}")));
            tally.last_answer = last_answer;
            tally
        };
        let mut sum = Tally::new(2);
        sum.add(tally(5, 1, 7_000_000_000));
        sum.add(tally(2, 0, 3_000_000_000));
        assert_eq!((sum.all().sent, sum.all().answered), (8, 7));
        assert_eq!(sum.kind(RequestKind::Iamat).answered, 0);
        assert_eq!(sum.kind(RequestKind::Whatsat).latencies.count(), 7);
        assert_eq!(sum.faults().wrong, 1);
        assert_eq!(sum.examples, ["0", "1", "2", "3", "0"]);
        assert!((sum.seconds() - 7.0).abs() < 1e-9);
        assert_eq!(sum.servers[1].name.as_deref(), Some("Riley"));
    }
}
