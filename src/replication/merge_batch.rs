//! Merging of several reports into the store at once.
//!
//! Most of the cost of a report is waiting: for its client's record, which is in no cache if there
//! are many clients, and for two locks, each of which waits for all earlier memory accesses. Here
//! the shards of many reports are locked first, and then each step is a loop over all reports
//! without a lock in it: the processor fetches the memory of several iterations while it works.

use std::hint::black_box;
use std::sync::MutexGuard;

use crate::model::report::Report;

use super::record::{Receipt, Record};
use super::seen_by::SeenBy;
use super::shard::Shard;
use super::store::{MergeResult, SHARDS, Store, StoreFull, compare_and_mark, record_id, shard_of};
use super::tag::Tag;
use super::{lock, try_lock};

/// Maximum number of reports that are merged together. More would not be fetched faster, and would
/// hold their shards for longer.
pub const MERGE_BATCH: usize = 32;

/// A report to merge, with the hash of its client and its index among the reports of the call.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    hash: u64,
    index: usize,
    report: &'a Report<'a>,
    tag: Tag,
}

/// Parameters that all reports of one call share; see [`Store::admit`].
#[derive(Clone, Copy)]
struct MergeContext {
    seen_by: SeenBy,
    receipt: Receipt,
    max_clients: usize,
}

impl Store {
    /// Merges several reports, each with its index and the tag with which a neighbour sent it, as
    /// [`admit`](Self::admit) does. Calls `each` with the index and the result of every report;
    /// `each` must be quick, since it runs under locks.
    ///
    /// The order in which the reports are merged is unspecified. Of up to [`MERGE_BATCH`] reports,
    /// those of one client are merged in the given order, unless other threads merge reports of
    /// that client meanwhile.
    pub fn admit_all<'a>(
        &self,
        mut reports: impl Iterator<Item = (usize, &'a Report<'a>, Tag)>,
        seen_by: SeenBy,
        receipt: Receipt,
        max_clients: usize,
        mut each: impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let admit = |report, tag| self.admit_at((0, tag), report, seen_by, receipt, max_clients);
        let Some(first) = reports.next() else { return };
        let Some(second) = reports.next() else {
            return each(first.0, admit(first.1, first.2));
        };
        let all = [first, second].into_iter().chain(reports);
        let incoming = all.map(|(index, report, tag)| Incoming {
            hash: self.hash(report.client),
            index,
            report,
            tag,
        });
        let mut incoming: Vec<_> = incoming.collect();
        if incoming.len() > MERGE_BATCH {
            // Each shard is then locked for many reports at a time, and again when a link reads
            // these changes.
            incoming.sort_unstable_by_key(|it| shard_of(it.hash));
        }
        let context = MergeContext {
            seen_by,
            receipt,
            max_clients,
        };
        let mut deferred = Vec::new();
        for batch in incoming.chunks(MERGE_BATCH) {
            self.admit_batch(batch, context, &mut deferred, &mut each);
        }
        for it in deferred {
            each(it.index, admit(it.report, it.tag));
        }
    }

    /// Merges some reports, except those that it adds to `deferred`: a report whose client may be
    /// that of another report, and a report whose shard another thread holds.
    fn admit_batch<'a>(
        &self,
        batch: &[Incoming<'a>],
        context: MergeContext,
        deferred: &mut Vec<Incoming<'a>>,
        each: &mut impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let mut shards = LockedShards::with_capacity(batch.len());
        let mut clients = ClientFilter::default();
        let mut locked = Vec::with_capacity(batch.len());
        for incoming in batch {
            match shards.lock(self, shard_of(incoming.hash)) {
                Some(position) if clients.add(incoming.hash) => locked.push((position, incoming)),
                _ => deferred.push(*incoming),
            }
        }
        for &(position, incoming) in &locked {
            black_box(shards.get(position).prefetch(incoming.hash));
        }
        let mut newer = Vec::with_capacity(locked.len());
        for (position, incoming) in locked {
            let Incoming {
                hash,
                index,
                report,
                tag,
            } = *incoming;
            let merged = match shards.get(position).find(hash, report.client) {
                Some(slot) => {
                    let merged =
                        compare_and_mark(shards.record(position, slot), report, context.seen_by);
                    if merged == MergeResult::Newer {
                        newer.push((position, slot, report, tag));
                    }
                    Ok(merged)
                }
                None => self.count_client(context.max_clients).map(|()| {
                    let metadata = (context.seen_by, context.receipt);
                    self.add(
                        shard_of(hash),
                        shards.get(position),
                        hash,
                        report,
                        (0, tag),
                        metadata,
                    );
                    MergeResult::Newer
                }),
            };
            each(index, merged);
        }
        let first = {
            let mut feed = lock(&self.feed);
            for &(position, slot, ..) in &newer {
                feed.remove(shards.record(position, slot).number);
            }
            let first = feed.last() + 1;
            for &(position, slot, ..) in &newer {
                feed.append(record_id(shards.number(position), slot));
            }
            first
        };
        for (number, (position, slot, report, tag)) in (first..).zip(newer) {
            let record = shards.record(position, slot);
            record.replace(report, (number, tag), context.seen_by, context.receipt);
        }
    }
}

/// The shards that one thread has locked, in the order of locking.
///
/// The thread waits for the first lock and for no other: threads that wait for a shard while they
/// hold others could deadlock.
struct LockedShards<'a> {
    shards: Vec<(usize, MutexGuard<'a, Shard>)>,
    positions: [Option<u8>; SHARDS],
}

impl<'a> LockedShards<'a> {
    fn with_capacity(shards: usize) -> Self {
        Self {
            shards: Vec::with_capacity(shards),
            positions: [None; SHARDS],
        }
    }

    /// Locks a shard unless it is locked already. Returns its position; `None` if another thread
    /// holds it.
    fn lock(&mut self, store: &'a Store, number: usize) -> Option<u8> {
        if self.positions[number].is_none() {
            let shard = &store.shards[number];
            let shard = if self.shards.is_empty() {
                lock(shard)
            } else {
                try_lock(shard)?
            };
            self.positions[number] = u8::try_from(self.shards.len()).ok();
            self.shards.push((number, shard));
        }
        self.positions[number]
    }

    fn number(&self, position: u8) -> usize {
        self.shards[usize::from(position)].0
    }

    fn get(&mut self, position: u8) -> &mut Shard {
        &mut self.shards[usize::from(position)].1
    }

    fn record(&mut self, position: u8, slot: usize) -> &mut Record {
        &mut self.get(position).records[slot]
    }
}

/// A Bloom filter of clients, by their hashes.
#[derive(Default)]
struct ClientFilter([u64; 16]);

impl ClientFilter {
    /// Adds a client; returns `false` if the filter may contain it already. In a batch of 32, about
    /// half a client is wrongly reported as contained.
    fn add(&mut self, hash: u64) -> bool {
        let word = &mut self.0[(hash >> 26) as usize % 16];
        let bit = 1 << ((hash >> 20) % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::model::client::ClientId;
    use crate::model::position::Position;
    use crate::model::report::Origin;
    use crate::model::timestamp::{Skew, Timestamp, UnixNanos};
    use crate::replication::store::ReportSource;

    fn report<'a>(client: &'a str, time: &'a str) -> Report<'a> {
        Report {
            client: ClientId::parse(client.as_bytes()).unwrap(),
            origin: Origin::parse(b"Riley").unwrap(),
            position: Position::parse(b"+1+1").unwrap(),
            time: Timestamp::parse(time.as_bytes()).unwrap(),
            skew: Skew(0),
        }
    }

    /// Returns the results in the order of the reports.
    fn admit(
        store: &Store,
        reports: &[Report<'_>],
        max_clients: usize,
    ) -> Vec<Result<MergeResult, StoreFull>> {
        let receipt = Receipt {
            at: UnixNanos(0),
            from: ReportSource::Client,
        };
        let mut results = vec![None; reports.len()];
        let each = |index: usize, result| assert_eq!(results[index].replace(result), None);
        let all = reports.iter().enumerate();
        let all = all.map(|(index, report)| (index, report, Tag::default()));
        store.admit_all(all, SeenBy::default(), receipt, max_clients, each);
        results.into_iter().map(Option::unwrap).collect()
    }

    #[test]
    fn reports_of_one_client_are_merged_in_the_given_order() {
        let store = Store::new([1, 2, 3, 4]);
        let reports = [("a", "2"), ("a", "3"), ("b", "9"), ("a", "3"), ("a", "1")];
        let reports = reports.map(|(client, time)| report(client, time));
        let [newer, duplicate, stale] = [
            MergeResult::Newer,
            MergeResult::Duplicate,
            MergeResult::Stale,
        ]
        .map(Ok);
        let results = admit(&store, &reports, usize::MAX);
        assert_eq!(results, [newer, newer, newer, duplicate, stale]);
        assert_eq!((store.clients(), store.last()), (2, 3));
    }

    #[test]
    fn a_full_store_rejects_unknown_clients() {
        let store = Store::new([1, 2, 3, 4]);
        admit(&store, &[report("a", "1")], 1);
        let reports = [("b", "1"), ("a", "2"), ("b", "2")];
        let reports = reports.map(|(client, time)| report(client, time));
        let results = admit(&store, &reports, 1);
        assert_eq!(
            results,
            [Err(StoreFull), Ok(MergeResult::Newer), Err(StoreFull)]
        );
    }

    #[test]
    fn a_thread_that_waits_for_a_shard_holds_no_other_shard() {
        let store = Store::new([1, 2, 3, 4]);
        let clients: Vec<_> = (0..MERGE_BATCH).map(|n| format!("client-{n}")).collect();
        let reports: Vec<_> = clients.iter().map(|client| report(client, "1")).collect();
        let shard = |report: &Report<'_>| shard_of(store.hash(report.client));
        let locked = shard(&reports[1]);
        let others = reports.iter().filter(|report| shard(report) != locked);
        let others = others.count();
        assert_ne!(shard(&reports[0]), locked, "the first shard is waited for");
        std::thread::scope(|scope| {
            let held = lock(&store.shards[locked]);
            let admitting = scope.spawn(|| admit(&store, &reports, usize::MAX));
            // The call has merged all other reports and released their shards.
            let limit = Instant::now() + Duration::from_secs(10);
            while store.clients() < others {
                assert!(
                    Instant::now() < limit,
                    "the thread waits while it holds other shards"
                );
                std::thread::yield_now();
            }
            for (number, shard) in store.shards.iter().enumerate() {
                if number != locked {
                    drop(lock(shard));
                }
            }
            assert!(!admitting.is_finished());
            drop(held);
            let results = admitting.join().unwrap();
            assert!(
                results
                    .iter()
                    .all(|&result| result == Ok(MergeResult::Newer))
            );
        });
        assert_eq!(store.clients(), MERGE_BATCH);
    }
}
