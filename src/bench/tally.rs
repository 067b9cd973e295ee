//! What was measured: latencies, counts, and the first answers that were wrong.

use hdrhistogram::Histogram;

use super::workload::Kind;

/// Longest latency that is told apart from a longer one: an hour, in
/// nanoseconds.
const LONGEST: u64 = 3_600_000_000_000;

/// How many wrong answers are kept to be shown.
pub(super) const MAX_EXAMPLES: usize = 5;

/// Times in nanoseconds, to three significant digits.
#[derive(Clone, Debug)]
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3);
        Self(histogram.expect("a lowest value of 1 and three digits are within bounds"))
    }

    /// Notes that `count` requests took this long.
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

    pub(super) fn mean(&self) -> f64 {
        self.0.mean()
    }

    pub(super) fn min(&self) -> u64 {
        self.0.min()
    }

    pub(super) fn max(&self) -> u64 {
        self.0.max()
    }

    /// What a share of all, from 0 to 1, did not exceed.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }
}

/// The requests of one kind to one server, those after the warm-up.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    /// Sent.
    pub(super) sent: u64,
    /// Answered rightly.
    pub(super) answered: u64,
    /// What the answers took, the wrong ones too; and how long those had
    /// waited at the end of the load that were due and never sent.
    pub(super) times: Times,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            answered: 0,
            times: Times::new(),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.times.add(&other.times);
    }
}

/// What went wrong, from the first byte of a run to its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Answers that are not what they should be.
    pub(super) wrong: u64,
    /// Requests that were never answered.
    pub(super) missing: u64,
    /// Lines that nobody had asked for.
    pub(super) unexpected: u64,
    /// Connections that ended, or gave no answer for the time limit.
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

/// What one server did.
#[derive(Clone, Debug)]
pub(super) struct ServerTally {
    /// As it calls itself in AT lines.
    pub(super) name: Option<String>,
    pub(super) kinds: [Requests; 2],
    pub(super) faults: Faults,
    /// Requests that were due and not sent when the load ended, since too many
    /// were unanswered.
    pub(super) unsent: u64,
}

impl ServerTally {
    fn new() -> Self {
        Self {
            name: None,
            kinds: [Requests::new(), Requests::new()],
            faults: Faults::default(),
            unsent: 0,
        }
    }

    pub(super) fn kind(&mut self, kind: Kind) -> &mut Requests {
        &mut self.kinds[kind as usize]
    }

    /// Both kinds together.
    pub(super) fn all(&self) -> Requests {
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

/// What one thread measured, and all of them together.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// In the order of the servers that the load is aimed at.
    pub(super) servers: Vec<ServerTally>,
    /// The first wrong answers and broken connections, in words.
    pub(super) examples: Vec<String>,
    /// When the first and the last request that counts began and was answered.
    pub(super) measured_from: u64,
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

    /// Keeps what went wrong, if it is among the first.
    pub(super) fn example(&mut self, tell: impl FnOnce() -> String) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(tell());
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

    /// One kind, over all servers.
    pub(super) fn kind(&self, kind: Kind) -> Requests {
        self.servers
            .iter()
            .fold(Requests::new(), |mut sum, server| {
                sum.add(&server.kinds[kind as usize]);
                sum
            })
    }

    /// Everything, over all servers.
    pub(super) fn all(&self) -> Requests {
        let mut all = self.kind(Kind::Iamat);
        all.add(&self.kind(Kind::Whatsat));
        all
    }

    pub(super) fn faults(&self) -> Faults {
        self.servers
            .iter()
            .fold(Faults::default(), |mut sum, server| {
                sum.add(server.faults);
                sum
            })
    }

    pub(super) fn unsent(&self) -> u64 {
        self.servers.iter().map(|server| server.unsent).sum()
    }

    /// From the first request that counts to the last of its answers, in
    /// seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.last_answer.saturating_sub(self.measured_from) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let mut times = Times::new();
        for micros in 1..=1000 {
            times.record(micros * 1_000, 1);
        }
        for (share, micros) in [(0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1000)] {
            let nanos = times.quantile(share);
            assert!(nanos.abs_diff(micros * 1_000) <= micros, "{share}: {nanos}");
        }
        assert_eq!(times.count(), 1000);
    }

    #[test]
    fn a_time_past_the_longest_counts_as_the_longest() {
        let mut times = Times::new();
        times.record(u64::MAX, 2);
        assert_eq!(times.count(), 2);
        assert!(times.max() >= LONGEST);
    }

    #[test]
    fn tallies_of_threads_add_up() {
        let tally = |answered, wrong, last_answer| {
            let mut tally = Tally::new(2);
            let server = &mut tally.servers[1];
            server.name = Some("Riley".to_owned());
            server.faults.wrong = wrong;
            let requests = server.kind(Kind::Whatsat);
            (requests.sent, requests.answered) = (answered + wrong, answered);
            requests.times.record(1_000, answered);
            (0..4).for_each(|n| tally.example(|| format!("{n}")));
            tally.last_answer = last_answer;
            tally
        };
        let mut sum = Tally::new(2);
        sum.add(tally(5, 1, 7_000_000_000));
        sum.add(tally(2, 0, 3_000_000_000));
        assert_eq!((sum.all().sent, sum.all().answered), (8, 7));
        assert_eq!(sum.kind(Kind::Iamat).answered, 0);
        assert_eq!(sum.kind(Kind::Whatsat).times.count(), 7);
        assert_eq!(sum.faults().wrong, 1);
        assert_eq!(sum.examples, ["0", "1", "2", "3", "0"]);
        assert!((sum.seconds() - 7.0).abs() < 1e-9);
        assert_eq!(sum.servers[1].name.as_deref(), Some("Riley"));
    }
}
