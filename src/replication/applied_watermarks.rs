//! The last applied sequence number of each incarnation of a neighbour.

use crate::recent::{touch, touch_or_push};

use super::seen_by::SenderSlot;
use super::sent_pushes::{LinkEnds, PushMark, PushProgress};

/// Maximum number of pairs of incarnations that are kept for one neighbour. It is more than one so
/// that an old process that resumes beside its replacement cannot undo the replacement's progress.
const MAX_PAIRS: usize = 4;

/// Maximum number of pushes that are remembered for a pair.
const MAX_MARKS: usize = 8;

/// One neighbour's watermarks, one for each of the last few pairs of its incarnation and this
/// server's, in the order in which they last sent something.
///
/// Invariants: each pair occurs once; a watermark never decreases.
#[derive(Debug, Default)]
pub(super) struct AppliedWatermarks(Vec<Watermark>);

#[derive(Debug)]
struct Watermark {
    ends: LinkEnds,
    applied: u64,
    /// The latest pushes that began when they ended after `applied`, each once: all that the sender
    /// does not know to be acknowledged, and the last one that it does.
    marks: Vec<PushMark>,
    slot: Option<SenderSlot>,
    /// The number of changes of this server's version vector in the last answer to the sender.
    vector_changes: u64,
}

/// The sequence numbers of a push, and its checksum if its sender computed one.
#[derive(Clone, Copy, Debug)]
pub(super) struct PushSpan {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) check: Option<u32>,
}

impl PushSpan {
    fn mark(self) -> Option<PushMark> {
        let to = self.to;
        self.check.map(|check| PushMark { to, check })
    }
}

impl AppliedWatermarks {
    /// Records a greeting. Returns what was applied of the greeting incarnation, and whether the pair
    /// was unknown; then it begins with `initial`. A fifth pair replaces the one that was silent for
    /// longest.
    pub(super) fn greet(&mut self, ends: LinkEnds, initial: u64) -> (PushProgress, bool) {
        let mut is_new = false;
        let make = || {
            is_new = true;
            Watermark {
                ends,
                applied: initial,
                marks: Vec::new(),
                slot: None,
                vector_changes: 0,
            }
        };
        let watermark = touch_or_push(&mut self.0, MAX_PAIRS, |it| it.ends == ends, make);
        // The sender forgets the vector when it greets.
        watermark.vector_changes = 0;
        let progress = PushProgress {
            applied: watermark.applied,
            others: watermark.marks.clone(),
        };
        (progress, is_new)
    }

    /// Returns the pairs, and the last applied sequence number of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkEnds, u64)> {
        let all = self.0.iter();
        all.map(|watermark| (watermark.ends, watermark.applied))
    }

    /// Returns the last applied sequence number of a pair that has greeted; `None` if it is unknown.
    pub(super) fn applied(&mut self, ends: LinkEnds) -> Option<u64> {
        self.touch(ends).map(|watermark| watermark.applied)
    }

    /// Records the beginning of a push without a gap. Returns the sender slot for its reports, which
    /// `slot` supplies if there is none yet.
    pub(super) fn begin(
        &mut self,
        ends: LinkEnds,
        push: PushSpan,
        slot: impl FnOnce() -> Option<SenderSlot>,
    ) -> Option<SenderSlot> {
        let watermark = self.touch(ends)?;
        watermark.slot = watermark.slot.take().or_else(slot);
        watermark.marks.retain(|mark| mark.to >= push.from);
        let is_ahead = push.to > watermark.applied;
        if let Some(mark) = push.mark()
            && is_ahead
            && !watermark.marks.contains(&mark)
        {
            if watermark.marks.len() == MAX_MARKS {
                watermark.marks.remove(0);
            }
            watermark.marks.push(mark);
        }
        // The running sender has pushed all that a late push can hold. If something in it is new
        // after all, an ended process with the same incarnation pushed it, and the running one may
        // lack it. A push that covers no change repeats earlier ones.
        let is_late = !is_ahead && push.from < push.to;
        watermark.slot.clone().filter(|_| !is_late)
    }

    /// Records that everything of a push was merged. Returns what was applied, which may be more;
    /// `None` if the pair was dropped meanwhile.
    pub(super) fn advance(&mut self, ends: LinkEnds, push: PushSpan) -> Option<PushProgress> {
        let watermark = self.touch(ends)?;
        watermark.applied = watermark.applied.max(push.to);
        let marks = watermark.marks.iter().copied();
        let is_other = |mark: &PushMark| mark.to > push.from && Some(*mark) != push.mark();
        Some(PushProgress {
            applied: watermark.applied,
            others: marks.filter(is_other).collect(),
        })
    }

    /// Records that an answer to the sender has the version vector after `changes` changes. Returns
    /// the number of changes in the answer before.
    pub(super) fn answer(&mut self, ends: LinkEnds, changes: u64) -> u64 {
        let watermark = self.0.iter_mut().find(|it| it.ends == ends);
        watermark.map_or(0, |it| std::mem::replace(&mut it.vector_changes, changes))
    }

    /// Returns the sender slot of the most recent pair, if it has one.
    pub(super) fn last_slot(&self) -> Option<&SenderSlot> {
        self.0.last()?.slot.as_ref()
    }

    /// Releases the sender slots of all pairs except the most recent one. If another one
    /// pushes after all, it gets a slot again.
    pub(super) fn release_all_but_last(&mut self) {
        if let Some((_, others)) = self.0.split_last_mut() {
            others
                .iter_mut()
                .for_each(|watermark| watermark.slot = None);
        }
    }

    /// Releases the sender slots of all pairs, for a server that is no longer a neighbour.
    pub(super) fn release_all(&mut self) {
        self.0
            .iter_mut()
            .for_each(|watermark| watermark.slot = None);
    }

    fn touch(&mut self, ends: LinkEnds) -> Option<&mut Watermark> {
        touch(&mut self.0, |it| it.ends == ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::seen_by::SenderSlots;
    use crate::replication::{Incarnation, NeighbourId};

    fn pair(own: u64, theirs: u64) -> LinkEnds {
        let incarnation = |number| Incarnation::new(number).unwrap();
        LinkEnds {
            own: incarnation(own),
            theirs: incarnation(theirs),
        }
    }

    fn ends(theirs: u64) -> LinkEnds {
        pair(1, theirs)
    }

    fn span(from: u64, to: u64, check: u32) -> PushSpan {
        let check = Some(check);
        PushSpan { from, to, check }
    }

    fn mark(to: u64, check: u32) -> PushMark {
        PushMark { to, check }
    }

    impl AppliedWatermarks {
        fn greet_applied(&mut self, ends: LinkEnds) -> Option<u64> {
            let (progress, is_new) = self.greet(ends, 0);
            (!is_new).then_some(progress.applied)
        }

        fn advance_to(&mut self, ends: LinkEnds, to: u64) -> Option<u64> {
            let progress = self.advance(ends, span(0, to, 0));
            progress.map(|progress| progress.applied)
        }
    }

    #[test]
    fn a_greeting_never_lowers_the_watermark_of_another_incarnation() {
        let mut watermarks = AppliedWatermarks::default();
        assert_eq!(watermarks.greet_applied(ends(1)), None);
        assert_eq!(watermarks.advance_to(ends(1), 10), Some(10));
        assert_eq!(watermarks.greet_applied(ends(2)), None);
        assert_eq!(watermarks.advance_to(ends(2), 3), Some(3));
        assert_eq!(watermarks.greet_applied(ends(1)), Some(10));
        assert_eq!(
            watermarks.advance_to(ends(1), 5),
            Some(10),
            "a watermark never decreases"
        );
        assert_eq!(watermarks.greet_applied(ends(2)), Some(3));
        let renewed = watermarks.greet_applied(pair(2, 2));
        assert_eq!(renewed, None, "of another incarnation of this server");
    }

    #[test]
    fn the_pair_that_was_silent_longest_is_dropped_first() {
        let mut watermarks = AppliedWatermarks::default();
        for number in 1..=4 {
            watermarks.greet(ends(number), 0);
        }
        watermarks.advance(ends(1), span(0, 7, 0));
        watermarks.greet(ends(5), 0);
        assert_eq!(watermarks.advance_to(ends(2), 1), None);
        assert_eq!(watermarks.greet_applied(ends(1)), Some(7));
    }

    #[test]
    fn an_unknown_pair_begins_with_the_given_number() {
        let mut watermarks = AppliedWatermarks::default();
        let (progress, is_new) = watermarks.greet(ends(1), 8);
        assert_eq!((progress.applied, is_new), (8, true));
        let (progress, is_new) = watermarks.greet(ends(1), 9);
        assert_eq!((progress.applied, is_new), (8, false));
        assert_eq!(watermarks.advance_to(ends(1), 5), Some(8));
    }

    #[test]
    fn an_answer_names_the_other_pushes_that_the_sender_does_not_know_to_be_applied() {
        let mut watermarks = AppliedWatermarks::default();
        watermarks.greet(ends(1), 0);
        let begin = |it: &mut AppliedWatermarks, push| it.begin(ends(1), push, || None);
        let others = |progress: Option<PushProgress>| progress.unwrap().others;
        begin(&mut watermarks, span(0, 5, 50));
        assert_eq!(others(watermarks.advance(ends(1), span(0, 5, 50))), []);
        // This push is given up, but a part of it is merged.
        begin(&mut watermarks, span(5, 9, 90));
        assert_eq!(watermarks.greet(ends(1), 0).0.others.len(), 2);
        begin(&mut watermarks, span(5, 7, 70));
        let answer = watermarks.advance(ends(1), span(5, 7, 70));
        assert_eq!(others(answer), [mark(9, 90)]);
        // The same push again, and a heartbeat, which has no checksum.
        begin(&mut watermarks, span(5, 7, 70));
        let heartbeat = PushSpan {
            from: 7,
            to: 7,
            check: None,
        };
        begin(&mut watermarks, heartbeat);
        assert_eq!(
            others(watermarks.advance(ends(1), heartbeat)),
            [mark(9, 90)]
        );
        assert_eq!(
            watermarks.greet(ends(1), 0).0.others,
            [mark(9, 90), mark(7, 70)]
        );
        begin(&mut watermarks, span(9, 11, 11));
        let kept = watermarks.greet(ends(1), 0).0.others;
        assert_eq!(
            kept,
            [mark(9, 90), mark(11, 11)],
            "one acknowledged is kept"
        );
        for check in 0..100 {
            begin(&mut watermarks, span(11, 12, check));
        }
        assert_eq!(watermarks.greet(ends(1), 0).0.others.len(), MAX_MARKS);
    }

    #[test]
    fn a_late_push_has_no_sender() {
        let slots = SenderSlots::new(1);
        let slot = || slots.acquire((NeighbourId(0), ends(1).theirs));
        let mut watermarks = AppliedWatermarks::default();
        watermarks.greet(ends(1), 0);
        assert!(watermarks.begin(ends(1), span(0, 5, 50), slot).is_some());
        watermarks.advance(ends(1), span(0, 5, 50));
        assert!(watermarks.begin(ends(1), span(0, 4, 40), slot).is_none());
        assert!(watermarks.begin(ends(1), span(0, 5, 50), slot).is_none());
        assert!(watermarks.begin(ends(1), span(5, 5, 0), slot).is_some());
        assert!(watermarks.begin(ends(1), span(4, 6, 60), slot).is_some());
    }
}
