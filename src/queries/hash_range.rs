//! Hashes of client IDs, and ranges of them: the nodes of a binary tree, as in a Merkle tree.

use twox_hash::XxHash3_64;

/// Returns the hash by which clients are divided into ranges: XXH3-64 of the ID, with seed 0.
pub fn client_hash(client: &str) -> u64 {
    XxHash3_64::oneshot(client.as_bytes())
}

/// The hashes that begin with the same bits.
///
/// Invariants: `level` is at most 64; only the first `level` bits of `first` may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashRange {
    first: u64,
    level: u32,
}

impl HashRange {
    /// All hashes.
    pub const ALL: Self = Self { first: 0, level: 0 };

    /// Creates the range of the hashes that have the first `level` bits in common with `first`, the
    /// lowest of them. Returns `None` if `level` is greater than 64, or if a further bit of `first`
    /// is set.
    pub fn new(first: u64, level: u32) -> Option<Self> {
        let range = Self { first, level };
        (level <= u64::BITS && first & range.further_bits() == 0).then_some(range)
    }

    /// Returns the lowest hash.
    pub fn first(self) -> u64 {
        self.first
    }

    /// Returns the highest hash.
    pub fn last(self) -> u64 {
        self.first | self.further_bits()
    }

    /// Returns the number of leading bits that all hashes of the range have in common.
    pub fn level(self) -> u32 {
        self.level
    }

    /// Returns the parts, in order, whose level is greater by `bits`.
    ///
    /// # Panics
    ///
    /// Panics if that level is greater than 64.
    pub fn parts(self, bits: u32) -> impl Iterator<Item = Self> {
        let level = self.level + bits;
        assert!(level <= u64::BITS, "there are no parts at level {level}");
        (0..1u128 << bits).map(move |part| Self {
            // The part's number fills the bits between the two levels.
            first: self.first | (part << (u64::BITS - level)) as u64,
            level,
        })
    }

    /// Returns the number of the part that contains `hash`, which is in the range, among its parts
    /// whose level is greater by `bits`.
    pub(super) fn part_of(self, hash: u64, bits: u32) -> usize {
        let rest = u64::BITS - self.level - bits;
        (hash & self.further_bits()).checked_shr(rest).unwrap_or(0) as usize
    }

    fn further_bits(self) -> u64 {
        u64::MAX.checked_shr(self.level).unwrap_or(0)
    }
}

/// Some ranges.
///
/// Invariants: they are in order and have no hash in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashRanges(Vec<HashRange>);

impl HashRanges {
    /// Creates the set of these ranges. Returns `None` if they are not in order, or if two of them
    /// have a hash in common.
    pub fn new(ranges: Vec<HashRange>) -> Option<Self> {
        let is_before = |one: &HashRange, other: &HashRange| one.last() < other.first();
        ranges.is_sorted_by(is_before).then_some(Self(ranges))
    }

    /// Returns the ranges, in order.
    pub fn as_slice(&self) -> &[HashRange] {
        &self.0
    }

    /// Returns the index of the range that contains a hash.
    pub fn find(&self, hash: u64) -> Option<usize> {
        let after = self.0.partition_point(|range| range.first <= hash);
        let at = after.checked_sub(1)?;
        (hash <= self.0[at].last()).then_some(at)
    }

    /// Returns whether every hash is in one of the ranges. May return `false` if the set has more
    /// than one range.
    pub(super) fn is_everything(&self) -> bool {
        self.0 == [HashRange::ALL]
    }
}

impl From<HashRange> for HashRanges {
    fn from(range: HashRange) -> Self {
        Self(vec![range])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, level: u32) -> HashRange {
        HashRange::new(first, level).unwrap()
    }

    #[test]
    fn hashes_equal_the_reference_implementation() {
        // A value of the reference implementation (python-xxhash).
        assert_eq!(client_hash(""), 0x2d06_8005_38d3_94c2);
    }

    #[test]
    fn a_range_has_the_hashes_with_its_leading_bits() {
        assert_eq!(HashRange::ALL.last(), u64::MAX);
        assert_eq!(range(5 << 60, 4).last(), (6 << 60) - 1);
        assert_eq!(range(7, 64).last(), 7);
        assert_eq!(HashRange::new(1, 63), None);
        assert_eq!(HashRange::new(0, 65), None);
    }

    #[test]
    fn parts_divide_a_range_without_gaps() {
        let sizes = [
            (HashRange::ALL, 12),
            (range(3 << 62, 2), 4),
            (range(8, 61), 3),
        ];
        for (whole, bits) in sizes {
            let parts: Vec<_> = whole.parts(bits).collect();
            assert_eq!(parts.len(), 1 << bits);
            assert_eq!(parts[0].first(), whole.first());
            assert_eq!(parts.last().unwrap().last(), whole.last());
            for (number, part) in parts.iter().enumerate() {
                let next = parts.get(number + 1);
                assert!(next.is_none_or(|next| next.first() == part.last() + 1));
                for hash in [part.first(), part.last()] {
                    assert_eq!(whole.part_of(hash, bits), number);
                }
            }
        }
        assert!(HashRange::ALL.parts(0).eq([HashRange::ALL]));
        assert_eq!(HashRange::ALL.part_of(u64::MAX, 0), 0);
        assert!(range(9, 64).parts(0).eq([range(9, 64)]));
    }

    #[test]
    fn a_hash_is_found_in_the_range_that_contains_it() {
        let ranges = vec![range(1 << 60, 4), range(4 << 60, 3), range(u64::MAX, 64)];
        let ranges = HashRanges::new(ranges).unwrap();
        let found = [0, 1 << 60, 2 << 60, 5 << 60, 6 << 60, u64::MAX].map(|it| ranges.find(it));
        assert_eq!(found, [None, Some(0), None, Some(1), None, Some(2)]);
        assert_eq!(HashRanges::new(Vec::new()).unwrap().find(0), None);
        for wrong in [
            [range(1 << 60, 4), range(0, 4)],
            [HashRange::ALL, range(7, 64)],
        ] {
            assert_eq!(HashRanges::new(wrong.to_vec()), None);
        }
    }
}
