//! Ranges of client hashes that are not proven yet, and the query about them.

use std::collections::BTreeSet;

use prost_types::Timestamp;

use crate::proto::{self, DigestRequest};
use crate::queries::hash_range::HashRange;

/// Level of the ranges of the first round.
const FIRST_LEVEL: u32 = 12;

/// Deepest level at which one query may divide all hashes: as many buckets as `Digest` permits.
const MAX_WHOLE_LEVEL: u32 = 16;

/// Maximum number of ranges that a query lists: what `Digest` and `ListClients` permit.
pub(super) const MAX_LISTED_RANGES: usize = 1024;

/// Maximum number of bits by which a round splits ranges.
const MAX_SPLIT_BITS: u32 = 4;

/// Deepest level: far beyond the level at which any two clients share a range.
const MAX_LEVEL: u32 = 48;

/// A range that is not proven yet, and the maximum number of clients that a server had in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenRange {
    pub(super) range: HashRange,
    pub(super) clients: u64,
}

/// One query: digests of the open parts of some ranges, and of other parts if it covers all hashes.
/// A server computes it by one scan, whatever the number of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DigestQuery {
    ranges: Vec<HashRange>,
    bits: u32,
    open: BTreeSet<HashRange>,
}

impl DigestQuery {
    /// Returns the query of the first round: all hashes.
    pub(super) fn first() -> Self {
        Self {
            ranges: vec![HashRange::ALL],
            bits: FIRST_LEVEL,
            open: HashRange::ALL.parts(FIRST_LEVEL).collect(),
        }
    }

    /// Returns the query of the next round, about open ranges of one level, in order. Splits the
    /// ranges if one of them has several clients and the parts are not too many.
    pub(super) fn next(open: &[OpenRange]) -> Self {
        let level = open.first().map_or(0, |open| open.range.level());
        let bits = split_bits(open, level);
        let open_parts = open.iter().flat_map(|open| open.range.parts(bits));
        let open_parts = open_parts.collect();
        if open.len() <= MAX_LISTED_RANGES {
            Self {
                ranges: open.iter().map(|open| open.range).collect(),
                bits,
                open: open_parts,
            }
        } else {
            Self {
                ranges: vec![HashRange::ALL],
                bits: level + bits,
                open: open_parts,
            }
        }
    }

    /// The message to servers.
    pub(super) fn request(&self, as_of: Option<Timestamp>) -> DigestRequest {
        DigestRequest {
            ranges: self.ranges.iter().map(message).collect(),
            buckets: 1 << self.bits,
            as_of,
        }
    }

    /// The buckets of the answer, each with true if it is open.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (HashRange, bool)> {
        let parts = self.ranges.iter().flat_map(|range| range.parts(self.bits));
        parts.map(|part| (part, self.open.contains(&part)))
    }
}

/// Returns the message of a range.
pub(super) fn message(range: &HashRange) -> proto::HashRange {
    proto::HashRange {
        first: range.first(),
        level: range.level(),
    }
}

/// Returns the number of bits by which the next query splits these ranges.
fn split_bits(open: &[OpenRange], level: u32) -> u32 {
    let clients = open.iter().map(|open| open.clients).max().unwrap_or(0);
    let wanted = u64::BITS - clients.saturating_sub(1).leading_zeros();
    // All parts may stay open, and must then fit into one query.
    let fits = |bits: &u32| {
        let deepest = level + bits;
        deepest <= MAX_WHOLE_LEVEL
            || deepest <= MAX_LEVEL && open.len() << bits <= MAX_LISTED_RANGES
    };
    let mut splits = (0..=wanted.min(MAX_SPLIT_BITS)).rev();
    splits.find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(first: u64, level: u32, clients: u64) -> OpenRange {
        let range = HashRange::new(first, level).unwrap();
        OpenRange { range, clients }
    }

    /// All ranges of a level with this number of clients in each.
    fn all(level: u32, clients: u64) -> Vec<OpenRange> {
        let parts = HashRange::ALL.parts(level);
        parts.map(|range| OpenRange { range, clients }).collect()
    }

    fn open_parts(query: &DigestQuery) -> Vec<HashRange> {
        let open = query.buckets().filter(|bucket| bucket.1);
        open.map(|(part, _)| part).collect()
    }

    #[test]
    fn the_first_query_covers_all_hashes() {
        let query = DigestQuery::first();
        assert_eq!(query.buckets().count(), 4096);
        assert!(query.buckets().all(|(_, is_open)| is_open));
        let request = query.request(None);
        assert_eq!((request.ranges.len(), request.buckets), (1, 4096));
    }

    #[test]
    fn every_open_range_is_queried_by_one_query_that_servers_accept() {
        for (level, clients) in [(12, 1), (12, 24), (12, 1_000_000), (16, 0), (16, 9)] {
            let all = all(level, clients);
            for step in [1, 2, 3, 50, 1000, 4095] {
                let open: Vec<OpenRange> = all.iter().step_by(step).copied().collect();
                let query = DigestQuery::next(&open);
                let parts = open_parts(&query);
                assert!(parts.is_sorted());
                let bits = parts[0].level() - level;
                let expected = open.iter().flat_map(|open| open.range.parts(bits));
                assert!(parts.iter().copied().eq(expected));
                assert!(query.ranges.len() <= MAX_LISTED_RANGES);
                assert!(query.buckets().count() <= 1 << MAX_WHOLE_LEVEL);
                // So do its parts, if all of them stay open.
                let fit = parts.len() <= MAX_LISTED_RANGES || parts[0].level() <= MAX_WHOLE_LEVEL;
                assert!(fit, "{level} {clients} {step}");
            }
        }
    }

    #[test]
    fn ranges_with_several_clients_are_split_and_those_with_one_are_not() {
        let request = |clients| DigestQuery::next(&[open(1 << 52, 12, clients)]).request(None);
        let buckets = [0, 1, 2, 24].map(|clients| request(clients).buckets);
        assert_eq!(buckets, [1, 1, 2, 16]);
        let range = request(24).ranges[0];
        assert_eq!((range.first, range.level), (1 << 52, 12));
        let one_of_two = [open(0, 20, 1), open(1 << 44, 20, 3)];
        assert_eq!(DigestQuery::next(&one_of_two).request(None).buckets, 4);
        let deepest = open(7 << 16, MAX_LEVEL, 1000);
        assert_eq!(DigestQuery::next(&[deepest]).request(None).buckets, 1);
    }
}
