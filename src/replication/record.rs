//! One report as the store keeps it.

use std::cmp::Ordering;

use crate::model::client::ClientId;
use crate::model::position::Position;
use crate::model::report::{Origin, Report};
use crate::model::timestamp::{ClientTime, OrderTime, Skew, Timestamp, UnixNanos};

use super::NeighbourId;
use super::expiry::ExpiredSince;
use super::seen_by::SeenBy;
use super::tag::{OriginIndex, Tag};

/// Maximum number of text bytes that a record holds inline: a client ID of 22 bytes with the usual
/// lengths of the other fields, and an origin of eight.
const INLINE_BYTES: usize = 71;

/// The newest report of one client, with its sequence number and the senders that have it.
///
/// A record is two cache lines, plus one allocation if its texts do not fit. The texts are
/// concatenated (client, origin, position, time), so that one copy moves a report and no field
/// needs a pointer.
#[derive(Debug)]
pub(super) struct Record {
    texts: Texts,
    lengths: Lengths,
    latitude: u8,
    seconds: u64,
    nanos: u32,
    skew: Skew,
    /// Time between the origin's and this server's receipt of the report.
    delay: ReceiptDelay,
    /// The neighbour that sent the report first, or [`OWN_CLIENT`] or [`STORAGE`].
    from: u16,
    /// The report's sequence number in the feed; 0 in a vacant slot.
    pub(super) number: u64,
    /// The neighbours that sent exactly this report.
    pub(super) seen_by: SeenBy,
    /// The tag with which a neighbour sent the report.
    tag: Tag,
    /// Since when the report was expired at all visits of the purge walk.
    pub(super) expired_since: ExpiredSince,
}

/// The first receipt of a report by this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The time by this server's clock. A record keeps it to the millisecond if it is less than 4
    /// hours from the time at which the report's origin received it, and to a sixteen-millionth of
    /// that span otherwise: to 0.2 s after a month, to 2 s after a year.
    pub at: UnixNanos,
    /// The source of the report.
    pub from: ReportSource,
}

/// The first source of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportSource {
    /// A client of this server.
    Client,
    /// A neighbour.
    Neighbour(NeighbourId),
    /// A file: the storage of an earlier incarnation of this server, which may have received it from
    /// a client or from a neighbour, or an import.
    Storage,
}

/// A report and its metadata in the store.
#[derive(Clone, Copy, Debug)]
pub struct StoredReport<'a> {
    /// The report.
    pub report: Report<'a>,
    /// The senders of exactly this report.
    pub seen_by: SeenBy,
    /// The report's sequence number in the feed.
    pub number: u64,
    tag: Tag,
    delay: ReceiptDelay,
    from: u16,
}

impl StoredReport<'_> {
    /// Returns the tag, in a server whose incarnation has the index `own`.
    pub(super) fn tag(&self, own: OriginIndex) -> Tag {
        if self.from == OWN_CLIENT {
            Tag::new(own, self.number)
        } else {
            self.tag
        }
    }

    /// Returns the time and the neighbour of the first receipt.
    pub fn receipt(&self) -> Receipt {
        let from = match self.from {
            OWN_CLIENT => ReportSource::Client,
            STORAGE => ReportSource::Storage,
            neighbour => ReportSource::Neighbour(NeighbourId(usize::from(neighbour))),
        };
        Receipt {
            at: self.delay.after(&self.report),
            from,
        }
    }
}

/// Value of `from` for a report of this server's own client.
const OWN_CLIENT: u16 = u16::MAX;

/// Value of `from` for a report that was restored.
const STORAGE: u16 = u16::MAX - 1;

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
    pub(super) fn new(
        report: &Report<'_>,
        (number, tag): (u64, Tag),
        seen_by: SeenBy,
        receipt: Receipt,
    ) -> Self {
        let mut record = Self {
            texts: Texts::Inline([0; INLINE_BYTES]),
            lengths: Lengths::of(report),
            latitude: 0,
            seconds: 0,
            nanos: 0,
            skew: Skew(0),
            delay: ReceiptDelay::default(),
            from: OWN_CLIENT,
            number,
            seen_by,
            tag,
            expired_since: ExpiredSince::default(),
        };
        record.replace(report, (number, tag), seen_by, receipt);
        record
    }

    /// Replaces the report by another of the same client.
    pub(super) fn replace(
        &mut self,
        report: &Report<'_>,
        (number, tag): (u64, Tag),
        seen_by: SeenBy,
        receipt: Receipt,
    ) {
        self.lengths = Lengths::of(report);
        self.texts.fill(self.lengths.total(), report);
        self.latitude = report.position.latitude_bytes();
        let ClientTime { seconds, nanos } = report.time.instant();
        (self.seconds, self.nanos) = (seconds, nanos);
        self.skew = report.skew;
        self.delay = ReceiptDelay::of(report, receipt.at);
        self.from = number_of(receipt.from);
        self.number = number;
        self.seen_by = seen_by;
        self.tag = tag;
        self.expired_since = ExpiredSince::default();
    }

    /// Removes the report and leaves a vacant slot for another client.
    pub(super) fn vacate(&mut self) {
        self.texts = Texts::Inline([0; INLINE_BYTES]);
        self.lengths = Lengths::default();
        self.number = 0;
        self.seen_by = SeenBy::default();
    }

    /// Returns whether the slot is vacant.
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

    /// Compares `report` with the stored report; `Greater` means that `report` is newer.
    pub(super) fn compare(&self, report: &Report<'_>) -> Ordering {
        let order_times = report.order_time().cmp(&self.order_time());
        order_times.then_with(|| report.compare(&self.report()))
    }

    pub(super) fn order_time(&self) -> OrderTime {
        OrderTime::of(self.time(), self.skew)
    }

    fn time(&self) -> ClientTime {
        ClientTime {
            seconds: self.seconds,
            nanos: self.nanos,
        }
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
            time: Timestamp::restore(time, self.time()),
            skew: self.skew,
        }
    }

    pub(super) fn stored(&self) -> StoredReport<'_> {
        StoredReport {
            report: self.report(),
            seen_by: self.seen_by,
            number: self.number,
            tag: self.tag,
            delay: self.delay,
            from: self.from,
        }
    }
}

/// A time between the origin's and this server's receipt of a report, in milliseconds. A float has
/// room for any, and is exact for the usual ones.
#[derive(Clone, Copy, Debug, Default)]
struct ReceiptDelay(f32);

const NANOS_PER_MILLI: i128 = 1_000_000;

impl ReceiptDelay {
    fn of(report: &Report<'_>, received_at: UnixNanos) -> Self {
        let nanos = i128::from(received_at.0) - report.received_at();
        Self((nanos / NANOS_PER_MILLI) as f32)
    }

    /// Returns the time of this server's receipt.
    fn after(self, report: &Report<'_>) -> UnixNanos {
        let nanos = report.received_at() + self.0 as i128 * NANOS_PER_MILLI;
        UnixNanos(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }
}

/// Returns the stored number of a source. A neighbour whose number does not fit in 16 bits counts as
/// an own client.
fn number_of(source: ReportSource) -> u16 {
    match source {
        ReportSource::Client => OWN_CLIENT,
        ReportSource::Storage => STORAGE,
        ReportSource::Neighbour(id) => u16::try_from(id.0).unwrap_or(OWN_CLIENT),
    }
}

impl Texts {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Boxed(bytes) => bytes,
        }
    }

    /// Stores the texts of `report`, `total` bytes in all. Allocates only if they neither fit
    /// inline nor have the length of the previous texts.
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

    const RECEIPT: Receipt = Receipt {
        at: UnixNanos(1_621_464_829_000_000_000),
        from: ReportSource::Neighbour(NeighbourId(3)),
    };

    #[test]
    fn a_record_keeps_its_receipt() {
        let report = report("k", "+1-2");
        let held = |receipt| {
            let record = Record::new(&report, (1, Tag::default()), SeenBy::default(), receipt);
            record.stored().receipt()
        };
        let at = |nanos| Receipt {
            at: UnixNanos(nanos),
            from: ReportSource::Client,
        };
        // The origin received it at 1621464827.959498498.
        let taken = 1_621_464_827_959_498_498;
        assert_eq!(held(at(taken)), at(taken), "exact for an own client");
        assert_eq!(held(at(taken + 1_999_999)), at(taken + 1_000_000));
        assert_eq!(held(at(taken - 5_000_000)), at(taken - 5_000_000));
        assert_eq!(held(RECEIPT).from, RECEIPT.from);
        const HOUR: i64 = 3_600_000_000_000;
        for delay in [-4 * HOUR, 4 * HOUR, 4 * HOUR + 1_000_000] {
            assert_eq!(held(at(taken + delay)), at(taken + delay));
        }
        // Up to the ends of what a clock can show.
        for delay in [30 * 24 * HOUR, 365 * 24 * HOUR, -taken, i64::MAX - taken] {
            let error = held(at(taken + delay)).at.0.abs_diff(taken + delay);
            assert!(
                error <= delay.unsigned_abs() / 16_000_000,
                "{delay} {error}"
            );
        }
    }

    #[test]
    fn a_record_returns_its_report_unchanged_at_any_length() {
        let long = "ü".repeat(127);
        let longer = "+0".to_owned() + &"0".repeat(29) + "-1";
        let clients = ["k", "kiwi.cs.ucla.edu", &long];
        for client in clients {
            let mut record = Record::new(
                &report(client, "+1-2"),
                (1, Tag::default()),
                SeenBy::default(),
                RECEIPT,
            );
            for position in [
                &longer,
                "+1-2",
                "+34.068930-118.445127",
                &longer,
                &longer,
                "+2-2/",
            ] {
                let report = report(client, position);
                record.replace(&report, (2, Tag::default()), SeenBy::default(), RECEIPT);
                assert_eq!(record.report(), report);
                assert!(record.is_of(report.client));
                assert_eq!(record.compare(&report), Ordering::Equal);
            }
        }
    }

    #[test]
    fn a_record_is_two_cache_lines() {
        assert_eq!(size_of::<Record>(), 128);
    }
}
