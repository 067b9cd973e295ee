//! How much of a server's feed is in a place outside its memory, and whether a report is there.
//!
//! The place is the disk of the server, or any of its neighbours. An answer that waits until its
//! report is there compares two positions in the feed: that of the report, and this watermark.

use super::store::Store;

/// The last position of a server's feed through which every report is in a place, or what had
/// replaced it.
///
/// It grows only when a reader of the feed has reached the end. A report that is replaced leaves
/// the feed for a number at its end: between two ends, a reader may have passed the place of a
/// report and not what replaced it, and the place has neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedWatermark(u64);

/// A position in a server's feed that is not before any report that was merged until then.
///
/// That includes a report that changed nothing: what the server held instead is in the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MergedPosition(u64);

impl MergedPosition {
    /// Returns the position of all reports that were merged into the store before this call.
    pub fn of(store: &Store) -> Self {
        Self(store.last())
    }
}

impl FeedWatermark {
    /// Records that the place has everything through `sequence`, now or at an earlier time. Returns
    /// whether that is more than before.
    pub fn raise(&mut self, sequence: u64) -> bool {
        let is_more = sequence > self.0;
        self.0 = self.0.max(sequence);
        is_more
    }

    /// Returns the sequence number.
    pub fn sequence(self) -> u64 {
        self.0
    }

    /// Returns whether the place has all reports that were merged until `position`, or newer ones.
    pub fn covers(self, position: MergedPosition) -> bool {
        self.0 >= position.0
    }
}
