//! Sums over the reports of a server. Equal states have equal sums, whatever changes led to them.
//!
//! Each client's newest report is represented by a fixed hash of its AT line. A digest is the sum
//! of these hashes in each of some ranges of the clients' hashes, computed by one scan. Two servers
//! that differ find the difference by digests of ever narrower ranges. The hashes are not
//! cryptographic: the sums detect errors, but not a server that lies.
//!
//! Reports change during a scan, so a sum may contain one client's report from before another
//! client's last change and a third one's from after it: a state that never existed. A change
//! always raises the record's sequence number above all earlier ones. If there was any during the
//! scan, a second scan marks the sums of the records whose numbers are greater than the last one
//! before the first scan. All other sums are of a state that existed, from the beginning of the
//! first scan to its end.

use twox_hash::XxHash3_128;

use crate::line_protocol::reply;
use crate::model::timestamp::UnixNanos;
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

use super::hash_range::{HashRange, HashRanges, client_hash};
use super::scan_visible;

/// Maximum number of buckets of one digest.
pub const MAX_BUCKETS: usize = 1 << 16;

/// Some ranges of hashes, each divided into the same number of parts.
///
/// Invariants: there are at most [`MAX_BUCKETS`] parts, and each has at least one hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    ranges: HashRanges,
    bits: u32,
}

impl Buckets {
    /// Divides each of the ranges into `parts` parts. Returns `None` if `parts` is no power of two,
    /// if a part would have no hash, or if there would be more than [`MAX_BUCKETS`].
    pub fn new(ranges: HashRanges, parts: usize) -> Option<Self> {
        let bits = parts.is_power_of_two().then(|| parts.ilog2())?;
        let buckets = ranges.as_slice().len().checked_mul(parts)?;
        let have_hashes = ranges
            .as_slice()
            .iter()
            .all(|range| range.level() + bits <= u64::BITS);
        (buckets <= MAX_BUCKETS && have_hashes).then_some(Self { ranges, bits })
    }

    /// Returns the range of each bucket, in order.
    pub fn ranges(&self) -> impl Iterator<Item = HashRange> {
        let ranges = self.ranges.as_slice().iter();
        ranges.flat_map(|range| range.parts(self.bits))
    }

    /// Returns the number of buckets.
    pub fn count(&self) -> usize {
        self.ranges.as_slice().len() << self.bits
    }

    fn find(&self, client: &str) -> Option<usize> {
        let hash = client_hash(client);
        let at = self.ranges.find(hash)?;
        let part = self.ranges.as_slice()[at].part_of(hash, self.bits);
        Some((at << self.bits) + part)
    }
}

/// The reports of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketSum {
    /// Number of reports.
    pub clients: u64,
    /// Sum of the hashes of the reports: XXH3-128 with seed 0 of each AT line without its line end,
    /// modulo 2^128.
    pub hashes: u128,
    /// Whether a report of the bucket changed during the scan. Then the sum may be of no state that
    /// existed.
    pub is_unsettled: bool,
}

/// The sums of some buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// One for each bucket, in order.
    pub sums: Vec<BucketSum>,
    /// Sequence number through which all changes are in the sums of the settled buckets.
    pub sequence: u64,
}

/// Sums up the reports that are not expired at `as_of`. `between` is called while no lock is held.
///
/// A million reports take 0.07 s of CPU time; the digest takes 48 bytes for each bucket.
pub fn scan(
    replica: &Replica,
    as_of: UnixNanos,
    buckets: &Buckets,
    mut between: impl FnMut(),
) -> Digest {
    let store = replica.store();
    // A change with a number up to this one is visible to every scan that begins now: a shard stays
    // locked from before its number is drawn until its record is written.
    let sequence = store.last();
    let mut sums = vec![BucketSum::default(); buckets.count()];
    let mut line = Vec::new();
    let add = |stored: &StoredReport<'_>| {
        if let Some(at) = buckets.find(stored.report.client.text()) {
            line.clear();
            reply::at(&mut line, &stored.report);
            let sum = &mut sums[at];
            sum.clients += 1;
            let hash = XxHash3_128::oneshot(line.strip_suffix(b"\n").unwrap_or(&line));
            sum.hashes = sum.hashes.wrapping_add(hash);
        }
    };
    scan_visible(replica, as_of, add, &mut between);
    if store.last() > sequence {
        let mark = |stored: &StoredReport<'_>| {
            if stored.number > sequence
                && let Some(at) = buckets.find(stored.report.client.text())
            {
                sums[at].is_unsettled = true;
            }
        };
        store.scan(mark, &mut between);
    }
    Digest { sums, sequence }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::queries::samples::TestServer;

    /// Divides all hashes into this many buckets.
    pub(in super::super) fn all_hashes(buckets: usize) -> Buckets {
        Buckets::new(HashRange::ALL.into(), buckets).unwrap()
    }

    fn some_hashes(ranges: &[(u64, u32)], parts: usize) -> Buckets {
        let range = |&(first, level): &(u64, u32)| HashRange::new(first, level).unwrap();
        let ranges = ranges.iter().map(range).collect();
        Buckets::new(HashRanges::new(ranges).unwrap(), parts).unwrap()
    }

    /// Computes the sums of the reports that are not expired at `as_of`, from their AT lines.
    pub(in super::super) fn expected(
        server: &TestServer,
        as_of: UnixNanos,
        buckets: &Buckets,
    ) -> Vec<BucketSum> {
        let mut sums = vec![BucketSum::default(); buckets.count()];
        let reports = server.visible(as_of, |report| {
            let mut line = Vec::new();
            reply::at(&mut line, report);
            let hash = XxHash3_128::oneshot(line.trim_ascii_end());
            (client_hash(report.client.text()), hash)
        });
        for (client, report) in reports {
            let is_in = |range: HashRange| (range.first()..=range.last()).contains(&client);
            if let Some(at) = buckets.ranges().position(is_in) {
                sums[at].clients += 1;
                sums[at].hashes = sums[at].hashes.wrapping_add(report);
            }
        }
        sums
    }

    #[test]
    fn the_sum_is_the_sum_of_the_hashes_of_the_at_lines() {
        // A value of the reference implementation (python-xxhash).
        assert_eq!(
            XxHash3_128::oneshot(b""),
            0x99aa_06d3_0147_98d8_6001_c324_468d_497f
        );
        let server = TestServer::new(None);
        server.report("kiwi", "+1-2", 5);
        server.report("plum", "+3-4", 6);
        let line = |text: &[u8]| XxHash3_128::oneshot(text);
        let kiwi = line(b"AT Riley +0.000000000 kiwi +1-2 5");
        let plum = line(b"AT Riley +0.000000000 plum +3-4 6");
        let want = BucketSum {
            clients: 2,
            hashes: kiwi.wrapping_add(plum),
            is_unsettled: false,
        };
        let digest = scan(&server.replica, server.now, &all_hashes(1), || ());
        assert_eq!((digest.sums, digest.sequence), (vec![want], 2));
    }

    #[test]
    fn buckets_divide_each_range_into_equal_parts() {
        let bounds: Vec<_> = some_hashes(&[(8, 61), (1 << 60, 4)], 4)
            .ranges()
            .map(|range| (range.first(), range.last()))
            .collect();
        assert_eq!(bounds[..4], [(8, 9), (10, 11), (12, 13), (14, 15)]);
        assert_eq!(bounds[4], (4 << 58, (5 << 58) - 1));
        assert_eq!(bounds[7], (7 << 58, (8 << 58) - 1));
        let all = HashRanges::from(HashRange::ALL);
        assert_eq!(Buckets::new(all.clone(), 0), None);
        assert_eq!(Buckets::new(all.clone(), 3), None);
        assert_eq!(Buckets::new(all.clone(), 2 * MAX_BUCKETS), None);
        assert!(Buckets::new(all, MAX_BUCKETS).is_some());
        let one: HashRanges = HashRange::new(7, 64).unwrap().into();
        assert!(Buckets::new(one.clone(), 1).is_some());
        assert_eq!(Buckets::new(one, 2), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn sums_cover_the_reports_that_are_not_expired(
            expire_after in prop::option::of(0u64..20),
            reports in prop::collection::vec((0u8..30, 0u8..3, 0u64..40), 0..100),
            purge_at in prop::option::of(0u64..30),
            as_of in 30u64..60,
        ) {
            let mut server = TestServer::new(expire_after);
            for (client, position, time) in reports {
                server.report(&format!("c{client}"), &format!("+{position}-1"), time);
            }
            if let Some(seconds) = purge_at {
                server.set_now(seconds);
                server.purge();
            }
            server.set_now(as_of);
            for buckets in [
                all_hashes(1),
                all_hashes(64),
                some_hashes(&[(1 << 62, 2), (4 << 61, 3), (14 << 60, 4)], 8),
            ] {
                let digest = scan(&server.replica, server.now, &buckets, || ());
                prop_assert_eq!(digest.sums, expected(&server, server.now, &buckets));
                prop_assert_eq!(digest.sequence, server.replica.store().last());
            }
        }
    }
}
