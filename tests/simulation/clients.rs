//! The clients, and the ledger of all reports that they ever sent.

use std::cmp::{Ordering, Reverse};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::LazyLock;

use proxyherd::model::client::ClientId;
use proxyherd::model::position::Position;
use proxyherd::model::report::{Origin, Report};
use proxyherd::model::timestamp::{Skew, Timestamp};

use crate::random::Random;
use crate::topology::NAMES;

/// Maximum number of clients of a schedule.
const MAX_CLIENTS: usize = 700;

/// Maximum time of the clients' clocks, in seconds.
const MAX_SECONDS: usize = 3000;

/// Number of texts for one second; four of them are the same time.
const TIME_TEXTS: usize = 6;

const POSITIONS: [&str; 4] = ["+0+0", "-0+0", "+0+0/", "+34.068930-118.445127"];

static CLIENT_TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    // Some texts do not fit into a record's inline bytes.
    let filler = |client| if client % 7 == 3 { 90 } else { 0 };
    let text = |client| format!("client-{client}{}", "x".repeat(filler(client)));
    (0..MAX_CLIENTS).map(text).collect()
});

static TIMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let texts = |second| -> [String; TIME_TEXTS] {
        [
            format!("{second}"),
            format!("0{second}"),
            format!("{second}.0"),
            format!("{second}.0000000009"),
            format!("{second}.000000001"),
            format!("{second}.5"),
        ]
    };
    (0..MAX_SECONDS).flat_map(texts).collect()
});

/// Index of a report in the ledger.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReportId(u32);

impl ReportId {
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for ReportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// The fields of a report that a client chooses.
#[derive(Clone, Copy)]
pub(crate) struct ClientReport {
    pub(crate) client: usize,
    position: &'static str,
    time: &'static str,
}

/// Skews of clients' clocks by the index of a report, about 0, 13 and 21 s ahead. They are
/// multiples of 2^32 nanoseconds, so that the lower half of a skew can encode the index.
const LEADS: [i64; 5] = [0, 0, 0, -(3 << 32), -(5 << 32)];

/// The time after its receipt up to which a report may be ordered, in nanoseconds.
const MAX_LEAD: i128 = 10_000_000_000;

/// All reports that servers received from clients. The lower half of a report's skew encodes its
/// index here, so that a report can be found and compared wherever it occurs.
pub(crate) struct Ledger {
    reports: Vec<(ClientReport, usize, Report<'static>)>,
    /// The newest report of each client that a server may lack, since it purged the report or a
    /// neighbour withheld it.
    excused: HashMap<usize, ReportId>,
    /// Whether an image of a server was restored: its neighbours believe that it has what its
    /// former self had, and pass that on with their version vectors, and one tag may stand for two
    /// of its reports. So a link may leave a report out, and only a comparison finds it.
    is_imaged: bool,
    /// The clients of which a server has lost a report, as a fault of its own. Its version vector
    /// still claims the report, so that a link may leave it out, and only a comparison finds it.
    damaged: HashSet<usize>,
    /// Scrambles the order of skews, so that a later report may have a smaller one.
    mix: u64,
}

impl Ledger {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            reports: Vec::new(),
            excused: HashMap::new(),
            is_imaged: false,
            damaged: HashSet::new(),
            mix: random.pick(&[0, 1, 7]),
        }
    }

    /// Adds a report that a server received.
    pub(crate) fn add(&mut self, line: ClientReport, server: usize) -> ReportId {
        let place = self.reports.len();
        let report = Report {
            client: Self::client_id(line.client),
            origin: Origin::parse(NAMES[server].as_bytes()).expect("is a name"),
            position: Position::parse(line.position.as_bytes()).expect("is a position"),
            time: Timestamp::parse(line.time.as_bytes()).expect("is a time"),
            skew: self.skew(place),
        };
        self.reports.push((line, server, report));
        ReportId(place as u32)
    }

    /// Records that servers may lack a report, and older ones of its client.
    pub(crate) fn excuse(&mut self, report: ReportId) {
        if !self.is_excused(report) {
            self.excused.insert(self.client(report), report);
        }
    }

    /// Returns whether servers may lack a report.
    pub(crate) fn is_excused(&self, report: ReportId) -> bool {
        let newest = self.excused.get(&self.client(report));
        newest.is_some_and(|&newest| self.compare(newest, report).is_ge())
    }

    /// Records that an image of a server was restored.
    pub(crate) fn note_image(&mut self) {
        self.is_imaged = true;
    }

    /// Records that a server has lost a report of a client.
    pub(crate) fn note_damage(&mut self, client: usize) {
        self.damaged.insert(client);
    }

    /// Returns whether some server may have lost a report, as a fault of its own.
    pub(crate) fn is_damaged(&self, report: ReportId) -> bool {
        self.damaged.contains(&self.client(report))
    }

    /// Returns whether a version vector may claim a report that its server does not have.
    pub(crate) fn is_doubtful(&self, report: ReportId) -> bool {
        self.is_imaged || self.is_damaged(report)
    }

    /// Returns the time of the clients' clocks, in seconds.
    pub(crate) fn seconds(&self) -> usize {
        self.reports.len() / 2
    }

    pub(crate) fn report(&self, ReportId(place): ReportId) -> &Report<'static> {
        &self.reports[place as usize].2
    }

    pub(crate) fn client(&self, ReportId(place): ReportId) -> usize {
        self.reports[place as usize].0.client
    }

    /// Returns the server that received the report, as an index of [`NAMES`].
    pub(crate) fn origin(&self, ReportId(place): ReportId) -> usize {
        self.reports[place as usize].1
    }

    pub(crate) fn client_id(client: usize) -> ClientId<'static> {
        ClientId::parse(CLIENT_TEXTS[client].as_bytes()).expect("is an ID")
    }

    /// Returns a short description of a report for the trace.
    pub(crate) fn describe(&self, id: ReportId) -> String {
        let (client, report) = (self.client(id), self.report(id));
        let [origin, position, time] = [
            report.origin.text(),
            report.position.text(),
            report.time.text(),
        ];
        format!("{id:?} (client {client} at {position} {time}, {origin})")
    }

    /// Finds the report that is equal to this one in every byte.
    pub(crate) fn find(&self, report: &Report<'_>) -> Result<ReportId, String> {
        let place = (report.skew.0 as u64 & u64::from(u32::MAX)) ^ self.mix;
        match self.reports.get(place as usize) {
            Some((.., known)) if known == report => Ok(ReportId(place as u32)),
            _ => Err(format!("no client ever reported {report:?}")),
        }
    }

    /// Compares two reports by the order that the protocol specifies; an independent second
    /// implementation.
    pub(crate) fn compare(&self, one: ReportId, other: ReportId) -> Ordering {
        let [one, other] = [one, other].map(|id| self.report(id));
        let texts = |report: &Report<'static>| {
            let (origin, position) = (report.origin.text(), report.position.text());
            (origin, position, Reverse(report.skew.0), report.time.text())
        };
        let times = |report: &Report<'static>| {
            let time = report.time.instant().as_nanos();
            (time.min(time + i128::from(report.skew.0) + MAX_LEAD), time)
        };
        let by_time = times(one).cmp(&times(other));
        by_time.then_with(|| texts(one).cmp(&texts(other)))
    }

    /// Returns the next report of a client. If it repeats an earlier one, the second value is the
    /// report that the server would make of it if it was received at the same time.
    pub(crate) fn next(
        &self,
        clients: usize,
        random: &mut Random,
    ) -> (ClientReport, Option<ReportId>) {
        if !self.reports.is_empty() && random.chance(150) {
            let again = ReportId(random.below(self.reports.len()) as u32);
            return (self.reports[again.0 as usize].0, Some(again));
        }
        (self.fresh(clients, random), None)
    }

    /// Returns a report with a current or an old time.
    fn fresh(&self, clients: usize, random: &mut Random) -> ClientReport {
        let now = self.seconds();
        let second = if random.chance(150) {
            random.below(now + 1)
        } else {
            now + random.below(4)
        };
        // Mostly whole seconds, so that equal times are common.
        let text = random.pick(&[0, 0, 0, 1, 2, 3, 4, 5]);
        ClientReport {
            client: random.below(clients),
            position: random.pick(&POSITIONS),
            time: &TIMES[second.min(MAX_SECONDS - 1) * TIME_TEXTS + text],
        }
    }

    fn skew(&self, place: usize) -> Skew {
        Skew((place as u64 ^ self.mix) as i64 + LEADS[place % LEADS.len()])
    }
}
