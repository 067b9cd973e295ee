//! Sums over the reports of a server: equal states give equal sums, whatever
//! the way that led there.
//!
//! Each client's newest report counts with a fixed hash of its AT line, and the
//! sum of those is kept for each of [`RANGE_COUNT`] ranges of the clients' hashes: a
//! change adds the new and takes off the old. So a query over whole ranges
//! costs nothing for each client, one over a part of a range looks at the
//! clients of that range only, and two servers that disagree find out where by
//! asking for ever narrower ranges. That a sum shows every difference rests
//! on hashes that nobody set out to make collide: this is a proof against
//! mistakes and not against a server that lies.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use twox_hash::{XxHash3_64, XxHash3_128};

use crate::line_protocol::reply;
use crate::model::report::Report;
use crate::model::timestamp::{ClientTime, Timestamp, UnixNanos};
use crate::replication::RecordId;
use crate::replication::expiry::Expiry;
use crate::replication::feed_reader::FeedReader;
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

use super::read_changes;

/// How many ranges there are whose sums are kept. All are as wide.
pub const RANGE_COUNT: usize = 1 << RANGE_BITS;
const RANGE_BITS: u32 = 12;

/// How many hashes one range holds.
const RANGE_WIDTH: u64 = 1 << (u64::BITS - RANGE_BITS);

/// A query about parts of more ranges than this goes over all clients in
/// the order in which they are stored: that takes less time for each of them.
const MAX_NARROW_RANGES: usize = RANGE_COUNT / 16;

/// The hash by which clients are parted: XXH3-64 of the ID, with seed 0.
pub fn client_hash(client: &str) -> u64 {
    XxHash3_64::oneshot(client.as_bytes())
}

/// How many reports there are, and the sum of their hashes: XXH3-128 with seed 0
/// of each AT line without its line end, modulo 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeSum {
    /// How many.
    pub clients: u64,
    /// The sum.
    pub hashes: u128,
}

impl RangeSum {
    fn add(&mut self, hash: u128) {
        self.clients += 1;
        self.hashes = self.hashes.wrapping_add(hash);
    }

    fn subtract(&mut self, hash: u128) {
        self.clients -= 1;
        self.hashes = self.hashes.wrapping_sub(hash);
    }

    fn merge(&mut self, other: Self) {
        self.clients += other.clients;
        self.hashes = self.hashes.wrapping_add(other.hashes);
    }
}

/// A range of hashes in buckets of one width, or as nearly as can be.
///
/// Invariants: `first <= last`; `count` is at least 1 and at limit the number of
/// hashes, so that no bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    first: u64,
    last: u64,
    count: usize,
}

impl Buckets {
    /// The hashes from `first` to `last` in `count` buckets; `None` where there
    /// is no hash for each of them, or no bucket.
    pub fn new(first: u64, last: u64, count: usize) -> Option<Self> {
        let hashes = u128::from(last.checked_sub(first)?) + 1;
        (count > 0 && count as u128 <= hashes).then_some(Self { first, last, count })
    }

    /// The least and the greatest hash of each, in order.
    pub fn bounds(self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.count).map(move |bucket| {
            let next = bucket + 1;
            let last = match next == self.count {
                true => self.last,
                false => self.start(next) - 1,
            };
            (self.start(bucket), last)
        })
    }

    fn start(self, bucket: usize) -> u64 {
        let hashes = u128::from(self.last - self.first) + 1;
        // At limit 2^64 * 2^63 / 2^0, and the quotient is below the number of hashes.
        self.first + (hashes * bucket as u128 / self.count as u128) as u64
    }

    /// Is each of them a number of whole ranges?
    fn are_whole(self) -> bool {
        self.bounds().all(|(first, last)| {
            first.is_multiple_of(RANGE_WIDTH) && last % RANGE_WIDTH == RANGE_WIDTH - 1
        })
    }
}

/// The sums of one server, as of when they were last asked for.
///
/// Invariants: each of `ranges` is the sum over those of `clients` in it that are
/// shown; `calendar` holds these by their time, where any report is ever hidden;
/// each id that holds a client stands once in `members`, in its range.
///
/// Memory: 55 bytes for each client, and about 40 more where reports are hidden.
#[derive(Debug)]
pub struct Digest {
    reader: FeedReader,
    queried_at: UnixNanos,
    clients: Vec<Option<ClientDigest>>,
    ranges: Box<[RangeSum]>,
    members: Box<[Vec<RecordId>]>,
    calendar: BTreeSet<(ClientTime, RecordId)>,
}

#[derive(Clone, Copy, Debug)]
struct ClientDigest {
    hash: u64,
    report: u128,
    time: ClientTime,
    is_shown: bool,
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            reader: FeedReader::after(0),
            queried_at: UnixNanos(i64::MIN),
            clients: Vec::new(),
            ranges: vec![RangeSum::default(); RANGE_COUNT].into(),
            members: vec![Vec::new(); RANGE_COUNT].into(),
            calendar: BTreeSet::new(),
        }
    }
}

impl Digest {
    /// Takes in what has changed until `now`, by the server's clock, and leaves
    /// out what is hidden by then. Gives the number up to which the server's
    /// changes are in the sums.
    pub fn catch_up(&mut self, replica: &Replica, now: UnixNanos) -> u64 {
        // What was hidden may be shown again where the clock went back.
        if now < self.queried_at {
            *self = Self::default();
        }
        self.queried_at = now;
        let expiry = replica.expiry();
        let (mut reader, mut line) = (self.reader, Vec::new());
        let extract =
            |id, stored: &StoredReport<'_>| (id, ClientDigest::of(&stored.report, &mut line));
        read_changes(&mut reader, replica, extract, |(id, client)| {
            self.push(id, client, expiry.is_some());
        });
        self.reader = reader;
        if let Some(expiry) = expiry {
            self.remove_expired(expiry, now);
        }
        self.reader.position()
    }

    /// The sum over each bucket.
    pub fn sums(&self, buckets: Buckets) -> Vec<RangeSum> {
        match buckets.are_whole() {
            true => self.sums_of_ranges(buckets),
            false => self.sums_of_clients(buckets),
        }
    }

    fn sums_of_ranges(&self, buckets: Buckets) -> Vec<RangeSum> {
        let sum = |(first, last)| {
            let ranges = &self.ranges[range_of(first)..=range_of(last)];
            let mut sum = RangeSum::default();
            ranges.iter().for_each(|&range| sum.merge(range));
            sum
        };
        buckets.bounds().map(sum).collect()
    }

    fn sums_of_clients(&self, buckets: Buckets) -> Vec<RangeSum> {
        let starts: Vec<u64> = buckets.bounds().map(|(first, _)| first).collect();
        let mut sums = vec![RangeSum::default(); starts.len()];
        let hashes = buckets.first..=buckets.last;
        let count = |client: &ClientDigest| {
            if hashes.contains(&client.hash) && client.is_shown {
                let bucket = starts.partition_point(|&start| start <= client.hash) - 1;
                sums[bucket].add(client.report);
            }
        };
        match is_narrow(&hashes) {
            true => {
                let at = |id: RecordId| self.clients[id.0 as usize].as_ref();
                self.ids(&hashes).filter_map(at).for_each(count);
            }
            false => self.clients.iter().flatten().for_each(count),
        }
        sums
    }

    /// Where the store keeps the clients of these hashes, and of some beside
    /// them.
    pub fn ids(&self, hashes: &RangeInclusive<u64>) -> impl Iterator<Item = RecordId> {
        let ranges = range_of(*hashes.start())..=range_of(*hashes.end());
        self.members[ranges].iter().flatten().copied()
    }

    fn push(&mut self, id: RecordId, client: ClientDigest, may_expire: bool) {
        let index = id.0 as usize;
        if index >= self.clients.len() {
            self.clients.resize(index + 1, None);
        }
        let old = self.clients[index].replace(client);
        if let Some(old) = old
            && old.is_shown
        {
            self.ranges[range_of(old.hash)].subtract(old.report);
            self.calendar.remove(&(old.time, id));
        }
        self.ranges[range_of(client.hash)].add(client.report);
        if may_expire {
            self.calendar.insert((client.time, id));
        }
        self.move_member(id, old.map(|old| range_of(old.hash)), range_of(client.hash));
    }

    /// A id comes to a range. It leaves another only where its client was
    /// forgotten and it was given to another.
    fn move_member(&mut self, id: RecordId, from: Option<usize>, to: usize) {
        if from == Some(to) {
            return;
        }
        if let Some(from) = from {
            let old = &mut self.members[from];
            if let Some(index) = old.iter().position(|&it| it == id) {
                old.swap_remove(index);
            }
        }
        self.members[to].push(id);
    }

    /// Takes off what is too old to be shown.
    fn remove_expired(&mut self, expiry: Expiry, now: UnixNanos) {
        while let Some(&(time, id)) = self.calendar.first() {
            if !expiry.is_expired(Timestamp::restore(b"", time), now) {
                return;
            }
            self.calendar.pop_first();
            if let Some(client) = &mut self.clients[id.0 as usize] {
                client.is_shown = false;
                self.ranges[range_of(client.hash)].subtract(client.report);
            }
        }
    }
}

impl ClientDigest {
    fn of(report: &Report<'_>, line: &mut Vec<u8>) -> Self {
        line.clear();
        reply::at(line, report);
        Self {
            hash: client_hash(report.client.text()),
            report: XxHash3_128::oneshot(line.strip_suffix(b"\n").unwrap_or(line)),
            time: report.time.instant(),
            is_shown: true,
        }
    }
}

/// Are these hashes in so few ranges that their clients are better looked up one
/// by one than found among all?
pub fn is_narrow(hashes: &RangeInclusive<u64>) -> bool {
    range_of(*hashes.end()) - range_of(*hashes.start()) < MAX_NARROW_RANGES
}

fn range_of(hash: u64) -> usize {
    (hash / RANGE_WIDTH) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::TestServer;
    use super::*;

    fn buckets(first: u64, last: u64, count: usize) -> Buckets {
        Buckets::new(first, last, count).unwrap()
    }

    fn total(digest: &Digest) -> RangeSum {
        digest.sums(buckets(0, u64::MAX, 1))[0]
    }

    /// The sums, worked out from nothing but what is shown now.
    fn expected(server: &TestServer, buckets: Buckets) -> Vec<RangeSum> {
        let mut sums = vec![RangeSum::default(); buckets.count];
        let clients = server.shown(|report| ClientDigest::of(report, &mut Vec::new()));
        for client in clients {
            let mut bounds = buckets.bounds();
            let is_in = |(first, last)| (first..=last).contains(&client.hash);
            if let Some(bucket) = bounds.position(is_in) {
                sums[bucket].add(client.report);
            }
        }
        sums
    }

    #[test]
    fn hashes_are_those_of_the_protocol() {
        // By the reference implementation (python-xxhash).
        assert_eq!(client_hash(""), 0x2d06_8005_38d3_94c2);
        assert_eq!(
            XxHash3_128::oneshot(b""),
            0x99aa_06d3_0147_98d8_6001_c324_468d_497f
        );
    }

    #[test]
    fn the_sum_is_that_of_the_at_lines() {
        let mut server = TestServer::new(None);
        server.report("kiwi", "+1-2", 5);
        server.report("plum", "+3-4", 6);
        let mut digest = Digest::default();
        assert_eq!(digest.catch_up(&server.replica, server.now), 2);
        let line = |text: &[u8]| XxHash3_128::oneshot(text);
        let kiwi = line(b"AT Riley +0.000000000 kiwi +1-2 5");
        let plum = line(b"AT Riley +0.000000000 plum +3-4 6");
        let want = RangeSum {
            clients: 2,
            hashes: kiwi.wrapping_add(plum),
        };
        assert_eq!(total(&digest), want);
    }

    #[test]
    fn buckets_are_as_the_protocol_says() {
        let bounds: Vec<_> = buckets(10, 20, 4).bounds().collect();
        assert_eq!(bounds, [(10, 11), (12, 14), (15, 17), (18, 20)]);
        let all: Vec<_> = buckets(0, u64::MAX, 4096).bounds().collect();
        assert_eq!(all[0], (0, RANGE_WIDTH - 1));
        assert_eq!(all[4095], (u64::MAX - RANGE_WIDTH + 1, u64::MAX));
        assert!(buckets(0, u64::MAX, 4096).are_whole());
        assert!(buckets(RANGE_WIDTH, 3 * RANGE_WIDTH - 1, 2).are_whole());
        assert!(!buckets(RANGE_WIDTH, 2 * RANGE_WIDTH - 1, 2).are_whole());
        let one: Vec<_> = buckets(7, 7, 1).bounds().collect();
        assert_eq!(one, [(7, 7)]);
        assert_eq!(Buckets::new(7, 7, 2), None);
        assert_eq!(Buckets::new(8, 7, 1), None);
        assert_eq!(Buckets::new(0, 7, 0), None);
    }

    #[derive(Clone, Debug)]
    enum DigestStep {
        /// A client reports: which, where, when.
        Report(u8, u8, u64),
        /// The clock goes on by so much, or back to this.
        Advance(u64),
        SetClock(u64),
        /// What is too old is forgotten.
        Purge,
        /// Somebody asks.
        Query(usize),
    }

    fn any_step() -> impl Strategy<Value = DigestStep> {
        prop_oneof![
            10 => (0u8..30, 0u8..3, 0u64..100).prop_map(|(c, p, t)| DigestStep::Report(c, p, t)),
            3 => (0u64..4).prop_map(DigestStep::Advance),
            1 => (0u64..60).prop_map(DigestStep::SetClock),
            2 => Just(DigestStep::Purge),
            3 => prop::sample::select(vec![1usize, 2, 64, 4096]).prop_map(DigestStep::Query),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn sums_are_those_of_what_is_shown_whatever_happened(
            expire_after in prop::option::of(0u64..20),
            steps in prop::collection::vec(any_step(), 1..200),
            cut in any::<u64>(),
        ) {
            let (mut server, mut digest) = (TestServer::new(expire_after), Digest::default());
            let mut seconds = 0;
            for step in steps {
                match step {
                    DigestStep::Report(client, position, time) => {
                        server.report(&format!("c{client}"), &format!("+{position}-1"), time);
                    }
                    DigestStep::Advance(more) => seconds += more,
                    // Somebody asks before the clock goes back, and so before
                    // anything is forgotten by a time that never was.
                    DigestStep::SetClock(to) => {
                        digest.catch_up(&server.replica, server.now);
                        seconds = to;
                    }
                    DigestStep::Purge => server.purge(),
                    DigestStep::Query(count) => {
                        let last = digest.catch_up(&server.replica, server.now);
                        prop_assert_eq!(last, server.replica.store().last());
                        for buckets in [
                            buckets(0, u64::MAX, count),
                            buckets(cut / 2, cut / 2 + u64::MAX / 2, count),
                            buckets(cut / 2, cut / 2 + u64::MAX / 64, count),
                        ] {
                            prop_assert_eq!(digest.sums(buckets), expected(&server, buckets));
                        }
                    }
                }
                server.set_now(seconds);
            }
            digest.catch_up(&server.replica, server.now);
            let mut fresh = Digest::default();
            fresh.catch_up(&server.replica, server.now);
            prop_assert_eq!(total(&digest), total(&fresh));
        }
    }
}
