//! A reader of the change feed inside a server, such as a watch: it follows the feed at its own
//! pace and without cost to writers.

use std::ops::ControlFlow;

use super::feed::FeedEntry;
use super::store::{Store, StoredReport};

/// Maximum number of changes that one hold of the feed's lock copies.
const CHUNK_CHANGES: usize = 512;

/// A reader's position in a server's change feed.
///
/// It returns each client's newest report once, in the order of the changes. It skips a report that
/// was replaced before the reader reached it. A purged report leaves the feed without an entry.
#[derive(Clone, Copy, Debug)]
pub struct FeedReader {
    position: u64,
}

impl FeedReader {
    /// Creates a reader of the changes after the sequence number `position`; 0 reads all.
    pub fn after(position: u64) -> Self {
        Self { position }
    }

    /// Returns the last sequence number that was processed.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Passes the next changes to `each`, at most about `limit` of them. `each` must be quick,
    /// since it runs under a lock; if it returns `Break`, the reader stops before that change.
    /// Returns whether the reader reached the end that the feed had when the call began.
    pub fn read(
        &mut self,
        store: &Store,
        limit: usize,
        each: impl FnMut(&StoredReport<'_>) -> ControlFlow<()>,
    ) -> bool {
        let (position, is_end) = read_changes(store, self.position, limit, each);
        self.position = position;
        is_end
    }
}

/// Passes about `limit` changes after `after` to `each`, up to the end that the feed has now.
/// Returns the last sequence number that was processed, and whether it was the last of the feed.
pub(super) fn read_changes(
    store: &Store,
    after: u64,
    limit: usize,
    each: impl FnMut(&StoredReport<'_>) -> ControlFlow<()>,
) -> (u64, bool) {
    // Changes from here on are left for the next call: their numbers are greater than `through`,
    // even if the record had a smaller number when this call began.
    let through = store.last();
    let done = read_through(store, (after, through), limit, each);
    (done, done == through)
}

/// Does the same with changes up to the sequence number `through`, which is not after the end of
/// the feed. Returns the last sequence number that was processed.
pub(super) fn read_through(
    store: &Store,
    (after, through): (u64, u64),
    limit: usize,
    mut each: impl FnMut(&StoredReport<'_>) -> ControlFlow<()>,
) -> u64 {
    let mut done = after;
    let mut chunk: Vec<FeedEntry> = Vec::with_capacity(CHUNK_CHANGES);
    for _ in 0..limit.div_ceil(CHUNK_CHANGES) {
        chunk.clear();
        store.changes(done, through, CHUNK_CHANGES, &mut chunk);
        if chunk.is_empty() {
            return through.max(after);
        }
        if store
            .read(&chunk, u64::MAX, &mut done, &mut each)
            .is_break()
        {
            break;
        }
    }
    done
}

/// Passes about `limit` changes after `after` to `each`, and those that come meanwhile. Returns
/// the last sequence number that was processed, and whether all changes after `after` were passed
/// that the store had at one moment of the call, each in the report of that moment or a newer one.
pub(super) fn read_to_end(
    store: &Store,
    after: u64,
    limit: usize,
    mut each: impl FnMut(&StoredReport<'_>) -> ControlFlow<()>,
) -> (u64, bool) {
    let mut done = after;
    let mut chunk: Vec<FeedEntry> = Vec::with_capacity(CHUNK_CHANGES);
    for _ in 0..limit.div_ceil(CHUNK_CHANGES) {
        chunk.clear();
        let last = store.changes(done, u64::MAX, CHUNK_CHANGES, &mut chunk);
        // That moment is now, if these are all. A record of an earlier chunk that has changed since
        // is among them. One of these that changes before it is read is passed in its new report.
        let is_end = chunk.len() < CHUNK_CHANGES;
        let end = if is_end { last } else { u64::MAX };
        if store.read(&chunk, end, &mut done, &mut each).is_break() {
            return (done, false);
        }
        if is_end {
            return (last.max(after), true);
        }
    }
    (done, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::client::ClientId;
    use crate::model::position::Position;
    use crate::model::report::{Origin, Report};
    use crate::model::timestamp::{Skew, Timestamp, UnixNanos};
    use crate::replication::seen_by::SeenBy;
    use crate::replication::store::{MergeResult, Receipt, ReportSource};

    fn admit(store: &Store, client: &str, time: &str) {
        let report = Report {
            client: ClientId::parse(client.as_bytes()).unwrap(),
            origin: Origin::parse(b"Riley").unwrap(),
            position: Position::parse(b"+1+1").unwrap(),
            time: Timestamp::parse(time.as_bytes()).unwrap(),
            skew: Skew(0),
        };
        let receipt = Receipt {
            at: UnixNanos(0),
            from: ReportSource::Client,
        };
        let admitted = store.admit(&report, SeenBy::default(), receipt, 9);
        assert_eq!(admitted, Ok(MergeResult::Newer));
    }

    fn read(reader: &mut FeedReader, store: &Store, limit: usize) -> (Vec<String>, bool) {
        let mut seen = Vec::new();
        let is_end = reader.read(store, usize::MAX, |stored| {
            if seen.len() == limit {
                return ControlFlow::Break(());
            }
            let report = &stored.report;
            seen.push(format!("{} {}", report.client.text(), report.time.text()));
            ControlFlow::Continue(())
        });
        (seen, is_end)
    }

    #[test]
    fn a_reader_returns_the_newest_report_of_each_client_once_and_continues_where_it_stopped() {
        let store = Store::new([1, 2, 3, 4]);
        for (client, time) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
            admit(&store, client, time);
        }
        let mut reader = FeedReader::after(0);
        assert_eq!(
            read(&mut reader, &store, 1),
            (vec!["b 1".to_owned()], false)
        );
        admit(&store, "a", "3");
        let rest = vec!["c 1".to_owned(), "a 3".to_owned()];
        assert_eq!(read(&mut reader, &store, 9), (rest, true));
        assert_eq!(reader.position(), 5);
        assert_eq!(read(&mut reader, &store, 9), (vec![], true));
        let mut late = FeedReader::after(4);
        assert_eq!(read(&mut late, &store, 9), (vec!["a 3".to_owned()], true));
    }
}
