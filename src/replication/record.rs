//! One report as the store keeps it.

use std::cmp::Ordering;

use crate::model::client::ClientId;
use crate::model::position::Position;
use crate::model::report::{Origin, Report};
use crate::model::timestamp::{NANOS_PER_SECOND, Skew, Timestamp, UnixNanos};

use super::NeighbourId;
use super::seen_by::SeenBy;

/// Texts up to this many bytes stand in the record itself: a client ID of 25
/// bytes with the usual lengths of all else.
const INLINE_BYTES: usize = 79;

/// The newest report of one client, with its place in the feed and who is
/// known to have it.
///
/// A record is two cache lines, and one allocation more where its texts do not
/// fit. The texts stand behind one another (client, origin, position, time),
/// so that a report is copied at once and its place costs no pointer.
#[derive(Debug)]
pub(super) struct Record {
    texts: Texts,
    lengths: Lengths,
    latitude: u8,
    seconds: u64,
    nanos: u32,
    skew: Skew,
    /// When this server learned of it: milliseconds after its origin did.
    delay: i32,
    /// The neighbour that it came from, or [`OWN_CLIENT`].
    from: u16,
    /// This report's sequence number in the feed; 0 in a vacant place.
    pub(super) number: u64,
    /// Which neighbours sent exactly this report.
    pub(super) heard: SeenBy,
}

/// How a server came to know a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// When, by its own clock. A record keeps it to the millisecond, up to 24
    /// days from when the report's origin took it.
    pub at: UnixNanos,
    /// The neighbour that sent it first; `None` for a client of its own.
    pub from: Option<NeighbourId>,
}

/// A report as it is held.
#[derive(Clone, Copy, Debug)]
pub struct StoredReport<'a> {
    /// The report.
    pub report: Report<'a>,
    /// Who sent exactly this report.
    pub heard: SeenBy,
    /// Its number in the feed.
    pub number: u64,
    delay: i32,
    from: u16,
}

impl StoredReport<'_> {
    /// When and from whom it was learned.
    pub fn learned(&self) -> Learned {
        let delay = i128::from(i64::from(self.delay) * NANOS_PER_MILLI);
        let from = (self.from != OWN_CLIENT).then(|| NeighbourId(usize::from(self.from)));
        Learned {
            at: UnixNanos(saturate(taken_at(&self.report) + delay)),
            from,
        }
    }
}

/// Stands for the neighbour where there is none.
const OWN_CLIENT: u16 = u16::MAX;

#[derive(Debug)]
enum Texts {
    Inline([u8; INLINE_BYTES]),
    Boxed(Box<[u8]>),
}

#[derive(Clone, Copy, Debug, Default)]
struct Lengths {
    client: u8,
    origin: u8,
    position: u8,
    time: u8,
}

impl Record {
    pub(super) fn new(report: &Report<'_>, number: u64, heard: SeenBy, learned: Learned) -> Self {
        let mut record = Self {
            texts: Texts::Inline([0; INLINE_BYTES]),
            lengths: Lengths::of(report),
            latitude: 0,
            seconds: 0,
            nanos: 0,
            skew: Skew(0),
            delay: 0,
            from: OWN_CLIENT,
            number,
            heard,
        };
        record.replace(report, number, heard, learned);
        record
    }

    /// Puts another report of the same client in this one's place.
    pub(super) fn replace(
        &mut self,
        report: &Report<'_>,
        number: u64,
        heard: SeenBy,
        learned: Learned,
    ) {
        self.lengths = Lengths::of(report);
        self.texts.fill(self.lengths.total(), report);
        self.latitude = report.position.latitude_bytes();
        (self.seconds, self.nanos) = report.time.instant();
        self.skew = report.skew;
        self.delay = delay(report, learned.at);
        self.from = number_of(learned.from);
        self.number = number;
        self.heard = heard;
    }

    /// Forgets the report and leaves a vacant place, for another client's.
    pub(super) fn vacate(&mut self) {
        self.texts = Texts::Inline([0; INLINE_BYTES]);
        self.lengths = Lengths::default();
        self.number = 0;
        self.heard = SeenBy::default();
    }

    /// Is no report here?
    pub(super) fn is_vacant(&self) -> bool {
        self.number == 0
    }

    pub(super) fn is_of(&self, client: ClientId<'_>) -> bool {
        let length = usize::from(self.lengths.client);
        &self.texts.bytes()[..length] == client.bytes()
    }

    pub(super) fn client_bytes(&self) -> &[u8] {
        &self.texts.bytes()[..usize::from(self.lengths.client)]
    }

    /// Is `report` newer than this one, the same, or older?
    pub(super) fn judge(&self, report: &Report<'_>) -> Ordering {
        let by_time = report.time.instant().cmp(&(self.seconds, self.nanos));
        by_time.then_with(|| report.compare(&self.report()))
    }

    pub(super) fn report(&self) -> Report<'_> {
        let text = &self.texts.bytes()[..self.lengths.total()];
        let (client, text) = text.split_at(usize::from(self.lengths.client));
        let (origin, text) = text.split_at(usize::from(self.lengths.origin));
        let (position, time) = text.split_at(usize::from(self.lengths.position));
        Report {
            client: ClientId::restore(client),
            origin: Origin::restore(origin),
            position: Position::restore(position, self.latitude),
            time: Timestamp::restore(time, (self.seconds, self.nanos)),
            skew: self.skew,
        }
    }

    pub(super) fn held(&self) -> StoredReport<'_> {
        StoredReport {
            report: self.report(),
            heard: self.heard,
            number: self.number,
            delay: self.delay,
            from: self.from,
        }
    }
}

const NANOS_PER_MILLI: i64 = 1_000_000;

/// When a report's origin took it, by the origin's clock, in nanoseconds.
fn taken_at(report: &Report<'_>) -> i128 {
    let (seconds, nanos) = report.time.instant();
    i128::from(seconds) * i128::from(NANOS_PER_SECOND)
        + i128::from(nanos)
        + i128::from(report.skew.0)
}

fn delay(report: &Report<'_>, learned_at: UnixNanos) -> i32 {
    let nanos = saturate(i128::from(learned_at.0) - taken_at(report));
    let millis = nanos / NANOS_PER_MILLI;
    millis.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

fn saturate(nanos: i128) -> i64 {
    nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// A neighbour past what fits is not told apart from a client.
fn number_of(neighbour: Option<NeighbourId>) -> u16 {
    neighbour.map_or(OWN_CLIENT, |id| u16::try_from(id.0).unwrap_or(OWN_CLIENT))
}

impl Texts {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Boxed(bytes) => bytes,
        }
    }

    /// Becomes the texts of `report`, which are `total` bytes long. Allocates
    /// only where they neither fit inline nor are as long as what stood here.
    fn fill(&mut self, total: usize, report: &Report<'_>) {
        let room = match self {
            Self::Inline(bytes) if total <= INLINE_BYTES => &mut bytes[..],
            Self::Boxed(bytes) if total == bytes.len() => &mut bytes[..],
            _ => self.make_room(total),
        };
        let mut filled = 0;
        for text in texts_of(report) {
            room[filled..filled + text.len()].copy_from_slice(text);
            filled += text.len();
        }
    }

    fn make_room(&mut self, total: usize) -> &mut [u8] {
        *self = match total {
            0..=INLINE_BYTES => Self::Inline([0; INLINE_BYTES]),
            _ => Self::Boxed(vec![0; total].into()),
        };
        match self {
            Self::Inline(bytes) => bytes,
            Self::Boxed(bytes) => bytes,
        }
    }
}

impl Lengths {
    fn of(report: &Report<'_>) -> Self {
        // The longest text, a client ID, has 255 bytes.
        let length = |text: &[u8]| u8::try_from(text.len()).expect("a field has at most 255 bytes");
        Self {
            client: length(report.client.bytes()),
            origin: length(report.origin.bytes()),
            position: length(report.position.bytes()),
            time: length(report.time.bytes()),
        }
    }

    fn total(self) -> usize {
        usize::from(self.client)
            + usize::from(self.origin)
            + usize::from(self.position)
            + usize::from(self.time)
    }
}

fn texts_of<'a>(report: &Report<'a>) -> [&'a [u8]; 4] {
    [
        report.client.bytes(),
        report.origin.bytes(),
        report.position.bytes(),
        report.time.bytes(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report<'a>(client: &'a str, position: &'a str) -> Report<'a> {
        Report {
            client: ClientId::parse(client.as_bytes()).unwrap(),
            origin: Origin::parse(b"Riley").unwrap(),
            position: Position::parse(position.as_bytes()).unwrap(),
            time: Timestamp::parse(b"1621464827.959498503").unwrap(),
            skew: Skew(-5),
        }
    }

    const LEARNED: Learned = Learned {
        at: UnixNanos(1_621_464_829_000_000_000),
        from: Some(NeighbourId(3)),
    };

    #[test]
    fn a_record_knows_how_it_was_learned() {
        let report = report("k", "+1-2");
        let held = |learned| {
            let record = Record::new(&report, 1, SeenBy::default(), learned);
            record.held().learned()
        };
        let at = |nanos| Learned {
            at: UnixNanos(nanos),
            from: None,
        };
        // The origin took it at 1621464827.959498498.
        let taken = 1_621_464_827_959_498_498;
        assert_eq!(held(at(taken)), at(taken), "exact for an own client");
        assert_eq!(held(at(taken + 1_999_999)), at(taken + 1_000_000));
        assert_eq!(held(at(taken - 5_000_000)), at(taken - 5_000_000));
        assert_eq!(held(LEARNED).from, LEARNED.from);
        let far = held(at(i64::MAX)).at.0;
        assert_eq!(far, taken + i64::from(i32::MAX) * 1_000_000);
    }

    #[test]
    fn a_record_gives_back_what_it_took_whatever_the_lengths() {
        let long = "ü".repeat(127);
        let longer = "+0".to_owned() + &"0".repeat(29) + "-1";
        let clients = ["k", "kiwi.cs.ucla.edu", &long];
        for client in clients {
            let mut record = Record::new(&report(client, "+1-2"), 1, SeenBy::default(), LEARNED);
            for position in [
                &longer,
                "+1-2",
                "+34.068930-118.445127",
                &longer,
                &longer,
                "+2-2/",
            ] {
                let report = report(client, position);
                record.replace(&report, 2, SeenBy::default(), LEARNED);
                assert_eq!(record.report(), report);
                assert!(record.is_of(report.client));
                assert_eq!(record.judge(&report), Ordering::Equal);
            }
        }
    }

    #[test]
    fn a_record_is_two_cache_lines() {
        assert_eq!(size_of::<Record>(), 128);
    }
}
