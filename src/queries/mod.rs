//! Queries over the newest reports: nearby clients, pages of client IDs, and sums by which two
//! servers can be compared.
//!
//! Writers pay nothing for them. A view follows the change feed by a [`FeedReader`] and is brought
//! up to date when it is queried; the answer covers all changes up to then. Without queries nothing
//! is computed, and a view that is dropped frees its memory.
//!
//! | file | contents |
//! |---|---|
//! | [`digest`] | sums over reports, by ranges of the clients' hashes |
//! | [`nearby`] | positions of clients, nearest first |
//! | [`page`] | clients in the order of their IDs, a page at a time |
//! | `top_k` | the entries with the least keys of a scan, in order |
//!
//! All of them leave out a report that is expired at the time of the query. A view keeps its entry
//! of an expired report until the record is reused, or until the clock goes back and the view
//! starts over; by then the store has purged the report, or returns it again. One case is not
//! handled: if the clock jumps so far ahead that reports are purged, and back again before the next
//! query, a view returns those reports until it is dropped.
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

/// Number of changes that are read before they are applied.
const CHUNK_CHANGES: usize = 4096;

/// Reads the changes up to now, in chunks. `extract` returns what a view keeps of a change; it runs
/// under a lock. `apply` takes these values outside the lock.
fn read_changes<T>(
    reader: &mut FeedReader,
    replica: &Replica,
    mut extract: impl FnMut(RecordId, &StoredReport<'_>) -> T,
    mut apply: impl FnMut(T),
) {
    let store = replica.store();
    // Later changes are left to the next query; otherwise a steady load could keep this one reading
    // indefinitely.
    let through = store.last();
    let mut changes = Vec::new();
    while reader.position() < through {
        reader.read(store, CHUNK_CHANGES, |id, stored| {
            changes.push(extract(id, stored));
            ControlFlow::Continue(())
        });
        changes.drain(..).for_each(&mut apply);
    }
}

#[cfg(test)]
mod samples;
