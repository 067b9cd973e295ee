//! What a neighbour has not acknowledged yet.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::model::timestamp::UnixNanos;
use crate::replication::NeighbourId;
use crate::replication::feed_reader::FeedReader;

use super::Gateway;

/// How far a neighbour is behind this server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// How many of this server's changes it has not acknowledged, at most: some
    /// may have come from it, or be replaced since.
    pub reports: u64,
    /// How long the oldest of them that still stands has been here; `None` where
    /// there is none.
    pub oldest: Option<Duration>,
}

impl Gateway {
    /// How far a neighbour is behind.
    pub fn lag(&self, neighbour: NeighbourId) -> Lag {
        let store = self.replica.store();
        let cursor = self.board.link(neighbour).cursor;
        let changes = store.last().saturating_sub(cursor);
        if changes == 0 {
            return Lag::default();
        }
        let mut learned = None;
        FeedReader::after(cursor).read(store, usize::MAX, |_, held| {
            learned = Some(held.receipt().at);
            ControlFlow::Break(())
        });
        Lag {
            // The feed holds each client once.
            reports: changes.min(store.clients() as u64),
            oldest: learned.map(|learned| between(learned, self.clock.now())),
        }
    }
}

/// Nothing where the clock went back.
fn between(from: UnixNanos, to: UnixNanos) -> Duration {
    let nanos = to.0.saturating_sub(from.0);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
