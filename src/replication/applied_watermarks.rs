//! How far one neighbour's pushes have been applied.

use super::Incarnation;
use super::seen_by::SenderSlot;

/// How many of a neighbour's incarnations are remembered. More than one, so
/// that an old process that wakes beside its replacement cannot undo it.
const MAX_INCARNATIONS: usize = 4;

/// One neighbour's positions, one for each of its last few incarnations; the
/// one heard from last stands at the end.
///
/// Invariants: no incarnation stands here twice; a watermark never goes back.
#[derive(Debug, Default)]
pub(super) struct AppliedWatermarks(Vec<Watermark>);

#[derive(Debug)]
struct Watermark {
    incarnation: Incarnation,
    applied: u64,
    slot: Option<SenderSlot>,
}

impl AppliedWatermarks {
    /// Remembers an incarnation that greeted, and gives the last of its
    /// sequence numbers that was applied; `None` if it was not known before.
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

    /// The last number that was applied, of an incarnation that greeted; and
    /// the bit that stands for it, which `slot` gives where it has none yet.
    pub(super) fn open(
        &mut self,
        incarnation: Incarnation,
        slot: impl FnOnce() -> Option<SenderSlot>,
    ) -> Option<(u64, Option<SenderSlot>)> {
        let watermark = self.touch(incarnation)?;
        watermark.slot = watermark.slot.take().or_else(slot);
        Some((watermark.applied, watermark.slot.clone()))
    }

    /// All up to and with `through` was merged. Gives the last number that was
    /// applied, which may be greater; `None` if the incarnation has been
    /// forgotten meanwhile.
    pub(super) fn advance(&mut self, incarnation: Incarnation, through: u64) -> Option<u64> {
        let watermark = self.touch(incarnation)?;
        watermark.applied = watermark.applied.max(through);
        Some(watermark.applied)
    }

    /// Gives up the bits of all incarnations but the one heard from last. Should
    /// another of them push after all, it gets one again.
    pub(super) fn release_all_but_last(&mut self) {
        if let Some((_, others)) = self.0.split_last_mut() {
            others
                .iter_mut()
                .for_each(|watermark| watermark.slot = None);
        }
    }

    /// Gives up the bits of all incarnations, as of a neighbour that is none
    /// for now.
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
    fn a_greeting_never_lowers_or_erases_anothers_position() {
        let mut watermarks = AppliedWatermarks::default();
        assert_eq!(watermarks.greet(incarnation(1)), None);
        assert_eq!(watermarks.advance(incarnation(1), 10), Some(10));
        assert_eq!(watermarks.greet(incarnation(2)), None);
        assert_eq!(watermarks.advance(incarnation(2), 3), Some(3));
        assert_eq!(watermarks.greet(incarnation(1)), Some(10));
        assert_eq!(
            watermarks.advance(incarnation(1), 5),
            Some(10),
            "never back"
        );
        assert_eq!(watermarks.greet(incarnation(2)), Some(3));
    }

    #[test]
    fn the_one_that_was_silent_longest_is_forgotten_first() {
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
