//! Ranges of client hashes, and which of them to ask about together.

use std::collections::BTreeSet;

use crate::proto::DigestRequest;

/// Most buckets of one question: 2^12, as the proto permits.
const MOST_BITS: u32 = 12;

/// Bits by which a round parts ranges, at most.
const STEP: u32 = 4;

/// Deepest level: far past the last one at which two of any number of clients
/// share a range.
const DEEPEST: u32 = 48;

/// What one question costs beside its buckets, in buckets.
const QUESTION: u64 = 256;

/// Most that a round may cost, in buckets: about 5 MB from each server.
const MOST: u64 = 1 << 17;

/// The hashes that begin with the same `level` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) first: u64,
    level: u32,
}

impl Range {
    /// Every hash there is.
    pub(super) const ALL: Self = Self { first: 0, level: 0 };

    /// The greatest hash in it.
    pub(super) fn last(self) -> u64 {
        self.first | u64::MAX.checked_shr(self.level).unwrap_or(0)
    }

    /// The range at a level above that it is part of.
    fn above(self, level: u32) -> Self {
        let kept = !u64::MAX.checked_shr(level).unwrap_or(0);
        let first = self.first & kept;
        Self { first, level }
    }

    /// Its parts at a level below, in order.
    pub(super) fn parts(self, level: u32) -> impl Iterator<Item = Self> {
        let count = 1u64 << (level - self.level);
        let size = 64 - level;
        (0..count).map(move |i| Self {
            // A level of 0 has one part only, which begins where it does.
            first: self.first | i.checked_shl(size).unwrap_or(0),
            level,
        })
    }
}

/// A range that was not seen equal yet, and the most clients that a server had
/// in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) range: Range,
    pub(super) clients: u64,
}

/// One question: sums over the parts of a range at a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeQuery {
    range: Range,
    level: u32,
    /// Which of the parts are open.
    open: BTreeSet<Range>,
}

impl RangeQuery {
    /// As a server takes it.
    pub(super) fn request(&self) -> DigestRequest {
        DigestRequest {
            first_hash: self.range.first,
            last_hash: self.range.last(),
            buckets: 1 << (self.level - self.range.level),
        }
    }

    /// The buckets of the answer, and which of them are still open.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (Range, bool)> {
        let is_open = |part| (part, self.open.contains(&part));
        self.range.parts(self.level).map(is_open)
    }
}

/// The first question: about everything.
pub(super) fn first() -> Vec<RangeQuery> {
    vec![RangeQuery {
        range: Range::ALL,
        level: MOST_BITS,
        open: Range::ALL.parts(MOST_BITS).collect(),
    }]
}

/// The questions of the next round, about ranges of one level. They part these
/// as long as several clients are in each, and a round does not cost too much;
/// and ask about neighbours together where that is cheaper.
pub(super) fn plan(open: &[Open]) -> Vec<RangeQuery> {
    let Some(level) = open.first().map(|open| open.range.level) else {
        return Vec::new();
    };
    let clients: u64 = open.iter().map(|open| open.clients).sum();
    let each = clients / open.len() as u64;
    let bits = u64::BITS - each.saturating_sub(1).leading_zeros();
    let deepest = (level + bits.min(STEP)).min(DEEPEST.max(level));
    let plan = |to| cheapest(open, level, to);
    let mut parted = (level + 1..=deepest).rev().map(plan);
    let (_, above, to) = parted
        .find(|&(cost, ..)| cost <= MOST)
        .unwrap_or_else(|| plan(level));
    questions(open, above, to)
}

/// The cheapest way to ask about the parts at level `to` of ranges at level
/// `from`: its cost, the level of the questions' ranges, and `to`.
fn cheapest(open: &[Open], from: u32, to: u32) -> (u64, u32, u32) {
    let levels = to.saturating_sub(MOST_BITS)..=from;
    let cost = |above: u32| {
        // They are in order, so those that share a range stand together.
        let firsts = open.iter().map(|open| open.range.above(above).first);
        let mut last = None;
        let questions = firsts
            .filter(|&first| last.replace(first) != Some(first))
            .count();
        questions as u64 * (QUESTION + (1 << (to - above)))
    };
    let cheapest = levels.map(|above| (cost(above), above)).min();
    let (cost, above) = cheapest.unwrap_or((u64::MAX, from));
    (cost, above, to)
}

fn questions(open: &[Open], above: u32, level: u32) -> Vec<RangeQuery> {
    let mut questions: Vec<RangeQuery> = Vec::new();
    for open in open {
        let range = open.range.above(above);
        if questions
            .last()
            .is_none_or(|question| question.range != range)
        {
            let open = BTreeSet::new();
            questions.push(RangeQuery { range, level, open });
        }
        if let Some(question) = questions.last_mut() {
            question.open.extend(open.range.parts(level));
        }
    }
    questions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(first: u64, level: u32, clients: u64) -> Open {
        let range = Range { first, level };
        Open { range, clients }
    }

    #[test]
    fn ranges_are_those_of_the_proto() {
        assert_eq!(Range::ALL.last(), u64::MAX);
        let parts: Vec<Range> = Range::ALL.parts(12).collect();
        assert_eq!(parts.len(), 4096);
        for (i, part) in parts.iter().enumerate() {
            // first + floor(i * (last - first + 1) / n)
            let first = (i as u128 * (1u128 << 64) / 4096) as u64;
            assert_eq!(part.first, first);
            assert_eq!(part.above(0), Range::ALL);
            let next = parts.get(i + 1).map_or(0, |next| next.first);
            assert_eq!(part.last().wrapping_add(1), next);
        }
        let inner: Vec<Range> = parts[4095].parts(16).collect();
        assert_eq!(
            (inner[0].first, inner[15].last()),
            (parts[4095].first, u64::MAX)
        );
        assert_eq!(inner[7].above(12), parts[4095]);
    }

    #[test]
    fn every_open_range_is_asked_about_once_and_nothing_else_counts() {
        let all: Vec<Range> = Range::ALL.parts(12).collect();
        for step in [1, 2, 3, 50, 1000, 4095] {
            let open: Vec<Open> = all
                .iter()
                .step_by(step)
                .map(|&range| Open { range, clients: 24 })
                .collect();
            let questions = plan(&open);
            let parts: Vec<Range> = questions
                .iter()
                .flat_map(|question| question.buckets().filter(|bucket| bucket.1))
                .map(|(part, _)| part)
                .collect();
            assert!(parts.is_sorted());
            assert_eq!(parts.len() % open.len(), 0);
            let mut back: Vec<Range> = parts.iter().map(|part| part.above(12)).collect();
            back.dedup();
            assert!(back.iter().copied().eq(open.iter().map(|open| open.range)));
            assert!(
                questions
                    .iter()
                    .all(|question| question.request().buckets <= 4096)
            );
        }
    }

    #[test]
    fn ranges_with_several_clients_are_parted_and_those_with_one_are_not() {
        let request = |clients| plan(&[open(1 << 52, 12, clients)])[0].request();
        assert_eq!(request(0).buckets, 1);
        assert_eq!(request(1).buckets, 1);
        assert_eq!(request(2).buckets, 2);
        assert_eq!(request(24).buckets, 16);
        let asked = request(24);
        assert_eq!(asked.first_hash, 1 << 52);
        assert_eq!(asked.last_hash, (2 << 52) - 1);
        assert_eq!(
            plan(&[open(7 << 16, DEEPEST, 1000)])[0].request().buckets,
            1
        );
        assert_eq!(plan(&[]), []);
    }

    #[test]
    fn neighbours_are_asked_about_together_where_that_is_cheaper() {
        let all: Vec<Open> = Range::ALL
            .parts(12)
            .map(|range| Open { range, clients: 1 })
            .collect();
        assert_eq!(plan(&all).len(), 1);
        let pair = [all[0], all[4095]];
        assert_eq!(plan(&pair).len(), 2);
    }

    #[test]
    fn no_round_costs_without_bound() {
        let all: Vec<Open> = Range::ALL
            .parts(12)
            .map(|range| Open {
                range,
                clients: 1_000_000,
            })
            .collect();
        let questions = plan(&all);
        let buckets: u64 = questions
            .iter()
            .map(|q| u64::from(q.request().buckets))
            .sum();
        assert!(buckets <= MOST, "{buckets}");
        assert!(questions.len() < 64, "{}", questions.len());
    }
}
