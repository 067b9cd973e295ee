//! Version vectors: what a server has of the reports that clients gave to each server of the herd.
//!
//! A vector has a number for each incarnation of a server, its *origin*. It claims: of every report
//! that a client gave to that incarnation, with a [tag](super::tag) up to this number, the server
//! has the report or something newer. Version vectors are those of Parker et al., "Detection of
//! Mutual Inconsistency in Distributed Systems" (1983); servers that exchange them to find out what
//! the other lacks are those of van Renesse et al., "Efficient Reconciliation and Flow Control for
//! Anti-Entropy Protocols" (2008).
//!
//! # How a vector grows
//!
//! A server has all that its own clients gave to it. A push carries the vector of its sender as of
//! a moment at which the sender read the end of its feed, if the push reaches that end. Then the
//! receiver has all that the sender had at that moment, so it adopts the vector when it has merged
//! the push, for each origin the greater number.
//!
//! A push that ends before the end of the feed carries no vector, whatever it covers: a report may
//! have been replaced by one after the end of the push, so that the receiver has neither. For the
//! same reason a vector never covers only some of the origins of a server: the replacement of a
//! report may have another origin.
//!
//! # What a vector permits
//!
//! A link skips the reports that its neighbour's last known vector covers. A lost or old vector,
//! or one without some origin, costs duplicates and never a report. It is bound to the incarnation
//! that was greeted last.
//!
//! Where two processes have used one incarnation, as after the restore of a machine image, one tag
//! may stand for two reports, and a push to one process may have reached the other. The server that
//! finds out removes its own tags and begins with an empty vector. A third server may still skip a
//! report of one process by the number of the other. Likewise, a server that has lost reports by a
//! fault still claims them. [Anti-entropy] finds both. A report that is news to a server although
//! its own vector covers the tag is kept without the tag.
//!
//! [Anti-entropy]: super::anti_entropy

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Incarnation;
use super::tag::{OriginIndex, Tag};

/// Maximum number of entries in one message. It is part of the protocol: a receiver rejects more.
pub const MAX_VECTOR_ENTRIES: usize = 1024;

/// Maximum number of incarnations in a vector, in the time that a process runs. Reports of further
/// ones have no tag.
const MAX_ORIGINS: usize = u16::MAX as usize;

/// An entry of a vector as servers exchange it, or the tag of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginNumber {
    /// The incarnation to which clients gave the reports.
    pub origin: Incarnation,
    /// The sequence number there.
    pub number: u64,
}

/// The vector of a server.
///
/// Invariants: an incarnation keeps its index; a number never decreases, except that all are
/// [forgotten](Self::forget) together.
#[derive(Debug, Default)]
pub(super) struct VersionVector {
    indexes: BTreeMap<u64, OriginIndex>,
    entries: Vec<Entry>,
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    origin: Incarnation,
    number: u64,
    /// The number of changes of the vector up to the last one of this entry.
    changed: u64,
}

impl VersionVector {
    /// Returns the index of an incarnation, which gets one if it has none yet: 0 if there is no
    /// room.
    pub(super) fn index(&mut self, origin: Incarnation) -> OriginIndex {
        if let Some(index) = self.indexes.get(&origin.get()) {
            return *index;
        }
        if self.entries.len() == MAX_ORIGINS {
            return OriginIndex::default();
        }
        self.entries.push(Entry {
            origin,
            number: 0,
            changed: 0,
        });
        // The first index is 1, and the last one fits.
        let index = OriginIndex(self.entries.len() as u16);
        self.indexes.insert(origin.get(), index);
        index
    }

    /// Returns the incarnation with an index.
    pub(super) fn origin(&self, index: OriginIndex) -> Option<Incarnation> {
        self.entry(index).map(|entry| entry.origin)
    }

    /// Returns the number of an origin.
    pub(super) fn number(&self, index: OriginIndex) -> u64 {
        self.entry(index).map_or(0, |entry| entry.number)
    }

    /// Raises the number of an origin.
    pub(super) fn raise(&mut self, index: OriginIndex, number: u64) {
        let at = usize::from(index.0).wrapping_sub(1);
        if let Some(entry) = self.entries.get_mut(at)
            && entry.number < number
        {
            self.changes += 1;
            entry.number = number;
            entry.changed = self.changes;
        }
    }

    /// Removes all claims.
    pub(super) fn forget(&mut self) {
        for entry in &mut self.entries {
            (entry.number, entry.changed) = (0, 0);
        }
    }

    /// Returns the number of changes so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns the entries that have changed since there were `since` changes; the latest if there
    /// are more than one message may have.
    pub(super) fn changed_since(&self, since: u64) -> Vec<OriginNumber> {
        if since == self.changes {
            return Vec::new();
        }
        let changed = self.entries.iter().filter(|entry| entry.changed > since);
        let mut changed: Vec<&Entry> = changed.collect();
        // One entry is left for the own incarnation.
        if changed.len() >= MAX_VECTOR_ENTRIES {
            changed.sort_unstable_by_key(|entry| Reverse(entry.changed));
            changed.truncate(MAX_VECTOR_ENTRIES - 1);
        }
        let entry = |entry: &Entry| OriginNumber {
            origin: entry.origin,
            number: entry.number,
        };
        changed.into_iter().map(entry).collect()
    }

    fn entry(&self, OriginIndex(index): OriginIndex) -> Option<&Entry> {
        self.entries.get(usize::from(index).checked_sub(1)?)
    }
}

/// The vector of a neighbour, as far as this server knows it: the number of each origin, by its
/// index in the vector of this server.
#[derive(Debug, Default)]
pub(super) struct KnownVector(Vec<u64>);

impl KnownVector {
    /// Raises the number of an origin.
    pub(super) fn raise(&mut self, OriginIndex(index): OriginIndex, number: u64) {
        let at = usize::from(index);
        if at == 0 {
            return;
        }
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] = self.0[at].max(number);
    }

    /// Returns whether the neighbour has the report with this tag, or something newer.
    pub(super) fn covers(&self, tag: Tag) -> bool {
        let known = self.0.get(usize::from(tag.origin().0));
        tag.is_some() && known.is_some_and(|&number| tag.number() <= number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(number: u64) -> Incarnation {
        Incarnation::new(number).unwrap()
    }

    #[test]
    fn only_what_has_changed_is_told_again() {
        let mut vector = VersionVector::default();
        let [one, two] = [8, 9].map(|it| vector.index(incarnation(it)));
        assert_eq!(vector.index(incarnation(8)), one);
        assert_eq!(vector.origin(two), Some(incarnation(9)));
        vector.raise(one, 5);
        vector.raise(two, 7);
        let before = vector.changes();
        assert_eq!(vector.changed_since(0).len(), 2);
        vector.raise(one, 4);
        assert!(vector.changed_since(before).is_empty(), "never lower");
        vector.raise(one, 6);
        let changed = OriginNumber {
            origin: incarnation(8),
            number: 6,
        };
        assert_eq!(vector.changed_since(before), [changed]);
        assert_eq!((vector.number(one), vector.number(two)), (6, 7));
        vector.forget();
        assert!(vector.changed_since(0).is_empty());
        assert_eq!(vector.index(incarnation(9)), two);
    }

    #[test]
    fn the_memory_and_the_messages_are_bounded() {
        let mut vector = VersionVector::default();
        for number in 1..=MAX_ORIGINS as u64 {
            let index = vector.index(incarnation(number));
            assert_eq!(u64::from(index.0), number);
            vector.raise(index, 1);
        }
        let none = vector.index(incarnation(u64::MAX));
        assert_eq!(none, OriginIndex::default());
        vector.raise(none, 5);
        assert_eq!(vector.number(none), 0);
        let told = vector.changed_since(0);
        assert_eq!(told.len(), MAX_VECTOR_ENTRIES - 1);
        assert_eq!(
            told[0].origin,
            incarnation(MAX_ORIGINS as u64),
            "the latest"
        );
    }

    #[test]
    fn a_known_vector_covers_tags_up_to_its_numbers() {
        let mut known = KnownVector::default();
        let tag = |origin, number| Tag::new(OriginIndex(origin), number);
        assert!(!known.covers(tag(3, 1)));
        known.raise(OriginIndex(3), 7);
        known.raise(OriginIndex(3), 5);
        known.raise(OriginIndex(0), 9);
        assert!(known.covers(tag(3, 7)) && !known.covers(tag(3, 8)));
        assert!(!known.covers(tag(2, 1)) && !known.covers(tag(4, 1)));
        assert!(!known.covers(Tag::default()));
    }
}
