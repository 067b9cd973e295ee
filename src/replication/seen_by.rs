//! Who already has a report, as one bit for each sender.

use std::sync::{Arc, Mutex, Weak};

use super::{Incarnation, NeighbourId, lock};

/// Most senders that can be told apart at a time: one bit each.
const MAX_SENDERS: usize = u64::BITS as usize;

/// A set of senders, as bits. Kept in each record: those who sent exactly this
/// report, so that it is not sent back to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenBy(u64);

impl SeenBy {
    pub(super) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    pub(super) fn is_empty(self) -> bool {
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
    bit: SeenBy,
    _held: Arc<()>,
}

impl SenderSlot {
    pub(super) fn bit(&self) -> SeenBy {
        self.bit
    }
}

/// The bits, and whose they are.
///
/// A bit whose sender nobody holds any more still stands in records. It is
/// *stale* until it was cleared from all of them, and only then free for
/// another sender. With no bit free a sender gets none: its reports may echo
/// back to it once, and none is lost.
#[derive(Debug)]
pub(super) struct SenderSlots(Mutex<Vec<BitState>>);

#[derive(Debug)]
enum BitState {
    Free,
    Held(Sender, Weak<()>),
    Stale,
}

impl SenderSlots {
    /// Bits for at max_senders `max_senders` senders, and never more than 64.
    pub(super) fn new(max_senders: usize) -> Self {
        let bits = std::iter::repeat_with(|| BitState::Free).take(max_senders.min(MAX_SENDERS));
        Self(Mutex::new(bits.collect()))
    }

    /// The bit of a sender that has one.
    pub(super) fn find(&self, sender: Sender) -> Option<SenderSlot> {
        find(&lock(&self.0), sender)
    }

    /// The bit of a sender, a free one if it has none yet.
    pub(super) fn acquire(&self, sender: Sender) -> Option<SenderSlot> {
        let mut bits = lock(&self.0);
        find(&bits, sender).or_else(|| {
            let free = bits.iter().position(|bit| matches!(bit, BitState::Free))?;
            let held = Arc::new(());
            bits[free] = BitState::Held(sender, Arc::downgrade(&held));
            Some(slot(free, held))
        })
    }

    /// Is there no bit for another sender?
    pub(super) fn is_full(&self) -> bool {
        !lock(&self.0)
            .iter()
            .any(|bit| matches!(bit, BitState::Free))
    }

    /// Frees the bits that nobody holds any more, after `clear` took them out
    /// of every record.
    pub(super) fn reclaim(&self, clear: impl FnOnce(SeenBy)) {
        let stale = self.mark_stale();
        if stale.is_empty() {
            return;
        }
        clear(stale);
        for (at, bit) in lock(&self.0).iter_mut().enumerate() {
            if stale.intersects(SeenBy(1 << at)) {
                *bit = BitState::Free;
            }
        }
    }

    fn mark_stale(&self) -> SeenBy {
        let mut stale = SeenBy::default();
        for (at, bit) in lock(&self.0).iter_mut().enumerate() {
            // Bits already stale are another caller's to clear.
            if matches!(bit, BitState::Held(_, held) if held.strong_count() == 0) {
                *bit = BitState::Stale;
                stale.add(SeenBy(1 << at));
            }
        }
        stale
    }
}

fn find(bits: &[BitState], sender: Sender) -> Option<SenderSlot> {
    bits.iter().enumerate().find_map(|(at, bit)| match bit {
        BitState::Held(holder, held) if *holder == sender => Some(slot(at, held.upgrade()?)),
        _ => None,
    })
}

fn slot(at: usize, held: Arc<()>) -> SenderSlot {
    SenderSlot {
        bit: SeenBy(1 << at),
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
        let first = senders.acquire(sender(1)).unwrap();
        let second = senders.acquire(sender(2)).unwrap();
        assert_ne!(first.bit(), second.bit());
        assert_eq!(senders.find(sender(1)).unwrap().bit(), first.bit());
        assert!(senders.acquire(sender(3)).is_none(), "none is free");

        senders.reclaim(|bits| panic!("{bits:?} is held"));
        let was = first.bit();
        drop(first);
        assert!(senders.find(sender(1)).is_none());
        assert!(senders.acquire(sender(3)).is_none(), "stale is not free");
        senders.reclaim(|bits| assert_eq!(bits, was));
        assert_eq!(senders.acquire(sender(3)).unwrap().bit(), was);
    }
}
