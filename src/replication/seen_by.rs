//! Who already has a report, as one bit for each sender.

use std::sync::{Arc, Mutex, Weak};

use super::{Incarnation, NeighbourId, lock};

/// Most senders that can be told apart at a time: one bit each.
const SENDERS: usize = u64::BITS as usize;

/// A set of senders, as bits. Kept in each record: those who sent exactly this
/// report, so that it is not sent back to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenBy(u64);

impl SeenBy {
    pub(super) fn includes(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    pub(super) fn is_nobody(self) -> bool {
        self.0 == 0
    }
}

/// Who sent: one incarnation of one neighbour. Another incarnation of the same
/// neighbour is another sender, since it does not have what that one had.
pub(super) type Sender = (NeighbourId, Incarnation);

/// A sender's bit, for as long as this is held. No bit changes its sender
/// while anyone holds it, so a late push of a dead incarnation can not mark a
/// report as known to that incarnation's successor.
#[derive(Clone, Debug)]
pub struct SenderSlot {
    heard: SeenBy,
    _held: Arc<()>,
}

impl SenderSlot {
    pub(super) fn heard(&self) -> SeenBy {
        self.heard
    }
}

/// The bits, and whose they are.
///
/// A bit whose sender nobody holds any more still stands in records. It is
/// *stale* until it was cleared from all of them, and only then free for
/// another sender. With no bit free a sender gets none: its reports may echo
/// back to it once, and none is lost.
#[derive(Debug)]
pub(super) struct SenderSlots(Mutex<Vec<Bit>>);

#[derive(Debug)]
enum Bit {
    Free,
    Held(Sender, Weak<()>),
    Stale,
}

impl SenderSlots {
    /// Bits for at most `most` senders, and never more than 64.
    pub(super) fn new(most: usize) -> Self {
        let bits = std::iter::repeat_with(|| Bit::Free).take(most.min(SENDERS));
        Self(Mutex::new(bits.collect()))
    }

    /// The bit of a sender that has one.
    pub(super) fn find(&self, sender: Sender) -> Option<SenderSlot> {
        find(&lock(&self.0), sender)
    }

    /// The bit of a sender, a free one if it has none yet.
    pub(super) fn lease(&self, sender: Sender) -> Option<SenderSlot> {
        let mut bits = lock(&self.0);
        find(&bits, sender).or_else(|| {
            let free = bits.iter().position(|bit| matches!(bit, Bit::Free))?;
            let held = Arc::new(());
            bits[free] = Bit::Held(sender, Arc::downgrade(&held));
            Some(lease(free, held))
        })
    }

    /// Is there no bit for another sender?
    pub(super) fn is_full(&self) -> bool {
        !lock(&self.0).iter().any(|bit| matches!(bit, Bit::Free))
    }

    /// Frees the bits that nobody holds any more, after `clear` took them out
    /// of every record.
    pub(super) fn reclaim(&self, clear: impl FnOnce(SeenBy)) {
        let stale = self.mark_stale();
        if stale.is_nobody() {
            return;
        }
        clear(stale);
        for (at, bit) in lock(&self.0).iter_mut().enumerate() {
            if stale.includes(SeenBy(1 << at)) {
                *bit = Bit::Free;
            }
        }
    }

    fn mark_stale(&self) -> SeenBy {
        let mut stale = SeenBy::default();
        for (at, bit) in lock(&self.0).iter_mut().enumerate() {
            // Bits already stale are another caller's to clear.
            if matches!(bit, Bit::Held(_, held) if held.strong_count() == 0) {
                *bit = Bit::Stale;
                stale.add(SeenBy(1 << at));
            }
        }
        stale
    }
}

fn find(bits: &[Bit], sender: Sender) -> Option<SenderSlot> {
    bits.iter().enumerate().find_map(|(at, bit)| match bit {
        Bit::Held(holder, held) if *holder == sender => Some(lease(at, held.upgrade()?)),
        _ => None,
    })
}

fn lease(at: usize, held: Arc<()>) -> SenderSlot {
    SenderSlot {
        heard: SeenBy(1 << at),
        _held: held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(incarnation: u64) -> Sender {
        (NeighbourId(0), Incarnation::new(incarnation).unwrap())
    }

    #[test]
    fn a_bit_is_cleared_before_it_stands_for_another() {
        let senders = SenderSlots::new(2);
        let first = senders.lease(sender(1)).unwrap();
        let second = senders.lease(sender(2)).unwrap();
        assert_ne!(first.heard(), second.heard());
        assert_eq!(senders.find(sender(1)).unwrap().heard(), first.heard());
        assert!(senders.lease(sender(3)).is_none(), "none is free");

        senders.reclaim(|heard| panic!("{heard:?} is held"));
        let was = first.heard();
        drop(first);
        assert!(senders.find(sender(1)).is_none());
        assert!(senders.lease(sender(3)).is_none(), "stale is not free");
        senders.reclaim(|heard| assert_eq!(heard, was));
        assert_eq!(senders.lease(sender(3)).unwrap().heard(), was);
    }
}
