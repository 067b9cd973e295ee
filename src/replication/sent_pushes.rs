//! The pushes that this server sent to one neighbour, and whether they account for what the neighbour
//! holds of this server's feed.
//!
//! An image of a virtual machine that is restored continues an incarnation that its former self has
//! used meanwhile: both assign the same sequence numbers to different changes. If the image believed
//! an acknowledgement of its former self's pushes, it would skip its own changes, and the neighbour
//! would never send it those of the former self. Such an answer is the proof that another process
//! has used the incarnation, and a new incarnation mends it: then everything is sent again.

use crate::recent::touch_or_push;

use super::Incarnation;

/// Maximum number of pairs of incarnations of both ends that are remembered. It is greater than the
/// number of incarnations that a receiver keeps, since an answer about a forgotten pair would cost a
/// needless new incarnation.
const MAX_PAIRS: usize = 16;

/// Maximum number of pushes without an acknowledgement that are remembered for a pair. An answer
/// about a forgotten one costs a needless new incarnation.
const MAX_UNACKNOWLEDGED: usize = 32;

/// The incarnations of both ends of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkEnds {
    /// The incarnation of this server.
    pub(super) own: Incarnation,
    /// The incarnation of the neighbour.
    pub(super) theirs: Incarnation,
}

/// Identifies a push among those of one incarnation of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushMark {
    /// The last sequence number that the push covers.
    pub to: u64,
    /// The checksum of the push, by its sender.
    pub check: u32,
}

/// What a receiver holds of the feed of one incarnation of a sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushProgress {
    /// The last applied sequence number; 0 if none was.
    pub applied: u64,
    /// Other pushes of that incarnation, of which the receiver merged at least a part. In the answer
    /// to a push, those that end after its beginning.
    pub others: Vec<PushMark>,
}

/// The pushes that this server sent to one neighbour, by the incarnations of both ends, in the order
/// in which a pair was last used.
#[derive(Debug, Default)]
pub(super) struct SentPushes {
    pairs: Vec<PairPushes>,
    /// The greatest acknowledgement that a greeting of an incarnation of this server named. Any
    /// greeting may be answered late.
    claimed: Option<(Incarnation, u64)>,
}

#[derive(Debug)]
struct PairPushes {
    ends: LinkEnds,
    /// The greatest acknowledged sequence number.
    acknowledged: u64,
    /// The greatest sequence number of a push.
    sent: u64,
    /// The latest pushes that end after `acknowledged`, each once.
    unacknowledged: Vec<PushMark>,
}

impl SentPushes {
    /// Records a push before it is sent.
    pub(super) fn record(&mut self, ends: LinkEnds, push: PushMark) {
        let pair = self.pair(ends);
        pair.sent = pair.sent.max(push.to);
        if push.to <= pair.acknowledged || pair.unacknowledged.contains(&push) {
            return;
        }
        if pair.unacknowledged.len() == MAX_UNACKNOWLEDGED {
            pair.unacknowledged.remove(0);
        }
        pair.unacknowledged.push(push);
    }

    /// Records that a greeting of the incarnation `own` names an acknowledgement through `through`,
    /// by way of earlier incarnations of either end.
    pub(super) fn claim(&mut self, own: Incarnation, through: u64) {
        let before = self.claimed.filter(|(by, _)| *by == own);
        let through = before.map_or(through, |(_, before)| before.max(through));
        self.claimed = Some((own, through));
    }

    /// Records an answer of the neighbour. Returns `false`, and records nothing, if pushes of this
    /// process do not account for it. A neighbour that returns no marks is judged by the number
    /// alone. A neighbour that has merged no push of a pair yet may begin with what a greeting
    /// claimed.
    pub(super) fn accept(&mut self, ends: LinkEnds, progress: &PushProgress) -> bool {
        let claimed = self.claimed.filter(|(own, _)| *own == ends.own);
        let claimed = claimed.map_or(0, |(_, through)| through);
        let pair = self.pair(ends);
        let is_untouched = pair.sent == 0 && progress.others.is_empty();
        if is_untouched && progress.applied <= claimed {
            pair.acknowledged = pair.acknowledged.max(progress.applied);
        }
        let is_own =
            |push: &PushMark| push.to <= pair.acknowledged || pair.unacknowledged.contains(push);
        let is_accounted = progress.applied <= pair.acknowledged.max(pair.sent)
            && progress.others.iter().all(is_own);
        if is_accounted {
            pair.acknowledged = pair.acknowledged.max(progress.applied);
            let acknowledged = pair.acknowledged;
            pair.unacknowledged.retain(|push| push.to > acknowledged);
        }
        is_accounted
    }

    fn pair(&mut self, ends: LinkEnds) -> &mut PairPushes {
        let make = || PairPushes {
            ends,
            acknowledged: 0,
            sent: 0,
            unacknowledged: Vec::new(),
        };
        touch_or_push(&mut self.pairs, MAX_PAIRS, |it| it.ends == ends, make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(number: u64) -> Incarnation {
        Incarnation::new(number).unwrap()
    }

    fn ends(own: u64, theirs: u64) -> LinkEnds {
        LinkEnds {
            own: incarnation(own),
            theirs: incarnation(theirs),
        }
    }

    fn mark(to: u64, check: u32) -> PushMark {
        PushMark { to, check }
    }

    fn progress(applied: u64, others: &[PushMark]) -> PushProgress {
        PushProgress {
            applied,
            others: others.to_vec(),
        }
    }

    /// Pushes of which those through 5 were acknowledged, and two more were sent.
    fn sent() -> SentPushes {
        let mut sent = SentPushes::default();
        sent.record(ends(1, 1), mark(5, 50));
        assert!(sent.accept(ends(1, 1), &progress(5, &[])));
        sent.record(ends(1, 1), mark(9, 90));
        sent.record(ends(1, 1), mark(7, 70));
        sent
    }

    #[test]
    fn every_answer_to_pushes_of_this_process_is_accepted() {
        let answers = [
            progress(0, &[]),
            progress(3, &[mark(3, 1)]),
            progress(5, &[mark(5, 50)]),
            progress(5, &[mark(9, 90)]),
            progress(7, &[mark(7, 70), mark(5, 50)]),
            progress(9, &[mark(9, 90), mark(7, 70)]),
            progress(9, &[]),
        ];
        for answer in answers {
            let mut sent = sent();
            assert!(sent.accept(ends(1, 1), &answer), "{answer:?}");
            // A late answer, or one to a second attempt.
            assert!(sent.accept(ends(1, 1), &progress(5, &[mark(9, 90)])));
        }
    }

    #[test]
    fn an_answer_to_pushes_of_another_process_is_refused_and_changes_nothing() {
        let mut sent = sent();
        for answer in [
            progress(10, &[]),
            progress(9, &[mark(9, 91)]),
            progress(7, &[mark(8, 70)]),
            progress(5, &[mark(5, 50), mark(6, 60)]),
            progress(9, &[mark(9, 90), mark(7, 71)]),
        ] {
            assert!(!sent.accept(ends(1, 1), &answer), "{answer:?}");
        }
        assert!(sent.accept(ends(1, 1), &progress(7, &[mark(7, 70)])));
        // Another incarnation of either end has applied nothing.
        assert!(!sent.accept(ends(1, 2), &progress(1, &[])));
        assert!(!sent.accept(ends(2, 1), &progress(1, &[])));
        assert!(sent.accept(ends(2, 1), &progress(0, &[])));
        assert!(sent.accept(ends(1, 1), &progress(9, &[mark(9, 90)])));
    }

    #[test]
    fn a_neighbour_that_merged_no_push_may_begin_with_what_a_greeting_claimed() {
        let answer = progress(5, &[]);
        let claimed = |through| {
            let mut sent = SentPushes::default();
            sent.claim(incarnation(1), through);
            sent.claim(incarnation(1), 2);
            sent
        };
        assert!(!claimed(4).accept(ends(1, 1), &answer));
        assert!(
            !claimed(9).accept(ends(2, 1), &answer),
            "another incarnation"
        );
        let mut sent = claimed(5);
        assert!(
            sent.accept(ends(1, 1), &answer),
            "an answer to an earlier greeting"
        );
        sent.record(ends(1, 1), mark(7, 70));
        assert!(sent.accept(ends(1, 1), &answer));
        // Another process has pushed to this neighbour.
        let touched = progress(5, &[mark(5, 50)]);
        assert!(!claimed(9).accept(ends(1, 1), &touched));
        // This process has, and the neighbour has applied more than that.
        let mut sent = claimed(9);
        sent.record(ends(1, 1), mark(3, 30));
        assert!(!sent.accept(ends(1, 1), &answer));
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_was_used_last() {
        let mut sent = SentPushes::default();
        for to in 1..=100 {
            sent.record(ends(1, 1), mark(to, 7));
            sent.record(ends(1, 1), mark(to, 7));
        }
        assert!(sent.accept(ends(1, 1), &progress(0, &[mark(100, 7), mark(69, 7)])));
        assert!(!sent.accept(ends(1, 1), &progress(0, &[mark(68, 7)])));
        for theirs in 2..100 {
            sent.record(ends(1, 1), mark(100, 7));
            sent.record(ends(1, theirs), mark(100, 7));
        }
        assert_eq!(sent.pairs.len(), MAX_PAIRS);
        assert!(sent.accept(ends(1, 1), &progress(100, &[])));
        assert!(!sent.accept(ends(1, 2), &progress(100, &[])));
    }
}
