//! What is worked out from the newest reports for those who ask how a server
//! is: which clients are near, which there are, and sums that prove that two
//! servers hold the same.
//!
//! The idea: writers pay nothing for it. A view reads the feed behind them, at
//! the pace of whoever asks, by a [`FeedReader`]; nobody asks, nothing is worked out,
//! and a view that is dropped takes its memory along. A view is brought up to
//! date when it is asked, and then knows all that had changed by then.
//!
//! | file | holds |
//! |---|---|
//! | [`digest`] | sums over reports, by ranges of the clients' hashes |
//! | [`nearby`] | where clients are, nearest first |
//! | [`page`] | clients in the order of their IDs, a page at a time |
//! | `top_k` | the first so many of a pass, in order |
//!
//! All of them show what clients are shown: a report that `expire_after` is_expired
//! at the time of a query is not there. What a view knows of a hidden report
//! it keeps until the slot is used again, or the clock went back and it begins
//! anew; the store has forgotten such a report by then, or shows it again. (One
//! thing goes unseen: a clock that leaps so far ahead that reports are forgotten,
//! and back again before anybody asks. A view then shows those until it is
//! dropped.)
//!
//! Nothing here reads a clock, waits, or starts a thread.
//!
//! [`FeedReader`]: crate::replication::feed_reader::FeedReader

pub mod digest;
pub mod nearby;
pub mod page;
mod top_k;

use std::ops::ControlFlow;

use crate::replication::RecordId;
use crate::replication::feed_reader::FeedReader;
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

/// How many changes are read before they are worked in.
const CHUNK_CHANGES: usize = 4096;

/// Reads what changed behind `feed_reader` until now, in pieces: `extract` makes of each
/// change what is kept of it, under a lock; `take` is given those, outside.
fn read_changes<T>(
    reader: &mut FeedReader,
    replica: &Replica,
    mut extract: impl FnMut(RecordId, &StoredReport<'_>) -> T,
    mut take: impl FnMut(T),
) {
    let store = replica.store();
    // What changes from here on is for the next query: or a steady load
    // could keep this one reading for ever.
    let through = store.last();
    let mut changes = Vec::new();
    while reader.position() < through {
        reader.read(store, CHUNK_CHANGES, |slot, held| {
            changes.push(extract(slot, held));
            ControlFlow::Continue(())
        });
        changes.drain(..).for_each(&mut take);
    }
}

#[cfg(test)]
mod samples;
