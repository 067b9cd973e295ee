//! The last applied sequence number of each incarnation of a neighbour.

use super::Incarnation;
use super::seen_by::SenderSlot;

/// Maximum number of incarnations that are kept for one neighbour. It is more than one so that an
/// old process that resumes beside its replacement cannot undo the replacement's progress.
const MAX_INCARNATIONS: usize = 4;

/// One neighbour's watermarks, one for each of its last few incarnations, in the order in which
/// they last sent something.
///
/// Invariants: each incarnation occurs once; a watermark never decreases.
#[derive(Debug, Default)]
pub(super) struct AppliedWatermarks(Vec<Watermark>);

#[derive(Debug)]
struct Watermark {
    incarnation: Incarnation,
    applied: u64,
    slot: Option<SenderSlot>,
}

impl AppliedWatermarks {
    /// Records a greeting of an incarnation, and returns the last of its sequence numbers that was
    /// applied; `None` if the incarnation was unknown. A fifth incarnation replaces the one that
    /// was silent for longest.
    pub(super) fn greet(&mut self, incarnation: Incarnation) -> Option<u64> {
        if let Some(watermark) = self.touch(incarnation) {
            return Some(watermark.applied);
        }
        if self.0.len() == MAX_INCARNATIONS {
            self.0.remove(0);
        }
        self.0.push(Watermark {
            incarnation,
            applied: 0,
            slot: None,
        });
        None
    }

    /// Returns the last applied sequence number of an incarnation that has greeted, and its sender
    /// slot, which `slot` supplies if there is none yet. Returns `None` if the incarnation is
    /// unknown.
    pub(super) fn open(
        &mut self,
        incarnation: Incarnation,
        slot: impl FnOnce() -> Option<SenderSlot>,
    ) -> Option<(u64, Option<SenderSlot>)> {
        let watermark = self.touch(incarnation)?;
        watermark.slot = watermark.slot.take().or_else(slot);
        Some((watermark.applied, watermark.slot.clone()))
    }

    /// Records that everything through `through` was merged. Returns the last applied sequence
    /// number, which may be greater; `None` if the incarnation was dropped meanwhile.
    pub(super) fn advance(&mut self, incarnation: Incarnation, through: u64) -> Option<u64> {
        let watermark = self.touch(incarnation)?;
        watermark.applied = watermark.applied.max(through);
        Some(watermark.applied)
    }

    /// Returns the sender slot of the most recent incarnation, if it has one.
    pub(super) fn last_slot(&self) -> Option<&SenderSlot> {
        self.0.last()?.slot.as_ref()
    }

    /// Releases the sender slots of all incarnations except the most recent one. If another one
    /// pushes after all, it gets a slot again.
    pub(super) fn release_all_but_last(&mut self) {
        if let Some((_, others)) = self.0.split_last_mut() {
            others
                .iter_mut()
                .for_each(|watermark| watermark.slot = None);
        }
    }

    /// Releases the sender slots of all incarnations, for a server that is no longer a neighbour.
    pub(super) fn release_all(&mut self) {
        self.0
            .iter_mut()
            .for_each(|watermark| watermark.slot = None);
    }

    fn touch(&mut self, incarnation: Incarnation) -> Option<&mut Watermark> {
        let at = self.0.iter().position(|p| p.incarnation == incarnation)?;
        self.0[at..].rotate_left(1);
        self.0.last_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(number: u64) -> Incarnation {
        Incarnation::new(number).unwrap()
    }

    #[test]
    fn a_greeting_never_lowers_the_watermark_of_another_incarnation() {
        let mut watermarks = AppliedWatermarks::default();
        assert_eq!(watermarks.greet(incarnation(1)), None);
        assert_eq!(watermarks.advance(incarnation(1), 10), Some(10));
        assert_eq!(watermarks.greet(incarnation(2)), None);
        assert_eq!(watermarks.advance(incarnation(2), 3), Some(3));
        assert_eq!(watermarks.greet(incarnation(1)), Some(10));
        assert_eq!(
            watermarks.advance(incarnation(1), 5),
            Some(10),
            "a watermark never decreases"
        );
        assert_eq!(watermarks.greet(incarnation(2)), Some(3));
    }

    #[test]
    fn the_incarnation_that_was_silent_longest_is_dropped_first() {
        let mut watermarks = AppliedWatermarks::default();
        for number in 1..=4 {
            watermarks.greet(incarnation(number));
        }
        watermarks.advance(incarnation(1), 7);
        watermarks.greet(incarnation(5));
        assert_eq!(watermarks.advance(incarnation(2), 1), None);
        assert_eq!(watermarks.greet(incarnation(1)), Some(7));
    }
}
