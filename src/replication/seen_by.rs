//! Which senders have a report, as one bit for each sender.

use std::sync::{Arc, Mutex, Weak};

use super::{Incarnation, NeighbourId, lock};

/// Maximum number of senders with a bit at one time.
pub const MAX_SENDERS: usize = u64::BITS as usize;

/// A set of senders, as bits. Each record keeps the senders of exactly this report, so that it is
/// not sent back to them.
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

/// A sender: one incarnation of one neighbour. Another incarnation of the same neighbour is another
/// sender, since it does not have the reports of the earlier one.
pub(super) type Sender = (NeighbourId, Incarnation);

/// A sender's bit, reserved while this value or a clone exists. No bit changes its sender while it
/// is reserved, so a late push of an ended incarnation cannot mark a report as seen by that
/// incarnation's successor.
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

/// The bits and their senders.
///
/// A bit whose last slot was dropped is still set in records. It is *stale* until it has been
/// cleared in all of them, and only then free for another sender. A sender gets no bit if none is
/// free: then its reports may echo back to it once, and none is lost.
#[derive(Debug)]
pub(super) struct SenderSlots(Mutex<Vec<BitState>>);

#[derive(Debug)]
enum BitState {
    Free,
    Held(Sender, Weak<()>),
    Stale,
}

impl SenderSlots {
    /// Creates bits for at most `max_senders` senders, and never more than 64.
    pub(super) fn new(max_senders: usize) -> Self {
        let bits = std::iter::repeat_with(|| BitState::Free).take(max_senders.min(MAX_SENDERS));
        Self(Mutex::new(bits.collect()))
    }

    /// Returns the slot of a sender that has one.
    pub(super) fn find(&self, sender: Sender) -> Option<SenderSlot> {
        find(&lock(&self.0), sender)
    }

    /// Returns the slot of a sender; reserves a free bit if it has none yet. Returns `None` if no
    /// bit is free.
    pub(super) fn acquire(&self, sender: Sender) -> Option<SenderSlot> {
        let mut bits = lock(&self.0);
        find(&bits, sender).or_else(|| {
            let free = bits.iter().position(|bit| matches!(bit, BitState::Free))?;
            let held = Arc::new(());
            bits[free] = BitState::Held(sender, Arc::downgrade(&held));
            Some(slot(free, held))
        })
    }

    /// Returns whether no bit is free.
    pub(super) fn is_full(&self) -> bool {
        !lock(&self.0)
            .iter()
            .any(|bit| matches!(bit, BitState::Free))
    }

    /// Frees the bits that are no longer reserved, after `clear` has cleared them in every record.
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
            // Another caller clears the bits that are already stale.
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
    fn a_bit_is_cleared_before_another_sender_gets_it() {
        let senders = SenderSlots::new(2);
        let first = senders.acquire(sender(1)).unwrap();
        let second = senders.acquire(sender(2)).unwrap();
        assert_ne!(first.bit(), second.bit());
        assert_eq!(senders.find(sender(1)).unwrap().bit(), first.bit());
        assert!(senders.acquire(sender(3)).is_none(), "none is free");

        senders.reclaim(|bits| panic!("{bits:?} is held"));
        let bit = first.bit();
        drop(first);
        assert!(senders.find(sender(1)).is_none());
        assert!(senders.acquire(sender(3)).is_none(), "stale is not free");
        senders.reclaim(|bits| assert_eq!(bits, bit));
        assert_eq!(senders.acquire(sender(3)).unwrap().bit(), bit);
    }
}
