//! Several reports taken into the store at once.
//!
//! What a report costs is to wait: for its client's record, which no cache holds
//! where there are many, and for two locks, each of which waits for all that was
//! asked of memory before it. Here the locks come first, those of many reports at
//! the duplicate time, and then each step is a loop of its own over all of them, with no
//! lock in it: the processor fetches what several positions need while it works.

use std::hint::black_box;
use std::sync::MutexGuard;

use crate::model::report::Report;

use super::record::{Receipt, Record};
use super::seen_by::SeenBy;
use super::shard::Shard;
use super::store::{MergeResult, SHARDS, Store, StoreFull, compare_and_mark, record_id, shard_of};
use super::{lock, try_lock};

/// So many reports are taken together. More would be fetched no quicker, and
/// hold their shards for longer.
pub const MERGE_BATCH: usize = 32;

/// A report that is to be taken in, with its client's hash and its place among
/// those that were given.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    hash: u64,
    nth: usize,
    report: &'a Report<'a>,
}

/// What all reports that are given at once have in context; see [`Store::admit`].
#[derive(Clone, Copy)]
struct MergeContext {
    seen_by: SeenBy,
    receipt: Receipt,
    max_clients: usize,
}

impl Store {
    /// Takes those of several reports that are newer than what is held, as
    /// [`admit`](Self::admit) does, and tells `each` what results of which; it must be
    /// quick, since it runs under locks. Each comes with its place among them. In which order they are taken is not said,
    /// but of up to 32, those of one client are taken in theirs, unless other
    /// threads come in between.
    pub fn admit_all<'a>(
        &self,
        mut reports: impl Iterator<Item = (usize, &'a Report<'a>)>,
        seen_by: SeenBy,
        receipt: Receipt,
        max_clients: usize,
        mut each: impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let admit = |report| self.admit(report, seen_by, receipt, max_clients);
        let Some(first) = reports.next() else { return };
        let Some(second) = reports.next() else {
            return each(first.0, admit(first.1));
        };
        let all = [first, second].into_iter().chain(reports);
        let incoming = all.map(|(nth, report)| Incoming {
            hash: self.hash(report.client),
            nth,
            report,
        });
        let mut incoming: Vec<_> = incoming.collect();
        if incoming.len() > MERGE_BATCH {
            // A shard is locked for many of them then, and for as many when a link
            // reads what changed here.
            incoming.sort_unstable_by_key(|it| shard_of(it.hash));
        }
        let context = MergeContext {
            seen_by,
            receipt,
            max_clients,
        };
        let mut deferred = Vec::new();
        for some in incoming.chunks(MERGE_BATCH) {
            self.admit_batch(some, context, &mut deferred, &mut each);
        }
        for Incoming { nth, report, .. } in deferred {
            each(nth, admit(report));
        }
    }

    /// Takes some reports, but for those that it leaves for `deferred`: of a client
    /// that another of them may be of, or in a shard that somebody else has.
    fn admit_batch<'a>(
        &self,
        some: &[Incoming<'a>],
        context: MergeContext,
        deferred: &mut Vec<Incoming<'a>>,
        each: &mut impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let mut shards = LockedShards::with_capacity(some.len());
        let mut clients = ClientFilter::default();
        let mut taken = Vec::with_capacity(some.len());
        for incoming in some {
            match shards.lock(self, shard_of(incoming.hash)) {
                Some(position) if clients.add(incoming.hash) => taken.push((position, incoming)),
                _ => deferred.push(*incoming),
            }
        }
        for &(position, incoming) in &taken {
            black_box(shards.get(position).prefetch(incoming.hash));
        }
        let mut newer = Vec::with_capacity(taken.len());
        for (position, incoming) in taken {
            let Incoming { hash, nth, report } = *incoming;
            let merged = match shards.get(position).find(hash, report.client) {
                Some(slot) => {
                    let merged =
                        compare_and_mark(shards.record(position, slot), report, context.seen_by);
                    if merged == MergeResult::Newer {
                        newer.push((position, slot, report));
                    }
                    Ok(merged)
                }
                None => self.count_client(context.max_clients).map(|()| {
                    let how = (context.seen_by, context.receipt);
                    self.add(shard_of(hash), shards.get(position), hash, report, how);
                    MergeResult::Newer
                }),
            };
            each(nth, merged);
        }
        let first = {
            let mut feed = lock(&self.feed);
            for &(position, slot, _) in &newer {
                feed.remove(shards.record(position, slot).number);
            }
            let first = feed.last() + 1;
            for &(position, slot, _) in &newer {
                feed.append(record_id(shards.number(position), slot));
            }
            first
        };
        for (number, (position, slot, report)) in (first..).zip(newer) {
            let record = shards.record(position, slot);
            record.replace(report, number, context.seen_by, context.receipt);
        }
    }
}

/// Shards that one thread has locked, each by the position in which it was.
///
/// It waits for the first and for no other. To wait for one while others may wait
/// for those that are here could be for ever.
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

    /// Locks a shard, if it is not here already; `None` where somebody else has it.
    fn lock(&mut self, store: &'a Store, number: usize) -> Option<u8> {
        if self.positions[number].is_none() {
            let shard = &store.shards[number];
            let shard = match self.shards.is_empty() {
                true => lock(shard),
                false => try_lock(shard)?,
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

/// Some clients, by their hashes.
#[derive(Default)]
struct ClientFilter([u64; 16]);

impl ClientFilter {
    /// One more; `false` where it may be among them already. Of 32, half a one is
    /// wrongly said to be.
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

    fn report<'a>(client: &'a str, time: &'a str) -> Report<'a> {
        Report {
            client: ClientId::parse(client.as_bytes()).unwrap(),
            origin: Origin::parse(b"Riley").unwrap(),
            position: Position::parse(b"+1+1").unwrap(),
            time: Timestamp::parse(time.as_bytes()).unwrap(),
            skew: Skew(0),
        }
    }

    /// What results of each, in the order in which they are given.
    fn admit(
        store: &Store,
        reports: &[Report<'_>],
        max_clients: usize,
    ) -> Vec<Result<MergeResult, StoreFull>> {
        let receipt = Receipt {
            at: UnixNanos(0),
            from: None,
        };
        let mut results = vec![None; reports.len()];
        let each = |nth: usize, result| assert_eq!(results[nth].replace(result), None);
        let all = reports.iter().enumerate();
        store.admit_all(all, SeenBy::default(), receipt, max_clients, each);
        results.into_iter().map(Option::unwrap).collect()
    }

    #[test]
    fn those_of_one_client_are_taken_in_their_order() {
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
    fn a_full_store_turns_away_clients_that_it_does_not_know() {
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
    fn who_waits_for_a_shard_keeps_none_from_others() {
        let store = Store::new([1, 2, 3, 4]);
        let clients: Vec<_> = (0..MERGE_BATCH).map(|n| format!("client-{n}")).collect();
        let reports: Vec<_> = clients.iter().map(|client| report(client, "1")).collect();
        let shard = |report: &Report<'_>| shard_of(store.hash(report.client));
        let taken = shard(&reports[1]);
        let others = reports.iter().filter(|report| shard(report) != taken);
        let others = others.count();
        assert_ne!(shard(&reports[0]), taken, "the first shard is waited for");
        std::thread::scope(|scope| {
            let held = lock(&store.shards[taken]);
            let admitting = scope.spawn(|| admit(&store, &reports, usize::MAX));
            // It has taken all others, and has let go of their shards.
            let limit = Instant::now() + Duration::from_secs(10);
            while store.clients() < others {
                assert!(Instant::now() < limit, "it waits with others in hand");
                std::thread::yield_now();
            }
            for (number, shard) in store.shards.iter().enumerate() {
                if number != taken {
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
