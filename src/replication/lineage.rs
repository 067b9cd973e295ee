//! The earlier incarnations of a server whose storage an incarnation restored, and what is known
//! of its neighbours since then.
//!
//! A server that stores its feed restores it at its next start: each report gets the sequence
//! number that it had, or a higher one, and never a lower one. The numbers of all incarnations of
//! such a lineage are one sequence. Two kinds of facts are restored with them:
//!
//! - *applied*: this server had merged all that an incarnation of a neighbour pushed, through some
//!   number of the neighbour's;
//! - *acknowledged*: an incarnation of a neighbour had acknowledged this server's changes through
//!   some number.
//!
//! Both are written only after everything that the store had when they were read: see
//! [`crate::storage`].
//!
//! A greeting names the last acknowledgement that the sender knows: by an incarnation of the
//! receiver, of an incarnation of the sender, through `a`. A receiver to which the greeting
//! incarnation is unknown begins with the lesser of `a` and what it has applied of that incarnation
//! of the sender: as the incarnation that acknowledged, or as an earlier one. It must be that
//! incarnation, or have restored its feed. A server that draws a new incarnation while it runs has
//! no lineage.
//!
//! So the sender need not push a restored report with the number `n` if `n <= a`. Its old number
//! was at most `n`, so an acknowledged push covered it. When that push was filled, the report was
//! in the feed, and the receiver got it or had it; or it had been replaced by then. But the
//! replacement was in the store before the acknowledgement was read, so it was restored, and the
//! report was not. What the receiver has applied would not do alone: a report that was replaced
//! when its number was pushed may be the newest again, since the end of the feed, with its
//! replacement, is lost.
//!
//! What the receiver has applied guards against a receiver that lost the end of its own feed: what
//! it had acknowledged and not yet stored. What it has applied since then does not count: those
//! pushes may have been filled after the acknowledgement was read.

use super::Incarnation;

/// Maximum number of earlier incarnations that a server names: more than it is likely to have
/// while a neighbour is away.
pub const MAX_EARLIER: usize = 8;

/// The earlier incarnations whose feed an incarnation restored, the latest first; at most
/// [`MAX_EARLIER`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lineage([Option<Incarnation>; MAX_EARLIER]);

impl Lineage {
    /// Returns the incarnations.
    pub fn iter(&self) -> impl Iterator<Item = Incarnation> {
        self.0.iter().flatten().copied()
    }

    /// Adds a later incarnation. The earliest is dropped if there are too many.
    pub fn extended(self, incarnation: Incarnation) -> Self {
        std::iter::once(incarnation).chain(self.iter()).collect()
    }
}

impl FromIterator<Incarnation> for Lineage {
    /// Keeps the first [`MAX_EARLIER`].
    fn from_iter<T: IntoIterator<Item = Incarnation>>(all: T) -> Self {
        let mut lineage = Self::default();
        let slots = lineage.0.iter_mut();
        slots.zip(all).for_each(|(slot, it)| *slot = Some(it));
        lineage
    }
}

/// What an incarnation of a receiver has applied of an incarnation of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The incarnation of the receiver.
    pub by: Incarnation,
    /// The incarnation of the sender.
    pub of: Incarnation,
    /// The last sequence number of the sender that was applied.
    pub through: u64,
}

/// What a server knows of one neighbour, in two directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourFacts {
    /// The neighbour's name.
    pub neighbour: String,
    /// What the server has applied of the neighbour's last few incarnations, in the order in which
    /// they last sent something.
    pub applied: Vec<Acknowledged>,
    /// The last acknowledgement of the neighbour.
    pub acknowledged: Option<Acknowledged>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_incarnations_are_kept() {
        let add = |all: Lineage, number| all.extended(Incarnation::new(number).unwrap());
        let all = (1..=20).fold(Lineage::default(), add);
        let kept: Vec<u64> = all.iter().map(Incarnation::get).collect();
        assert_eq!(kept, [20, 19, 18, 17, 16, 15, 14, 13]);
    }
}
