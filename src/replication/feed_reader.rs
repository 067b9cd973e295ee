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
    /// Returns whether the reader reached the end of the feed: then it has returned what every
    /// client had reported at one moment of the call.
    pub fn read(
        &mut self,
        store: &Store,
        limit: usize,
        each: impl FnMut(&StoredReport<'_>) -> ControlFlow<()>,
    ) -> bool {
        let (position, is_end) = read_changes(store, (self.position, u64::MAX), limit, each);
        self.position = position;
        is_end
    }
}

/// Passes about `limit` changes after `after`, up to and including `through`, to `each`. Returns
/// the last sequence number that was processed, and whether it was the last of the feed.
///
/// A report that is replaced during the call leaves the feed for a number at its end. So the last
/// number that the feed had at the start would not do: a reader that stopped there may have seen
/// neither a report nor what replaced it. The end is reached when the rest of the feed was copied
/// at one moment, and none of it was replaced before it was passed on.
pub(super) fn read_changes(
    store: &Store,
    (after, through): (u64, u64),
    limit: usize,
    mut each: impl FnMut(&StoredReport<'_>) -> ControlFlow<()>,
) -> (u64, bool) {
    let mut done = after;
    let mut chunk: Vec<FeedEntry> = Vec::with_capacity(CHUNK_CHANGES);
    for _ in 0..limit.div_ceil(CHUNK_CHANGES) {
        chunk.clear();
        let last = store.changes((done, through), CHUNK_CHANGES, &mut chunk);
        let end = last.min(through).max(done);
        if chunk.is_empty() {
            return (end, end >= last);
        }
        match store.read(&chunk, &mut done, &mut each) {
            ControlFlow::Break(()) => return (done, false),
            // All that was replaced before the copy is in it, and nothing was replaced after it.
            ControlFlow::Continue(true) if chunk.len() < CHUNK_CHANGES => {
                return (end, end >= last);
            }
            ControlFlow::Continue(_) => {}
        }
    }
    (done, false)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

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
    fn at_the_end_a_reader_has_seen_every_client_however_often_they_report() {
        const CLIENTS: usize = 9;
        const ROUNDS: u64 = 20_000;
        let store = Store::new([1, 2, 3, 4]);
        let merged: Vec<AtomicU64> = (0..CLIENTS).map(|_| AtomicU64::new(0)).collect();
        let merged_times = || merged.iter().map(|time| time.load(SeqCst));
        std::thread::scope(|scope| {
            let reporting = scope.spawn(|| {
                for time in 1..=ROUNDS {
                    for (client, newest) in merged.iter().enumerate() {
                        admit(&store, &client.to_string(), &time.to_string());
                        newest.store(time, SeqCst);
                    }
                }
            });
            let (mut reader, mut seen) = (FeedReader::after(0), [0; CLIENTS]);
            while !reporting.is_finished() {
                let before: Vec<u64> = merged_times().collect();
                let is_end = reader.read(&store, usize::MAX, |stored| {
                    let client: usize = stored.report.client.text().parse().unwrap();
                    seen[client] = stored.report.time.text().parse().unwrap();
                    ControlFlow::Continue(())
                });
                assert!(is_end);
                let mut both = before.iter().zip(&seen);
                assert!(
                    both.all(|(before, seen)| seen >= before),
                    "{before:?}, {seen:?}"
                );
            }
        });
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
