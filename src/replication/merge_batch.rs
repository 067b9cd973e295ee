//! Several reports taken into the store at once.
//!
//! What a report costs is to wait: for its client's record, which no cache holds
//! where there are many, and for two locks, each of which waits for all that was
//! asked of memory before it. Here the locks come first, those of many reports at
//! the same time, and then each step is a loop of its own over all of them, with no
//! lock in it: the processor fetches what several turns need while it works.

use std::hint::black_box;
use std::sync::MutexGuard;

use crate::model::report::Report;

use super::record::{Learned, Record};
use super::seen_by::SeenBy;
use super::shard::Shard;
use super::store::{MergeResult, SHARDS, Store, StoreFull, compare, key, shard_of};
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

/// What all reports that are given at once have in common; see [`Store::admit`].
#[derive(Clone, Copy)]
struct Common {
    heard: SeenBy,
    learned: Learned,
    most_clients: usize,
}

impl Store {
    /// Takes those of several reports that are newer than what is held, as
    /// [`admit`](Self::admit) does, and tells `each` what became of which; it must be
    /// quick, since it runs under locks. Each comes with its place among them. In which order they are taken is not said,
    /// but of up to 32, those of one client are taken in theirs, unless other
    /// threads come in between.
    pub fn admit_all<'a>(
        &self,
        mut reports: impl Iterator<Item = (usize, &'a Report<'a>)>,
        heard: SeenBy,
        learned: Learned,
        most_clients: usize,
        mut each: impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let admit = |report| self.admit(report, heard, learned, most_clients);
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
        let common = Common {
            heard,
            learned,
            most_clients,
        };
        let mut later = Vec::new();
        for some in incoming.chunks(MERGE_BATCH) {
            self.admit_batch(some, common, &mut later, &mut each);
        }
        for Incoming { nth, report, .. } in later {
            each(nth, admit(report));
        }
    }

    /// Takes some reports, but for those that it leaves for `later`: of a client
    /// that another of them may be of, or in a shard that somebody else has.
    fn admit_batch<'a>(
        &self,
        some: &[Incoming<'a>],
        common: Common,
        later: &mut Vec<Incoming<'a>>,
        each: &mut impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let mut shards = Locked::with_capacity(some.len());
        let mut clients = Clients::default();
        let mut taken = Vec::with_capacity(some.len());
        for incoming in some {
            match shards.lock(self, shard_of(incoming.hash)) {
                Some(turn) if clients.add(incoming.hash) => taken.push((turn, incoming)),
                _ => later.push(*incoming),
            }
        }
        for &(turn, incoming) in &taken {
            black_box(shards.get(turn).likely(incoming.hash));
        }
        let mut newer = Vec::with_capacity(taken.len());
        for (turn, incoming) in taken {
            let Incoming { hash, nth, report } = *incoming;
            let merged = match shards.get(turn).find(hash, report.client) {
                Some(slot) => {
                    let merged = compare(shards.record(turn, slot), report, common.heard);
                    if merged == MergeResult::Newer {
                        newer.push((turn, slot, report));
                    }
                    Ok(merged)
                }
                None => self.count_client(common.most_clients).map(|()| {
                    let how = (common.heard, common.learned);
                    self.add(shard_of(hash), shards.get(turn), hash, report, how);
                    MergeResult::Newer
                }),
            };
            each(nth, merged);
        }
        let first = {
            let mut feed = lock(&self.feed);
            for &(turn, slot, _) in &newer {
                feed.remove(shards.record(turn, slot).number);
            }
            let first = feed.last() + 1;
            for &(turn, slot, _) in &newer {
                feed.append(key(shards.number(turn), slot));
            }
            first
        };
        for (number, (turn, slot, report)) in (first..).zip(newer) {
            let record = shards.record(turn, slot);
            record.replace(report, number, common.heard, common.learned);
        }
    }
}

/// Shards that one thread has locked, each by the turn in which it was.
///
/// It waits for the first and for no other. To wait for one while others may wait
/// for those that are here could be for ever.
struct Locked<'a> {
    shards: Vec<(usize, MutexGuard<'a, Shard>)>,
    turns: [Option<u8>; SHARDS],
}

impl<'a> Locked<'a> {
    fn with_capacity(shards: usize) -> Self {
        Self {
            shards: Vec::with_capacity(shards),
            turns: [None; SHARDS],
        }
    }

    /// Locks a shard, if it is not here already; `None` where somebody else has it.
    fn lock(&mut self, store: &'a Store, number: usize) -> Option<u8> {
        if self.turns[number].is_none() {
            let shard = &store.shards[number];
            let shard = match self.shards.is_empty() {
                true => lock(shard),
                false => try_lock(shard)?,
            };
            self.turns[number] = u8::try_from(self.shards.len()).ok();
            self.shards.push((number, shard));
        }
        self.turns[number]
    }

    fn number(&self, turn: u8) -> usize {
        self.shards[usize::from(turn)].0
    }

    fn get(&mut self, turn: u8) -> &mut Shard {
        &mut self.shards[usize::from(turn)].1
    }

    fn record(&mut self, turn: u8, slot: usize) -> &mut Record {
        &mut self.get(turn).records[slot]
    }
}

/// Some clients, by their hashes.
#[derive(Default)]
struct Clients([u64; 16]);

impl Clients {
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

    /// What became of each, in the order in which they are given.
    fn admit(
        store: &Store,
        reports: &[Report<'_>],
        most_clients: usize,
    ) -> Vec<Result<MergeResult, StoreFull>> {
        let learned = Learned {
            at: UnixNanos(0),
            from: None,
        };
        let mut became = vec![None; reports.len()];
        let each = |nth: usize, result| assert_eq!(became[nth].replace(result), None);
        let all = reports.iter().enumerate();
        store.admit_all(all, SeenBy::default(), learned, most_clients, each);
        became.into_iter().map(Option::unwrap).collect()
    }

    #[test]
    fn those_of_one_client_are_taken_in_their_order() {
        let store = Store::new([1, 2, 3, 4]);
        let reports = [("a", "2"), ("a", "3"), ("b", "9"), ("a", "3"), ("a", "1")];
        let reports = reports.map(|(client, time)| report(client, time));
        let [newer, same, older] =
            [MergeResult::Newer, MergeResult::Same, MergeResult::Older].map(Ok);
        let became = admit(&store, &reports, usize::MAX);
        assert_eq!(became, [newer, newer, newer, same, older]);
        assert_eq!((store.clients(), store.last()), (2, 3));
    }

    #[test]
    fn a_full_store_turns_away_clients_that_it_does_not_know() {
        let store = Store::new([1, 2, 3, 4]);
        admit(&store, &[report("a", "1")], 1);
        let reports = [("b", "1"), ("a", "2"), ("b", "2")];
        let reports = reports.map(|(client, time)| report(client, time));
        let became = admit(&store, &reports, 1);
        assert_eq!(
            became,
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
            let became = admitting.join().unwrap();
            assert!(
                became
                    .iter()
                    .all(|&result| result == Ok(MergeResult::Newer))
            );
        });
        assert_eq!(store.clients(), MERGE_BATCH);
    }
}
