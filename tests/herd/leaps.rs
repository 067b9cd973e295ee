//! Clocks of servers that leap while reports expire, drawn by seed. A wrong clock hides reports
//! and orders those that its server receives. It loses none: once all clocks are right again,
//! every server returns the newest report of each client, without a restart.
//!
//! `PROXYHERD_SEED=n` runs only this seed, `PROXYHERD_SEEDS=n` this number of seeds.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use proxyherd::log::Log;

use crate::common::{Herd, ManualClock, Mode, Random, Topology, eventually};
use crate::processes::report::Report;
use crate::processes::variable;

const LINE: Topology<'static> = (&["A", "B", "C"], &[("A", "B"), ("B", "C")]);

/// The default number of seeds, which run side by side.
const SEEDS: u64 = 4;

const SECOND: i128 = 1_000_000_000;
const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

/// The correct time at the start.
const START: i64 = 1_621_464_827;

/// The errors of clocks in seconds, beside none.
///
/// Two neighbours that are both more than a day ahead leave reports out of their pushes. Once the
/// clocks are right again, comparisons find them.
const ERRORS: [i64; 9] = [
    -400 * DAY,
    -2 * DAY,
    -5 * HOUR,
    -30,
    30,
    5 * HOUR,
    20 * HOUR,
    2 * DAY,
    400 * DAY,
];

/// The maximum interval of comparisons.
const ANTI_ENTROPY: Duration = Duration::from_millis(500);

const CLIENTS: usize = 30;

/// The number of rounds of events. A round ends with a pause, in which a server purges.
const ROUNDS: usize = 3;
const EVENTS_PER_ROUND: usize = 40;
const PAUSE: Duration = Duration::from_secs(1);

/// The maximum age of a report that a client sends, in seconds.
const MAX_AGE: u64 = 20 * 60;

#[test]
fn clocks_that_leap_while_reports_expire_lose_no_report() {
    let seeds: Vec<u64> = match variable("PROXYHERD_SEED") {
        Some(seed) => vec![seed],
        None => (0..variable("PROXYHERD_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let runs = seeds
        .into_iter()
        .map(|seed| thread::spawn(move || Run::new(seed).run()));
    let runs: Vec<_> = runs.collect();
    let covered = runs
        .into_iter()
        .map(|run| run.join().expect("no report is lost"));
    let covered = covered.fold([0; 5], |sums, covered| {
        std::array::from_fn(|kind| sums[kind] + covered[kind])
    });
    println!("kept, rejected, leaps, cuts, hidden: {covered:?}");
    assert!(
        !covered.contains(&0),
        "an event did not happen: {covered:?}"
    );
}

/// One herd, and what its clients know.
struct Run {
    seed: u64,
    herd: Herd,
    /// The clock of each server and its error, in the order of names.
    clocks: Vec<(ManualClock, i64)>,
    /// The correct time.
    now: i64,
    random: Random,
    /// The newest report of each client that a server has acknowledged.
    newest: HashMap<String, Report>,
    trace: Vec<String>,
    rejected: usize,
    kept: usize,
    leaps: usize,
    cuts: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let expire_after = Duration::from_secs(HOUR as u64);
        let mut herd = Herd::new(LINE).adjust(move |plan| {
            plan.gateway.expire_after = Some(expire_after);
            plan.peers.anti_entropy = Some(ANTI_ENTROPY);
        });
        let clocks: Vec<_> = LINE.0.iter().map(|_| (ManualClock::at(START), 0)).collect();
        for (name, (clock, _)) in LINE.0.iter().zip(&clocks) {
            herd.launch_with(name, clock.clock(), Log::off());
        }
        herd.await_links();
        Self {
            seed,
            herd,
            clocks,
            now: START,
            random: Random::new(seed),
            newest: HashMap::new(),
            trace: Vec::new(),
            rejected: 0,
            kept: 0,
            leaps: 0,
            cuts: 0,
        }
    }

    /// Returns the numbers of reports that were kept and rejected, of leaps, of cuts, and of
    /// reports that are hidden in the end.
    fn run(mut self) -> [usize; 5] {
        for _ in 0..ROUNDS {
            for _ in 0..EVENTS_PER_ROUND {
                self.event();
            }
            thread::sleep(PAUSE);
        }
        for server in 0..self.clocks.len() {
            self.leap(server, 0);
        }
        for (a, b) in LINE.1 {
            self.herd.set_link(a, b, Mode::Pass);
        }
        let hidden = self.await_agreement();
        [self.kept, self.rejected, self.leaps, self.cuts, hidden]
    }

    fn event(&mut self) {
        let seconds = self.random.between(1, 3) as i64;
        self.now += seconds;
        self.clocks
            .iter()
            .for_each(|(clock, _)| clock.step(seconds));
        let server = self.random.below(LINE.0.len());
        match self.random.below(10) {
            0 | 1 => {
                let error = self.random.pick(&ERRORS);
                self.leap(server, error);
            }
            2 => self.leap(server, 0),
            3 => {
                let (a, b) = self.random.pick(LINE.1);
                let mode = self.random.pick(&[Mode::Cut, Mode::Pass]);
                self.note(format!("from {a} to {b}: {mode:?}"));
                self.cuts += usize::from(mode == Mode::Cut);
                self.herd.set_link(a, b, mode);
            }
            _ => self.report(server),
        }
    }

    /// Sets the error of a clock.
    fn leap(&mut self, server: usize, error: i64) {
        let (clock, before) = &mut self.clocks[server];
        clock.step(error - *before);
        *before = error;
        self.leaps += usize::from(error != 0);
        self.note(format!(
            "the clock of {} is off by {error} s",
            LINE.0[server]
        ));
    }

    fn report(&mut self, server: usize) {
        let age = if self.random.chance(300) {
            self.random.between(1, MAX_AGE)
        } else {
            0
        };
        let time = self.now - age as i64;
        let client = format!("client-{}", self.random.below(CLIENTS));
        let (number, error) = (self.trace.len(), self.clocks[server].1);
        let line = format!("IAMAT {client} +1+1 {time}.{number:09}");
        let answer = self.herd.client(LINE.0[server]).ask(&line);
        self.note(answer.clone());
        let Some(report) = Report::parse(&answer) else {
            assert!(error < -DAY + MAX_AGE as i64, "{}", self.failure(&answer));
            self.rejected += 1;
            return;
        };
        self.kept += 1;
        let newest = self.newest.entry(client).or_insert_with(|| report.clone());
        if report.compare(newest).is_gt() {
            *newest = report;
        }
    }

    /// Waits until all servers return the newest report of each client, or none if it has
    /// expired. Returns the number of the latter.
    fn await_agreement(&self) -> usize {
        let mut hidden = 0;
        for (client, report) in &self.newest {
            let age = i128::from(self.now) * SECOND - report.order_time();
            let is_hidden = age > i128::from(HOUR) * SECOND;
            let expected = (!is_hidden).then(|| report.to_string());
            hidden += usize::from(is_hidden);
            for server in LINE.0 {
                let what = || self.failure(&format!("{server} has {expected:?} of {client}"));
                eventually(&what(), || {
                    (self.herd.at_line(server, client) == expected).then_some(())
                });
            }
        }
        hidden
    }

    fn note(&mut self, event: String) {
        self.trace.push(format!("{} {event}", self.now - START));
    }

    fn failure(&self, what: &str) -> String {
        let (seed, trace) = (self.seed, self.trace.join("\n"));
        format!(
            "{what}\nThe seed is {seed}: run it again with PROXYHERD_SEED={seed}. The events:\n{trace}"
        )
    }
}
