//! Sums over the reports of a server. Equal states have equal sums, whatever changes led to them.
//!
//! Each client's newest report is represented by a fixed hash of its AT line. The view keeps the
//! sum of these hashes for each of [`RANGE_COUNT`] ranges of the clients' hashes: a change adds the
//! new hash and subtracts the old one. A query over whole ranges therefore costs nothing for each
//! client, and one over a part of a range reads the clients of that range only. Two servers that
//! differ find the difference by querying ever narrower ranges. The hashes are not cryptographic:
//! the sums detect errors, but not a server that lies.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use twox_hash::{XxHash3_64, XxHash3_128};

use crate::line_protocol::reply;
use crate::model::report::Report;
use crate::model::timestamp::{OrderTime, UnixNanos};
use crate::replication::RecordId;
use crate::replication::expiry::Expiry;
use crate::replication::feed_reader::FeedReader;
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

use super::read_changes;

/// Number of ranges with a sum. All have the same width.
pub const RANGE_COUNT: usize = 1 << RANGE_BITS;
const RANGE_BITS: u32 = 12;

/// Number of hashes in one range.
const RANGE_WIDTH: u64 = 1 << (u64::BITS - RANGE_BITS);

/// Maximum number of ranges whose clients are looked up one by one. For more, a scan of all clients
/// in storage order takes less time for each client.
const MAX_NARROW_RANGES: usize = RANGE_COUNT / 16;

/// Returns the hash by which clients are divided into ranges: XXH3-64 of the ID, with seed 0.
pub fn client_hash(client: &str) -> u64 {
    XxHash3_64::oneshot(client.as_bytes())
}

/// The number of reports in a range and the sum of their hashes: XXH3-128 with seed 0 of each AT
/// line without its line end, modulo 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeSum {
    /// Number of reports.
    pub clients: u64,
    /// Sum of the hashes.
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

/// A range of hashes, divided into buckets of equal width, or as equal as possible.
///
/// Invariants: `first <= last`; `count` is at least 1 and at most the number of hashes, so that no
/// bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    first: u64,
    last: u64,
    count: usize,
}

impl Buckets {
    /// Divides the hashes from `first` up to and including `last` into `count` buckets. Returns
    /// `None` if a bucket would have no hash, or if `count` is 0.
    pub fn new(first: u64, last: u64, count: usize) -> Option<Self> {
        let hashes = u128::from(last.checked_sub(first)?) + 1;
        (count > 0 && count as u128 <= hashes).then_some(Self { first, last, count })
    }

    /// Returns the least and the greatest hash of each bucket, in order.
    pub fn bounds(self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.count).map(move |bucket| {
            let next = bucket + 1;
            let last = if next == self.count {
                self.last
            } else {
                self.start(next) - 1
            };
            (self.start(bucket), last)
        })
    }

    fn start(self, bucket: usize) -> u64 {
        let hashes = u128::from(self.last - self.first) + 1;
        // The product is at most 2^64 * 2^63, and the quotient is below the number of hashes.
        self.first + (hashes * bucket as u128 / self.count as u128) as u64
    }

    /// Returns whether each bucket consists of whole ranges.
    fn are_whole(self) -> bool {
        self.bounds().all(|(first, last)| {
            first.is_multiple_of(RANGE_WIDTH) && last % RANGE_WIDTH == RANGE_WIDTH - 1
        })
    }
}

/// The sums of one server at the time of the last query.
///
/// Invariants: each of `ranges` is the sum over those of `clients` in the range that are not
/// expired; `calendar` has these by their time if reports expire; each record with a client occurs
/// once in `members`, in its range.
///
/// Memory: 55 bytes for each client, and about 40 more if reports expire.
#[derive(Debug)]
pub struct Digest {
    reader: FeedReader,
    queried_at: UnixNanos,
    clients: Vec<Option<ClientDigest>>,
    ranges: Box<[RangeSum]>,
    members: Box<[Vec<RecordId>]>,
    calendar: BTreeSet<(OrderTime, RecordId)>,
}

#[derive(Clone, Copy, Debug)]
struct ClientDigest {
    hash: u64,
    report: u128,
    time: OrderTime,
    is_counted: bool,
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
    /// Applies the changes up to now, and subtracts the reports that are expired at `now`, by the
    /// server's clock. Returns the sequence number up to which changes are included.
    pub fn catch_up(&mut self, replica: &Replica, now: UnixNanos) -> u64 {
        // An expired report may be valid again after the clock went back.
        if now < self.queried_at {
            *self = Self::default();
        }
        self.queried_at = now;
        let expiry = replica.expiry();
        let (mut reader, mut line) = (self.reader, Vec::new());
        let extract =
            |id, stored: &StoredReport<'_>| (id, ClientDigest::of(&stored.report, &mut line));
        read_changes(&mut reader, replica, extract, |(id, client)| {
            self.apply(id, client, expiry.is_some());
        });
        self.reader = reader;
        if let Some(expiry) = expiry {
            self.remove_expired(expiry, now);
        }
        self.reader.position()
    }

    /// Returns the sum of each bucket.
    pub fn sums(&self, buckets: Buckets) -> Vec<RangeSum> {
        if buckets.are_whole() {
            self.sums_of_ranges(buckets)
        } else {
            self.sums_of_clients(buckets)
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
            if hashes.contains(&client.hash) && client.is_counted {
                let bucket = starts.partition_point(|&start| start <= client.hash) - 1;
                sums[bucket].add(client.report);
            }
        };
        if is_narrow(&hashes) {
            let at = |id: RecordId| self.clients[id.0 as usize].as_ref();
            self.ids(&hashes).filter_map(at).for_each(count);
        } else {
            self.clients.iter().flatten().for_each(count)
        }
        sums
    }

    /// Returns the records of the clients with these hashes, and of some others.
    pub fn ids(&self, hashes: &RangeInclusive<u64>) -> impl Iterator<Item = RecordId> {
        let ranges = range_of(*hashes.start())..=range_of(*hashes.end());
        self.members[ranges].iter().flatten().copied()
    }

    fn apply(&mut self, id: RecordId, client: ClientDigest, may_expire: bool) {
        let index = id.0 as usize;
        if index >= self.clients.len() {
            self.clients.resize(index + 1, None);
        }
        let old = self.clients[index].replace(client);
        if let Some(old) = old
            && old.is_counted
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

    /// Adds a record to a range. It leaves another range only if its client was purged and the
    /// record was reused.
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

    /// Subtracts the reports that are expired.
    fn remove_expired(&mut self, expiry: Expiry, now: UnixNanos) {
        while let Some(&(time, id)) = self.calendar.first() {
            if !expiry.is_expired(time, now) {
                return;
            }
            self.calendar.pop_first();
            if let Some(client) = &mut self.clients[id.0 as usize] {
                client.is_counted = false;
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
            time: report.order_time(),
            is_counted: true,
        }
    }
}

/// Returns whether these hashes are in so few ranges that looking up their clients one by one is
/// faster than a scan of all.
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

    /// Computes the sums from the reports that are not expired.
    fn expected(server: &TestServer, buckets: Buckets) -> Vec<RangeSum> {
        let mut sums = vec![RangeSum::default(); buckets.count];
        let clients = server.unexpired(|report| ClientDigest::of(report, &mut Vec::new()));
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
    fn hashes_equal_the_reference_implementation() {
        // Values of the reference implementation (python-xxhash).
        assert_eq!(client_hash(""), 0x2d06_8005_38d3_94c2);
        assert_eq!(
            XxHash3_128::oneshot(b""),
            0x99aa_06d3_0147_98d8_6001_c324_468d_497f
        );
    }

    #[test]
    fn the_sum_is_the_sum_of_the_hashes_of_the_at_lines() {
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
    fn buckets_divide_the_range_as_specified() {
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
        /// A client reports: client, position, time.
        Report(u8, u8, u64),
        /// Advances the clock by some seconds.
        Advance(u64),
        SetClock(u64),
        /// Purges old reports.
        Purge,
        /// Queries the sums of this many buckets.
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
        fn sums_cover_the_reports_that_are_not_expired(
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
                    // A query comes before the clock goes back, so that nothing is purged by a time
                    // that the view never had.
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
