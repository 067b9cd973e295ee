//! Ranges of client hashes, and which of them to query together.

use std::collections::BTreeSet;

use crate::proto::DigestRequest;

/// Maximum number of buckets of one query, as a power of two: what `Digest` permits.
const MAX_BUCKET_BITS: u32 = 12;

/// Maximum number of bits by which a round splits ranges.
const MAX_SPLIT_BITS: u32 = 4;

/// Deepest level: far beyond the level at which any two clients share a range.
const MAX_LEVEL: u32 = 48;

/// Cost of one query besides its buckets, in buckets.
const QUERY_COST: u64 = 256;

/// Maximum cost of a round, in buckets: about 5 MB from each server.
const MAX_ROUND_COST: u64 = 1 << 17;

/// The hashes that begin with the same `level` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HashRange {
    pub(super) first: u64,
    level: u32,
}

impl HashRange {
    /// All hashes.
    pub(super) const ALL: Self = Self { first: 0, level: 0 };

    /// The greatest hash in it.
    pub(super) fn last(self) -> u64 {
        self.first | u64::MAX.checked_shr(self.level).unwrap_or(0)
    }

    /// The range at a higher level that contains it.
    fn above(self, level: u32) -> Self {
        let kept = !u64::MAX.checked_shr(level).unwrap_or(0);
        let first = self.first & kept;
        Self { first, level }
    }

    /// Its parts at a lower level, in order.
    pub(super) fn parts(self, level: u32) -> impl Iterator<Item = Self> {
        let count = 1u64 << (level - self.level);
        let size = 64 - level;
        (0..count).map(move |i| Self {
            // Level 0 has one part, which begins at 0.
            first: self.first | i.checked_shl(size).unwrap_or(0),
            level,
        })
    }
}

/// A range that was not seen equal yet, and the maximum number of clients that a server
/// had in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenRange {
    pub(super) range: HashRange,
    pub(super) clients: u64,
}

/// One query: sums over the parts of a range at a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeQuery {
    range: HashRange,
    level: u32,
    /// The parts that are open.
    open: BTreeSet<HashRange>,
}

impl RangeQuery {
    /// The message to servers.
    pub(super) fn request(&self) -> DigestRequest {
        DigestRequest {
            first_hash: self.range.first,
            last_hash: self.range.last(),
            buckets: 1 << (self.level - self.range.level),
        }
    }

    /// The buckets of the answer, each with true if it is open.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (HashRange, bool)> {
        let is_open = |part| (part, self.open.contains(&part));
        self.range.parts(self.level).map(is_open)
    }
}

/// Returns the query of the first round: all hashes.
pub(super) fn first() -> Vec<RangeQuery> {
    vec![RangeQuery {
        range: HashRange::ALL,
        level: MAX_BUCKET_BITS,
        open: HashRange::ALL.parts(MAX_BUCKET_BITS).collect(),
    }]
}

/// Returns the queries of the next round, about ranges of one level. Splits the ranges
/// while several clients are in each and the round is not too expensive, and joins
/// adjacent ranges in one query where that is cheaper.
pub(super) fn plan(open: &[OpenRange]) -> Vec<RangeQuery> {
    let Some(level) = open.first().map(|open| open.range.level) else {
        return Vec::new();
    };
    let clients: u64 = open.iter().map(|open| open.clients).sum();
    let each = clients / open.len() as u64;
    let bits = u64::BITS - each.saturating_sub(1).leading_zeros();
    let deepest = (level + bits.min(MAX_SPLIT_BITS)).min(MAX_LEVEL.max(level));
    let plan = |to| cheapest(open, level, to);
    let mut splits = (level + 1..=deepest).rev().map(plan);
    let (_, above, to) = splits
        .find(|&(cost, ..)| cost <= MAX_ROUND_COST)
        .unwrap_or_else(|| plan(level));
    queries(open, above, to)
}

/// Returns the cheapest way to query the parts at level `to` of ranges at level `from`:
/// its cost, the level of the ranges of its queries, and `to`.
fn cheapest(open: &[OpenRange], from: u32, to: u32) -> (u64, u32, u32) {
    let levels = to.saturating_sub(MAX_BUCKET_BITS)..=from;
    let cost = |above: u32| {
        // They are in order, so those that share a range are adjacent.
        let firsts = open.iter().map(|open| open.range.above(above).first);
        let mut last = None;
        let queries = firsts
            .filter(|&first| last.replace(first) != Some(first))
            .count();
        queries as u64 * (QUERY_COST + (1 << (to - above)))
    };
    let cheapest = levels.map(|above| (cost(above), above)).min();
    let (cost, above) = cheapest.unwrap_or((u64::MAX, from));
    (cost, above, to)
}

fn queries(open: &[OpenRange], above: u32, level: u32) -> Vec<RangeQuery> {
    let mut queries: Vec<RangeQuery> = Vec::new();
    for open in open {
        let range = open.range.above(above);
        if queries.last().is_none_or(|query| query.range != range) {
            let open = BTreeSet::new();
            queries.push(RangeQuery { range, level, open });
        }
        if let Some(query) = queries.last_mut() {
            query.open.extend(open.range.parts(level));
        }
    }
    queries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(first: u64, level: u32, clients: u64) -> OpenRange {
        let range = HashRange { first, level };
        OpenRange { range, clients }
    }

    #[test]
    fn ranges_have_the_bounds_that_the_proto_defines() {
        assert_eq!(HashRange::ALL.last(), u64::MAX);
        let parts: Vec<HashRange> = HashRange::ALL.parts(12).collect();
        assert_eq!(parts.len(), 4096);
        for (i, part) in parts.iter().enumerate() {
            // first + floor(i * (last - first + 1) / n)
            let first = (i as u128 * (1u128 << 64) / 4096) as u64;
            assert_eq!(part.first, first);
            assert_eq!(part.above(0), HashRange::ALL);
            let next = parts.get(i + 1).map_or(0, |next| next.first);
            assert_eq!(part.last().wrapping_add(1), next);
        }
        let inner: Vec<HashRange> = parts[4095].parts(16).collect();
        assert_eq!(
            (inner[0].first, inner[15].last()),
            (parts[4095].first, u64::MAX)
        );
        assert_eq!(inner[7].above(12), parts[4095]);
    }

    #[test]
    fn every_open_range_is_queried_once_and_nothing_else() {
        let all: Vec<HashRange> = HashRange::ALL.parts(12).collect();
        for step in [1, 2, 3, 50, 1000, 4095] {
            let open: Vec<OpenRange> = all
                .iter()
                .step_by(step)
                .map(|&range| OpenRange { range, clients: 24 })
                .collect();
            let queries = plan(&open);
            let parts: Vec<HashRange> = queries
                .iter()
                .flat_map(|query| query.buckets().filter(|bucket| bucket.1))
                .map(|(part, _)| part)
                .collect();
            assert!(parts.is_sorted());
            assert_eq!(parts.len() % open.len(), 0);
            let mut back: Vec<HashRange> = parts.iter().map(|part| part.above(12)).collect();
            back.dedup();
            assert!(back.iter().copied().eq(open.iter().map(|open| open.range)));
            assert!(queries.iter().all(|query| query.request().buckets <= 4096));
        }
    }

    #[test]
    fn ranges_with_several_clients_are_split_and_those_with_one_are_not() {
        let request = |clients| plan(&[open(1 << 52, 12, clients)])[0].request();
        assert_eq!(request(0).buckets, 1);
        assert_eq!(request(1).buckets, 1);
        assert_eq!(request(2).buckets, 2);
        assert_eq!(request(24).buckets, 16);
        let query = request(24);
        assert_eq!(query.first_hash, 1 << 52);
        assert_eq!(query.last_hash, (2 << 52) - 1);
        assert_eq!(
            plan(&[open(7 << 16, MAX_LEVEL, 1000)])[0].request().buckets,
            1
        );
        assert_eq!(plan(&[]), []);
    }

    #[test]
    fn adjacent_ranges_are_queried_together_where_that_is_cheaper() {
        let all: Vec<OpenRange> = HashRange::ALL
            .parts(12)
            .map(|range| OpenRange { range, clients: 1 })
            .collect();
        assert_eq!(plan(&all).len(), 1);
        let pair = [all[0], all[4095]];
        assert_eq!(plan(&pair).len(), 2);
    }

    #[test]
    fn the_cost_of_a_round_is_bounded() {
        let all: Vec<OpenRange> = HashRange::ALL
            .parts(12)
            .map(|range| OpenRange {
                range,
                clients: 1_000_000,
            })
            .collect();
        let queries = plan(&all);
        let buckets: u64 = queries.iter().map(|q| u64::from(q.request().buckets)).sum();
        assert!(buckets <= MAX_ROUND_COST, "{buckets}");
        assert!(queries.len() < 64, "{}", queries.len());
    }
}
