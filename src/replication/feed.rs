//! The change feed: the order in which a store changed.

use std::collections::BTreeMap;

use super::RecordId;

/// Number of sequence numbers in one segment.
const SEGMENT_NUMBERS: u64 = 1024;

/// Maximum number of live entries of a segment that keeps only those.
const MAX_SPARSE_ENTRIES: usize = 64;

/// Value of a dense segment for an entry that left the feed.
const VACANT: u32 = u32::MAX;

/// One change: the record `record` got the sequence number `number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeedEntry {
    pub(super) number: u64,
    pub(super) record: RecordId,
}

/// The changes of a store in order, each record once, at its last change.
///
/// Sequence numbers start at 1 and are assigned without gaps, except while a feed is restored. An
/// entry leaves the feed when its record changes again. Entries are found by number; a reader keeps
/// no reference to one, so it cannot hold a stale one.
///
/// Entries are grouped in segments of [`SEGMENT_NUMBERS`] numbers: an array while many of them are
/// live, a short sorted list when few are left, and nothing when none is. Every operation costs a
/// search among the segments and at most a segment's length, so none ever stops to compact the
/// whole feed.
///
/// Invariants: every segment in `older` has at least one live entry; the newest segment covers
/// `last`; `live` is the number of live entries in all segments.
#[derive(Debug)]
pub(super) struct Feed {
    last: u64,
    live: usize,
    newest: Dense,
    older: BTreeMap<u64, Segment>,
}

#[derive(Debug)]
enum Segment {
    Dense(Dense),
    Sparse(Vec<(u16, u32)>),
}

#[derive(Debug)]
struct Dense {
    records: Box<[u32]>,
    live: usize,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self {
            last: 0,
            live: 0,
            newest: Dense::empty(),
            older: BTreeMap::new(),
        }
    }

    /// Returns the sequence number of the newest change; 0 if nothing has changed yet.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Returns the number of entries.
    pub(super) fn entries(&self) -> usize {
        self.live
    }

    /// Appends a change and returns its sequence number.
    pub(super) fn append(&mut self, record: RecordId) -> u64 {
        self.append_at(record, 0)
    }

    /// Appends a change with the sequence number `number`, or the next one if that is greater.
    pub(super) fn append_at(&mut self, record: RecordId, number: u64) -> u64 {
        self.skip_to(number.max(self.last + 1));
        let (_, offset) = locate(self.last);
        self.newest.records[usize::from(offset)] = record.0;
        self.newest.live += 1;
        self.live += 1;
        self.last
    }

    /// Makes `number` the last sequence number, if it is greater. The numbers that are skipped have
    /// no change.
    pub(super) fn skip_to(&mut self, number: u64) {
        let (before, _) = locate(self.last);
        self.last = self.last.max(number);
        if locate(self.last).0 != before {
            self.close_newest(before);
        }
    }

    /// Removes the change with this sequence number, which must be in the feed.
    pub(super) fn remove(&mut self, number: u64) {
        let (index, offset) = locate(number);
        self.live -= 1;
        if index == locate(self.last).0 {
            self.newest.remove(offset);
            return;
        }
        let Some(segment) = self.older.get_mut(&index) else {
            debug_assert!(false, "change {number} is not in the feed");
            return;
        };
        segment.remove(offset);
        if segment.live() == 0 {
            self.older.remove(&index);
        }
    }

    /// Appends the changes after `after`, up to and including `through`, to `out`, in order; at
    /// most `limit` of them.
    pub(super) fn copy(&self, after: u64, through: u64, limit: usize, out: &mut Vec<FeedEntry>) {
        let mut window = ReadWindow {
            after,
            through: through.min(self.last),
            room: limit,
        };
        if after >= window.through {
            return;
        }
        let segments = locate(after + 1).0..=locate(window.through).0;
        for (&index, segment) in self.older.range(segments) {
            // Without this, a reader that is far from the end would walk over all remaining
            // segments for each of its chunks.
            if window.room == 0 {
                return;
            }
            match segment {
                Segment::Dense(dense) => {
                    window.copy(index, dense.within(window.offsets(index)), out)
                }
                Segment::Sparse(list) => window.copy(index, list.iter().copied(), out),
            }
        }
        let newest = locate(self.last).0;
        window.copy(newest, self.newest.within(window.offsets(newest)), out);
    }

    fn close_newest(&mut self, index: u64) {
        let full = std::mem::replace(&mut self.newest, Dense::empty());
        if full.live > 0 {
            self.older.insert(index, Segment::Dense(full).compacted());
        }
    }
}

impl Segment {
    fn live(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.live,
            Self::Sparse(list) => list.len(),
        }
    }

    fn remove(&mut self, offset: u16) {
        match self {
            Self::Dense(dense) => {
                dense.remove(offset);
                if dense.live <= MAX_SPARSE_ENTRIES {
                    *self = Self::Sparse(dense.entries().collect());
                }
            }
            Self::Sparse(list) => remove_from(list, offset),
        }
    }

    fn compacted(self) -> Self {
        match self {
            Self::Dense(dense) if dense.live <= MAX_SPARSE_ENTRIES => {
                Self::Sparse(dense.entries().collect())
            }
            other => other,
        }
    }
}

fn remove_from(list: &mut Vec<(u16, u32)>, offset: u16) {
    let found = list.binary_search_by_key(&offset, |&(offset, _)| offset);
    debug_assert!(found.is_ok(), "offset {offset} is not in the segment");
    if let Ok(at) = found {
        list.remove(at);
    }
    // Gives memory back when the list has shrunk to half of its capacity.
    if list.len() * 2 <= list.capacity() {
        list.shrink_to_fit();
    }
}

impl Dense {
    fn empty() -> Self {
        Self {
            records: vec![VACANT; SEGMENT_NUMBERS as usize].into(),
            live: 0,
        }
    }

    fn remove(&mut self, offset: u16) {
        let record = &mut self.records[usize::from(offset)];
        debug_assert_ne!(*record, VACANT, "offset {offset} left the segment before");
        *record = VACANT;
        self.live -= 1;
    }

    fn entries(&self) -> impl Iterator<Item = (u16, u32)> {
        self.within((0, u16::MAX))
    }

    /// Returns the entries from offset `first` up to and including `last`. Otherwise a reader at
    /// the end of the feed would walk through a whole segment.
    fn within(&self, (first, last): (u16, u16)) -> impl Iterator<Item = (u16, u32)> {
        let end = (usize::from(last) + 1).min(self.records.len());
        let records = self.records.get(usize::from(first)..end).unwrap_or(&[]);
        let all = (first..).zip(records.iter().copied());
        all.filter(|&(_, record)| record != VACANT)
    }
}

/// The part of the feed that a reader has not copied yet.
struct ReadWindow {
    after: u64,
    through: u64,
    room: usize,
}

impl ReadWindow {
    /// Returns the first and the last offset in a segment that the reader needs.
    fn offsets(&self, index: u64) -> (u16, u16) {
        let (first, from) = locate(self.after + 1);
        let (last, to) = locate(self.through);
        let from = if index == first { from } else { 0 };
        let to = if index == last { to } else { u16::MAX };
        (from, to)
    }

    fn copy(
        &mut self,
        index: u64,
        entries: impl Iterator<Item = (u16, u32)>,
        out: &mut Vec<FeedEntry>,
    ) {
        if self.room == 0 {
            return;
        }
        let entries = entries.map(|(offset, record)| FeedEntry {
            number: index * SEGMENT_NUMBERS + u64::from(offset),
            record: RecordId(record),
        });
        let wanted = entries
            .skip_while(|entry| entry.number <= self.after)
            .take_while(|entry| entry.number <= self.through)
            .take(self.room);
        let before = out.len();
        out.extend(wanted);
        self.room -= out.len() - before;
    }
}

/// Returns the segment of a sequence number and the offset in that segment.
fn locate(number: u64) -> (u64, u16) {
    // The remainder of a division by 1024 has ten bits.
    (number / SEGMENT_NUMBERS, (number % SEGMENT_NUMBERS) as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum FeedStep {
        /// Changes a record.
        Change(u32),
        /// Reads up to this many changes after this share of the feed.
        Read(f64, usize),
    }

    fn any_step(records: u32) -> impl Strategy<Value = FeedStep> {
        prop_oneof![
            20 => (0..records).prop_map(FeedStep::Change),
            1 => (0.0..1.0, 1usize..50).prop_map(|(share, limit)| FeedStep::Read(share, limit)),
        ]
    }

    /// A sorted map that must always have the same entries as the feed.
    #[derive(Default)]
    struct Model {
        numbers: std::collections::HashMap<u32, u64>,
        changes: BTreeMap<u64, u32>,
    }

    fn change(feed: &mut Feed, model: &mut Model, record: u32) {
        if let Some(old) = model.numbers.get(&record) {
            feed.remove(*old);
            model.changes.remove(old);
        }
        let number = feed.append(RecordId(record));
        model.numbers.insert(record, number);
        model.changes.insert(number, record);
    }

    fn check(feed: &Feed, model: &Model, after: u64, through: u64, limit: usize) {
        let mut seen = Vec::new();
        feed.copy(after, through, limit, &mut seen);
        let model = model.changes.range(after + 1..=through.max(after + 1));
        let want: Vec<_> = model
            .filter(|&(&number, _)| number <= through)
            .map(|(&number, &record)| FeedEntry {
                number,
                record: RecordId(record),
            })
            .take(limit)
            .collect();
        assert_eq!(seen, want);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_feed_equals_a_sorted_map_of_the_last_changes(
            steps in prop::collection::vec(any_step(300), 1..6000),
        ) {
            let (mut feed, mut model) = (Feed::new(), Model::default());
            for step in steps {
                match step {
                    FeedStep::Change(record) => change(&mut feed, &mut model, record),
                    FeedStep::Read(share, limit) => {
                        let after = (feed.last() as f64 * share) as u64;
                        check(&feed, &model, after, feed.last(), limit);
                        check(&feed, &model, after / 2, after, limit);
                    }
                }
            }
            check(&feed, &model, 0, u64::MAX, usize::MAX);
            prop_assert_eq!(feed.entries(), model.changes.len());
        }
    }

    #[test]
    fn changes_of_the_same_records_do_not_grow_the_feed() {
        let (mut feed, mut model) = (Feed::new(), Model::default());
        for record in 0..10_000 {
            change(&mut feed, &mut model, record);
        }
        for round in 0..1_000_000 {
            change(&mut feed, &mut model, round % 100);
        }
        check(&feed, &model, 0, u64::MAX, usize::MAX);
        assert!(feed.older.len() <= 12, "{} segments", feed.older.len());
    }
}
