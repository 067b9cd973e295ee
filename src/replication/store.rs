//! The newest report of every client.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ahash::RandomState as Hasher;

use crate::model::client::ClientId;
use crate::model::report::Report;

use super::RecordId;
use super::feed::{Feed, FeedEntry};
use super::lock;
use super::record::Record;
pub use super::record::{Receipt, ReportSource, StoredReport};
use super::seen_by::SeenBy;
use super::shard::Shard;
use super::tag::Tag;

/// Number of shards: enough that threads rarely contend for one, few enough that empty ones cost
/// almost nothing.
pub(super) const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 6;

/// Number of records that a scan reads under one lock: some ten microseconds for the slowest query.
const RECORDS_PER_LOCK: usize = 64;

/// The result of merging one report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeResult {
    /// The report is now the newest of its client and the last entry of the feed.
    Newer,
    /// The store already has exactly this report. Only the sender was recorded.
    Duplicate,
    /// The store has a newer report. Nothing changed.
    Stale,
}

/// The rejection of a new client's report: the store has the maximum number of clients. Nothing
/// changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFull;

/// The newest report of every client, and the feed of its changes.
///
/// Records are sharded by client under plain mutexes, each held for a run of comparisons and
/// copies, never across an await. A change's sequence number and its feed entry are made in one
/// critical section, under the feed's lock inside the shard's, so that no reader sees number n + 1
/// before n. The lock order is always shard, then feed; a thread that holds a shard never waits for
/// another shard.
///
/// Memory: about 160 bytes for each client with an ID of usual length, index and feed included. It
/// grows only with the number of clients; a new client reuses the slot of a purged one.
#[derive(Debug)]
pub struct Store {
    pub(super) shards: Box<[Mutex<Shard>]>,
    pub(super) feed: Mutex<Feed>,
    clients: AtomicUsize,
    hasher: Hasher,
}

/// The position of a walk through all records. The walk restarts at the beginning when it reaches
/// the end.
#[derive(Debug, Default)]
pub struct Walk {
    shard: usize,
    slot: usize,
}

impl Walk {
    /// Advances to `slot` of the current shard, which has `slots` slots.
    fn advance(&mut self, slot: usize, slots: usize) {
        *self = if slot == slots {
            Self {
                shard: (self.shard + 1) % SHARDS,
                slot: 0,
            }
        } else {
            Self { slot, ..*self }
        };
    }
}

impl Store {
    /// Creates an empty store. Clients choose their IDs; `keys` are unpredictable numbers that
    /// prevent clients from choosing IDs that collide in the hash table.
    pub fn new(keys: [u64; 4]) -> Self {
        let [a, b, c, d] = keys;
        Self {
            shards: std::iter::repeat_with(Mutex::default)
                .take(SHARDS)
                .collect(),
            feed: Mutex::new(Feed::new()),
            clients: AtomicUsize::new(0),
            hasher: Hasher::with_seeds(a, b, c, d),
        }
    }

    /// Returns the number of clients that have a report.
    pub fn clients(&self) -> usize {
        self.clients.load(Relaxed)
    }

    /// Returns the sequence number of the newest change; 0 if nothing has changed yet.
    pub fn last(&self) -> u64 {
        lock(&self.feed).last()
    }

    /// Takes and releases each lock that merging takes, one after the other. Returns never if a
    /// thread holds one forever.
    pub fn pass_locks(&self) {
        self.shards.iter().for_each(|shard| drop(lock(shard)));
        drop(lock(&self.feed));
    }

    /// Returns the number of entries in the feed: one for each client, however often it reported.
    pub fn feed_entries(&self) -> usize {
        lock(&self.feed).entries()
    }

    /// Passes a client's newest report to `read`, which must be quick, since it runs under a lock.
    /// Returns `None` for a client without a report.
    pub fn find<T>(&self, client: ClientId<'_>, read: impl FnOnce(Report<'_>) -> T) -> Option<T> {
        let hash = self.hash(client);
        let shard = lock(&self.shards[shard_of(hash)]);
        shard
            .find(hash, client)
            .map(|slot| read(shard.records[slot].report()))
    }

    /// Passes a client's newest report and its metadata to `read`, as [`find`](Self::find) does.
    pub fn inspect<T>(
        &self,
        client: ClientId<'_>,
        read: impl FnOnce(StoredReport<'_>) -> T,
    ) -> Option<T> {
        let hash = self.hash(client);
        let shard = lock(&self.shards[shard_of(hash)]);
        let slot = shard.find(hash, client)?;
        Some(read(shard.records[slot].stored()))
    }

    /// Passes every record to `each`, which must be quick, since it runs under a lock: it is held
    /// for [`RECORDS_PER_LOCK`] records at a time. Calls `between` before each of these locks and
    /// at the end, with no lock held.
    ///
    /// Records may change during the scan. Every client that is in the store throughout is passed
    /// exactly once, with a report that it had meanwhile.
    pub fn scan(&self, mut each: impl FnMut(&StoredReport<'_>), mut between: impl FnMut()) {
        // Slots never move, so each slot belongs to one chunk. The shards take turns: a writer that
        // waits for one of them gets it before the scan locks it again.
        for first in (0..).step_by(RECORDS_PER_LOCK) {
            let mut is_end = true;
            for shard in &self.shards {
                between();
                let records = &lock(shard).records;
                let end = records.len().min(first + RECORDS_PER_LOCK);
                let chunk = &records[first.min(end)..end];
                let occupied = chunk.iter().filter(|record| !record.is_vacant());
                occupied.for_each(|record| each(&record.stored()));
                is_end &= end == records.len();
            }
            if is_end {
                break;
            }
        }
        between();
    }

    /// Stores a report if it is newer than the stored one. Rejects a new client if the store
    /// already has `max_clients` clients. `seen_by` is the sender; it is recorded if the report is
    /// the newest, whether it is stored now or was before.
    ///
    /// # Errors
    ///
    /// Returns [`StoreFull`] if the report is of a new client and there is no room for it.
    pub fn admit(
        &self,
        report: &Report<'_>,
        seen_by: SeenBy,
        receipt: Receipt,
        max_clients: usize,
    ) -> Result<MergeResult, StoreFull> {
        let unnumbered = (0, Tag::default());
        self.admit_at(unnumbered, report, seen_by, receipt, max_clients)
    }

    /// Does the same, with a sequence number of at least `number` if the report is stored, and with
    /// the tag with which a neighbour sent it.
    pub(super) fn admit_at(
        &self,
        (number, tag): (u64, Tag),
        report: &Report<'_>,
        seen_by: SeenBy,
        receipt: Receipt,
        max_clients: usize,
    ) -> Result<MergeResult, StoreFull> {
        let hash = self.hash(report.client);
        let at = shard_of(hash);
        let mut shard = lock(&self.shards[at]);
        let Some(slot) = shard.find(hash, report.client) else {
            self.count_client(max_clients)?;
            let numbers = (number, tag);
            self.add(at, &mut shard, hash, report, numbers, (seen_by, receipt));
            return Ok(MergeResult::Newer);
        };
        let record = &mut shard.records[slot];
        let merged = compare_and_mark(record, report, seen_by);
        if merged == MergeResult::Newer {
            let number = {
                let mut feed = lock(&self.feed);
                feed.remove(record.number);
                feed.append_at(record_id(at, slot), number)
            };
            record.replace(report, (number, tag), seen_by, receipt);
        }
        Ok(merged)
    }

    /// Merges stored reports, in the order of the feed from which they were stored. A report that is
    /// newer gets a sequence number not less than its own: `first` for the first report, and one
    /// more for each further one. Returns the number of newer reports.
    ///
    /// Call it before the store is shared: a reader of the feed must not see numbers that are
    /// skipped.
    pub(super) fn restore(&self, reports: &[Report<'_>], first: u64, receipt: Receipt) -> usize {
        let nobody = SeenBy::default();
        let admit = |(number, report)| {
            let numbers = (number, Tag::default());
            self.admit_at(numbers, report, nobody, receipt, usize::MAX)
        };
        let merged = (first..).zip(reports).map(admit);
        merged.filter(|it| *it == Ok(MergeResult::Newer)).count()
    }

    /// Makes `number` the last sequence number, if it is greater.
    pub(super) fn skip_to(&self, number: u64) {
        lock(&self.feed).skip_to(number);
    }

    /// Clears the bits `seen_by` in every record.
    pub(super) fn clear_senders(&self, seen_by: SeenBy) {
        for shard in &self.shards {
            for record in &mut lock(shard).records {
                record.seen_by.remove(seen_by);
            }
        }
    }

    /// Returns the number of steps of a complete walk that visits at most `limit` records in each.
    /// Vacant slots count too.
    pub fn walk_steps(&self, limit: usize) -> usize {
        let walk_steps = |shard: &Mutex<Shard>| lock(shard).records.len().div_ceil(limit).max(1);
        self.shards.iter().map(walk_steps).sum()
    }

    /// Checks up to `limit` records of the walk's current shard, and purges those for which
    /// `is_due` returns `true`. Returns the number of purged records. Repeated calls with one walk
    /// check every record again and again.
    pub(super) fn purge_some(
        &self,
        walk: &mut Walk,
        limit: usize,
        mut is_due: impl FnMut(&mut Record) -> bool,
    ) -> usize {
        let mut shard = lock(&self.shards[walk.shard]);
        let end = shard.records.len().min(walk.slot + limit);
        let is_due = |slot: &usize| {
            let record = &mut shard.records[*slot];
            !record.is_vacant() && is_due(record)
        };
        let purged: Vec<usize> = (walk.slot..end).filter(is_due).collect();
        walk.advance(end, shard.records.len());
        for &slot in &purged {
            let record = &shard.records[slot];
            lock(&self.feed).remove(record.number);
            let hash = self.hasher.hash_one(record.client_bytes());
            shard.remove(hash, slot);
        }
        self.clients.fetch_sub(purged.len(), Relaxed);
        purged.len()
    }

    /// Appends the feed entries after `after`, up to and including `through`, to `out`; at most
    /// `limit` of them. Returns the last sequence number of the feed at the same moment.
    pub(super) fn changes(
        &self,
        (after, through): (u64, u64),
        limit: usize,
        out: &mut Vec<FeedEntry>,
    ) -> u64 {
        let feed = lock(&self.feed);
        feed.copy(after, through, limit, out);
        feed.last()
    }

    /// Passes the records of some changes to `each`, in order. It skips a record that has changed
    /// again since: that record has a later entry in the feed. If `each` returns `Break`, reading
    /// stops before that change. Sets `done` to the last sequence number that was processed.
    /// Returns whether no record was skipped.
    ///
    /// Changes from one push form runs in one shard, and each run locks its shard once: one lock
    /// for each change would take longer than all the rest.
    pub(super) fn read(
        &self,
        entries: &[FeedEntry],
        done: &mut u64,
        mut each: impl FnMut(&StoredReport<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<(), bool> {
        let mut is_all = true;
        let shard_of = |entry: &FeedEntry| parts(entry.record).0;
        for run in entries.chunk_by(|a, b| shard_of(a) == shard_of(b)) {
            let shard = lock(&self.shards[shard_of(&run[0])]);
            for entry in run {
                let record = &shard.records[parts(entry.record).1];
                if record.number == entry.number {
                    each(&record.stored())?;
                } else {
                    is_all = false;
                }
                *done = entry.number;
            }
        }
        ControlFlow::Continue(is_all)
    }

    /// Adds a new client's first report, with a sequence number of at least `number`, and this tag.
    /// The caller has already counted the client.
    pub(super) fn add(
        &self,
        at: usize,
        shard: &mut Shard,
        hash: u64,
        report: &Report<'_>,
        (number, tag): (u64, Tag),
        (seen_by, receipt): (SeenBy, Receipt),
    ) {
        let number = lock(&self.feed).append_at(record_id(at, shard.next_slot()), number);
        let record = Record::new(report, (number, tag), seen_by, receipt);
        shard.insert(hash, record, &self.hasher);
    }

    pub(super) fn count_client(&self, limit: usize) -> Result<(), StoreFull> {
        let one_more = |clients| (clients < limit).then_some(clients + 1);
        let counted = self.clients.fetch_update(Relaxed, Relaxed, one_more);
        counted.map(drop).map_err(|_| StoreFull)
    }

    pub(super) fn hash(&self, client: ClientId<'_>) -> u64 {
        self.hasher.hash_one(client.bytes())
    }
}

/// Compares a report with its client's record. Records the sender in `seen_by` if the record holds
/// exactly this report.
pub(super) fn compare_and_mark(
    record: &mut Record,
    report: &Report<'_>,
    seen_by: SeenBy,
) -> MergeResult {
    match record.compare(report) {
        Ordering::Less => MergeResult::Stale,
        Ordering::Equal => {
            record.seen_by.add(seen_by);
            MergeResult::Duplicate
        }
        Ordering::Greater => MergeResult::Newer,
    }
}

/// Returns the shard of a hash. The table inside a shard uses the hash's lowest and highest bits.
pub(super) fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

/// Packs a record's shard and slot into 32 bits: room for 67 million records in each shard.
pub(super) fn record_id(shard: usize, slot: usize) -> RecordId {
    let id = (slot << SHARD_BITS) | shard;
    RecordId(u32::try_from(id).expect("memory ends long before four billion clients"))
}

fn parts(RecordId(id): RecordId) -> (usize, usize) {
    (id as usize % SHARDS, (id >> SHARD_BITS) as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::position::Position;
    use crate::model::report::Origin;
    use crate::model::timestamp::{Skew, Timestamp, UnixNanos};

    fn report<'a>(client: &'a str, position: &'a str, time: &'a str) -> Report<'a> {
        Report {
            client: ClientId::parse(client.as_bytes()).unwrap(),
            origin: Origin::parse(b"Riley").unwrap(),
            position: Position::parse(position.as_bytes()).unwrap(),
            time: Timestamp::parse(time.as_bytes()).unwrap(),
            skew: Skew(0),
        }
    }

    const RECEIPT: Receipt = Receipt {
        at: UnixNanos(0),
        from: ReportSource::Client,
    };

    fn merge(store: &Store, report: &Report<'_>) -> MergeResult {
        let admitted = store.admit(report, SeenBy::default(), RECEIPT, usize::MAX);
        admitted.unwrap()
    }

    fn admit_all(
        store: &Store,
        reports: &[Report<'_>],
        each: impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let reports = reports.iter().enumerate();
        let reports = reports.map(|(index, report)| (index, report, Tag::default()));
        store.admit_all(reports, SeenBy::default(), RECEIPT, usize::MAX, each);
    }

    fn all(store: &Store) -> Vec<(String, String, String)> {
        let mut entries = Vec::new();
        store.changes((0, u64::MAX), usize::MAX, &mut entries);
        let (mut reports, mut done) = (Vec::new(), 0);
        let read = store.read(&entries, &mut done, |stored| {
            let r = stored.report;
            let texts = [r.client.text(), r.position.text(), r.time.text()];
            reports.push(texts.map(str::to_owned).into());
            ControlFlow::Continue(())
        });
        assert_eq!((read, done), (ControlFlow::Continue(true), store.last()));
        assert_eq!(reports.len(), entries.len());
        reports.sort();
        reports
    }

    #[test]
    fn a_walk_takes_as_many_steps_as_walk_steps_returns() {
        const LIMIT: usize = 2;
        let store = Store::new([1, 2, 3, 4]);
        for client in 0..1000 {
            merge(&store, &report(&format!("client-{client}"), "+1+1", "1"));
        }
        let all_but_few = |record: &mut Record| !record.report().client.text().ends_with("00");
        let steps = store.walk_steps(1000);
        let mut walk = Walk::default();
        let purge = |_| store.purge_some(&mut walk, 1000, all_but_few);
        assert_eq!((0..steps).map(purge).sum::<usize>(), 991);

        // Most slots are vacant now.
        let mut walk = Walk::default();
        for step in 1..=store.walk_steps(LIMIT) {
            store.purge_some(&mut walk, LIMIT, |_| false);
            let is_at_start = (walk.shard, walk.slot) == (0, 0);
            assert_eq!(is_at_start, step == store.walk_steps(LIMIT), "step {step}");
        }
    }

    #[test]
    fn a_scan_passes_each_client_once_and_no_vacant_slot() {
        let store = Store::new([1, 2, 3, 4]);
        let clients = 3 * SHARDS * RECORDS_PER_LOCK;
        for client in 0..clients {
            merge(&store, &report(&format!("client-{client}"), "+1+1", "1"));
        }
        let is_due = |record: &mut Record| record.report().client.text().ends_with('0');
        let mut walk = Walk::default();
        for _ in 0..store.walk_steps(1000) {
            store.purge_some(&mut walk, 1000, is_due);
        }
        let mut seen = Vec::new();
        store.scan(
            |stored| seen.push(stored.report.client.text().to_owned()),
            || (),
        );
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((count, seen.len()), (store.clients(), store.clients()));
        assert_eq!(count, clients - clients.div_ceil(10));
    }

    #[test]
    fn the_newest_report_is_kept_and_the_result_says_so() {
        let store = Store::new([1, 2, 3, 4]);
        let merge = |position, time| merge(&store, &report("k", position, time));
        assert_eq!(merge("+1+1", "5"), MergeResult::Newer);
        assert_eq!(merge("+1+1", "5"), MergeResult::Duplicate);
        assert_eq!(merge("+9+9", "4"), MergeResult::Stale);
        assert_eq!(merge("+2+2", "5"), MergeResult::Newer);
        assert_eq!((store.last(), store.clients()), (2, 1));
        let client = ClientId::parse(b"k").unwrap();
        assert_eq!(
            store
                .find(client, |r| r.position.text().to_owned())
                .unwrap(),
            "+2+2"
        );
        assert_eq!(store.find(ClientId::parse(b"K").unwrap(), |_| ()), None);
    }

    #[test]
    fn a_full_store_accepts_reports_of_known_clients_only() {
        let store = Store::new([1, 2, 3, 4]);
        let admit = |client, time| {
            store.admit(&report(client, "+1+1", time), SeenBy::default(), RECEIPT, 1)
        };
        assert_eq!(admit("a", "1"), Ok(MergeResult::Newer));
        assert_eq!(admit("b", "1"), Err(StoreFull));
        assert_eq!(admit("a", "2"), Ok(MergeResult::Newer));
        assert_eq!(merge(&store, &report("b", "+1+1", "1")), MergeResult::Newer);
    }

    fn any_reports() -> impl Strategy<Value = Vec<(&'static str, &'static str, &'static str)>> {
        let client = prop::sample::select(vec!["a", "b", "c"]);
        let position = prop::sample::select(vec!["+1+1", "+1+1/", "-1+1"]);
        let time = prop::sample::select(vec!["1", "1.0", "2", "3", "1.0000000009"]);
        prop::collection::vec((client, position, time), 1..20)
    }

    proptest! {
        #[test]
        fn any_order_of_merging_converges_one_by_one_or_in_batches(
            (reports, shuffled) in any_reports()
                .prop_flat_map(|reports| (Just(reports.clone()), Just(reports).prop_shuffle())),
            at_once in 1usize..9,
        ) {
            let [reports, shuffled] = [reports, shuffled].map(|reports| -> Vec<_> {
                let report = |(client, position, time)| report(client, position, time);
                reports.into_iter().map(report).collect()
            });
            let [one, other] = [(); 2].map(|()| Store::new([1, 2, 3, 4]));
            for report in &reports {
                merge(&one, report);
            }
            let mut results = 0;
            for some in shuffled.chunks(at_once) {
                admit_all(&other, some, |_, _| results += 1);
            }
            prop_assert_eq!(all(&one), all(&other));
            prop_assert_eq!(one.clients(), other.clients());
            prop_assert_eq!(results, reports.len());
        }
    }

    #[test]
    fn readers_see_sequence_numbers_in_order_while_threads_write() {
        const THREADS: usize = 4;
        let store = Store::new([1, 2, 3, 4]);
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, done) = (&store, &done);
                scope.spawn(move || {
                    for round in 0..5000 {
                        let client = format!("client-{}", (round * 7 + thread) % 50);
                        let time = round.to_string();
                        let reports = [&client, "other"].map(|k| report(k, "+1+1", &time));
                        match round % 2 {
                            0 => admit_all(store, &reports, |_, _| ()),
                            _ => {
                                let _ = reports.map(|report| merge(store, &report));
                            }
                        }
                    }
                    done.fetch_add(1, Relaxed);
                });
            }
            let mut seen = 0;
            while done.load(Relaxed) < THREADS {
                let mut entries = Vec::new();
                let last = store.changes((seen, u64::MAX), usize::MAX, &mut entries);
                assert!(entries.is_sorted_by_key(|entry| entry.number));
                assert!(entries.last().is_none_or(|entry| entry.number == last));
                seen = last;
            }
        });
        assert_eq!(store.clients(), 51);
        assert_eq!(all(&store).len(), 51);
    }
}
