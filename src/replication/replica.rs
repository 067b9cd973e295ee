//! One server's part in the replication protocol: its store, and how it answers greetings and
//! pushes of its neighbours.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::model::client::ClientId;
use crate::model::name::Name;
use crate::model::report::Report;
use crate::model::timestamp::{OrderTime, UnixNanos};

use super::applied_watermarks::{AppliedWatermarks, PushSpan};
use super::expiry::Expiry;
use super::feed_reader::read_changes;
use super::lineage::{Acknowledged, Lineage, NeighbourFacts};
use super::messages::{
    GreetReply, Greeting, PushAnswer, PushHeader, Rejection, VERSION, incarnation, well_formed,
};
use super::record::Record;
use super::seen_by::{SeenBy, SenderSlot, SenderSlots};
use super::sent_pushes::{LinkEnds, PushMark, PushProgress, SentPushes};
use super::spanning_tree::{SpanningTree, TreePosition};
use super::store::{MergeResult, Receipt, ReportSource, Store, StoreFull, Walk};
use super::tag::{OriginIndex, PushOrigins, Tag, TaggedReport};
use super::version_vector::{OriginNumber, VersionVector};
use super::{Incarnation, NeighbourId, lock};

/// Maximum number of servers that are or were neighbours. A record holds a neighbour's number in 16
/// bits.
pub const MAX_NEIGHBOURS: usize = 65_528;

/// The identity of a server.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    /// The server's herd.
    pub herd: Name,
    /// The server's name in the herd.
    pub name: Name,
    /// The incarnation that the server begins with.
    pub incarnation: Incarnation,
}

/// An accepted push. Its reports may be merged in pieces; its sequence numbers count as applied
/// only when the push is [finished](Replica::finish_push).
#[derive(Debug)]
pub struct PendingPush {
    /// The sender.
    pub neighbour: NeighbourId,
    ends: LinkEnds,
    span: PushSpan,
    slot: Option<SenderSlot>,
    /// Number of merged reports that were not newer.
    redundant: AtomicUsize,
}

/// The results of merged reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeStats {
    /// Number of reports that were newer than the stored ones.
    pub newer: usize,
    /// Number of reports that were already stored, byte for byte: the redundancy of flooding.
    pub duplicate: usize,
    /// Number of reports that were older than the stored ones.
    pub stale: usize,
}

impl MergeStats {
    fn count(&mut self, merged: MergeResult) {
        match merged {
            MergeResult::Newer => self.newer += 1,
            MergeResult::Duplicate => self.duplicate += 1,
            MergeResult::Stale => self.stale += 1,
        }
    }
}

/// One server's part in the replication protocol.
///
/// Guarantees, for any order of calls from any number of threads:
/// - the store has the newest of all merged reports of each client, by the total order of reports;
/// - a sequence number counts as applied only when all reports through it were merged;
/// - a rejected greeting or push changes nothing.
///
/// Neighbours can be added and removed at any time. A removed neighbour keeps its number, and its
/// state stays true: the applied part of its pushes is in the store, and the neighbour still has
/// each report that it sent. If it is added again it continues where it was, without a loss and
/// without an echo; its greeting tells which incarnation it is now. The cost is a name and a few
/// watermarks for each removed neighbour.
#[derive(Debug)]
pub struct Replica {
    herd: Name,
    name: Name,
    incarnation: AtomicU64,
    /// Used only to give the reason of a rejection.
    members: Mutex<Vec<Name>>,
    neighbours: boxcar::Vec<Neighbour>,
    senders: SenderSlots,
    store: Store,
    /// What the store has of the reports of other incarnations. Its lock is held for a few reads
    /// and writes, and the feed's lock is taken inside it.
    vector: Mutex<VersionVector>,
    tree: Mutex<SpanningTree>,
    /// The last sequence number through which each report of this server's clients that is in the
    /// feed was pushed to some neighbour.
    delivered: AtomicU64,
    expiry: Option<Expiry>,
    /// The incarnations whose feed was restored, and the one that restored it.
    lineage: (Lineage, Option<Incarnation>),
}

/// A server that is or was a neighbour.
#[derive(Debug)]
struct Neighbour {
    name: Name,
    /// Whether the server is a neighbour now. Nothing else depends on when exactly this changes.
    is_linked: AtomicBool,
    watermarks: Mutex<AppliedWatermarks>,
    /// Kept here, since it must outlive a link that begins again.
    sent: Mutex<SentPushes>,
    /// The last acknowledgement of the neighbour.
    acknowledged: Mutex<Option<Acknowledged>>,
}

impl Replica {
    /// Creates the replica of an empty server. `members` are all servers of the herd. `neighbours`
    /// are the servers with a link to this one, at most [`MAX_NEIGHBOURS`]; their [`NeighbourId`]s
    /// are their indexes in that list. See [`Store::new`] for `keys`.
    pub fn new(
        identity: ServerIdentity,
        members: Vec<Name>,
        neighbours: Vec<Name>,
        keys: [u64; 4],
    ) -> Self {
        Self::with_senders(identity, members, neighbours, keys, usize::MAX)
    }

    /// Creates a replica as [`new`](Self::new) does, with bits for at most `max_senders` senders at
    /// one time. Fewer bits mean more echoes and never a loss; a simulation limits them.
    pub fn with_senders(
        identity: ServerIdentity,
        members: Vec<Name>,
        neighbours: Vec<Name>,
        keys: [u64; 4],
        max_senders: usize,
    ) -> Self {
        let replica = Self {
            herd: identity.herd,
            name: identity.name,
            incarnation: AtomicU64::new(identity.incarnation.get()),
            members: Mutex::new(members),
            neighbours: boxcar::Vec::new(),
            senders: SenderSlots::new(max_senders),
            store: Store::new(keys),
            vector: Mutex::default(),
            tree: Mutex::default(),
            delivered: AtomicU64::new(0),
            expiry: None,
            lineage: (Lineage::default(), None),
        };
        for name in &neighbours {
            if let Some(neighbour) = replica.register(name) {
                replica.link(neighbour);
            }
        }
        replica
    }

    /// Sets the rule by which reports are expired and purged.
    pub fn with_expiry(mut self, expiry: Option<Expiry>) -> Self {
        self.expiry = expiry;
        self
    }

    /// Returns the name of the server's herd.
    pub fn herd(&self) -> &Name {
        &self.herd
    }

    /// Returns the server's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the server's incarnation.
    pub fn incarnation(&self) -> Incarnation {
        let number = self.incarnation.load(Relaxed);
        Incarnation::new(number).expect("only an incarnation is stored")
    }

    /// Replaces the incarnation `used`, which another process has used too, by a fresh one. Returns
    /// `false` if the server has another one already.
    ///
    /// The store stays. Nothing that was applied or acknowledged under the earlier incarnation
    /// counts under the new one, so neighbours and this server send each other everything again.
    /// The version vector is empty then: what it claimed may be of a process that had the same
    /// incarnation.
    pub fn renew_incarnation(&self, used: Incarnation, fresh: Incarnation) -> bool {
        let (used, fresh) = (used.get(), fresh.get());
        // The vector counts for one incarnation. Who reads both holds its lock.
        let mut vector = lock(&self.vector);
        let renewed = self
            .incarnation
            .compare_exchange(used, fresh, Relaxed, Relaxed);
        if renewed.is_ok() {
            vector.forget();
        }
        renewed.is_ok()
    }

    /// Returns the current neighbours, in the order in which they were first registered.
    pub fn neighbours(&self) -> impl Iterator<Item = (NeighbourId, &Name)> {
        let all = self.neighbours.iter();
        all.filter(|(_, neighbour)| neighbour.is_linked.load(Relaxed))
            .map(|(at, neighbour)| (NeighbourId(at), &neighbour.name))
    }

    /// Returns whether a server with this name is a neighbour now.
    pub fn is_neighbour(&self, name: &str) -> bool {
        self.neighbour_named(name).is_some()
    }

    /// Returns the name of a server that is or was a neighbour.
    ///
    /// # Panics
    ///
    /// Panics if this replica never returned that number.
    pub fn name_of(&self, neighbour: NeighbourId) -> &Name {
        &self.neighbour(neighbour).name
    }

    /// Returns the number of a server that is to be a neighbour: the number that it had before, if
    /// it was one. Its greetings are rejected until it is [linked](Self::link). Returns `None` if
    /// [`MAX_NEIGHBOURS`] servers were registered before.
    pub fn register(&self, name: &Name) -> Option<NeighbourId> {
        let mut all = self.neighbours.iter();
        let known = all.find(|(_, neighbour)| neighbour.name == *name);
        let new = || {
            let neighbour = Neighbour {
                name: name.clone(),
                is_linked: AtomicBool::new(false),
                watermarks: Mutex::default(),
                sent: Mutex::default(),
                acknowledged: Mutex::default(),
            };
            let has_room = self.neighbours.count() < MAX_NEIGHBOURS;
            has_room.then(|| self.neighbours.push(neighbour))
        };
        known.map(|(at, _)| at).or_else(new).map(NeighbourId)
    }

    /// Makes a registered server a neighbour.
    pub fn link(&self, neighbour: NeighbourId) {
        let neighbour = self.neighbour(neighbour);
        neighbour.is_linked.store(true, Relaxed);
    }

    /// Makes a server no neighbour: its greetings and pushes are rejected, and a push that is being
    /// merged is rejected at its end. Its reports stay.
    pub fn unlink(&self, neighbour: NeighbourId) {
        self.set_position(neighbour, None);
        let neighbour = self.neighbour(neighbour);
        neighbour.is_linked.store(false, Relaxed);
    }

    /// Sets the position of an incarnation of a neighbour in the spanning tree; `None` if it is
    /// unknown.
    pub(super) fn set_position(
        &self,
        neighbour: NeighbourId,
        position: Option<(Incarnation, TreePosition)>,
    ) {
        lock(&self.tree).set(neighbour, position);
    }

    /// Returns whether the link with a neighbour is one of the spanning tree.
    pub(super) fn is_tree_link(&self, neighbour: NeighbourId) -> bool {
        lock(&self.tree).has_link(self.incarnation(), neighbour)
    }

    /// Returns the number of changes of this server's version vector, and the entries that changed
    /// since there were `since` changes. The store has all that they claim.
    pub(super) fn vector_since(&self, since: u64) -> (u64, Vec<OriginNumber>) {
        let vector = lock(&self.vector);
        (vector.changes(), vector.changed_since(since))
    }

    /// Passes the entries of a vector to `each`, with the indexes of their origins.
    pub(super) fn resolve(&self, entries: &[OriginNumber], mut each: impl FnMut(OriginIndex, u64)) {
        if entries.is_empty() {
            return;
        }
        let mut vector = lock(&self.vector);
        for entry in entries {
            each(vector.index(entry.origin), entry.number);
        }
    }

    /// Records an acknowledged push through the sequence number `to`.
    pub(super) fn record_delivered(&self, to: u64) {
        self.delivered.fetch_max(to, Relaxed);
    }

    /// Returns the last sequence number through which each report of this server's clients that is
    /// in the feed was pushed to some neighbour.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Relaxed)
    }

    /// Returns the index of this server's incarnation in tags.
    pub(super) fn own_origin(&self) -> OriginIndex {
        let mut vector = lock(&self.vector);
        vector.index(self.incarnation())
    }

    /// Returns the incarnation with an index in tags.
    pub fn origin(&self, index: OriginIndex) -> Option<Incarnation> {
        lock(&self.vector).origin(index)
    }

    /// Resolves the incarnations that a push names, for the tags of its reports. Must be called
    /// before its reports are merged.
    pub fn push_origins(&self, origins: &[Incarnation]) -> PushOrigins {
        let mut vector = lock(&self.vector);
        let own = self.incarnation();
        let origin = |&origin: &Incarnation| {
            let index = vector.index(origin);
            let covered = if origin == own {
                self.store.last()
            } else {
                vector.number(index)
            };
            (index, covered)
        };
        PushOrigins(origins.iter().map(origin).collect())
    }

    /// Sets the list of all servers of the herd.
    pub fn set_members(&self, members: Vec<Name>) {
        *lock(&self.members) = members;
    }

    /// Returns the age at which reports expire; `None` if they never do.
    pub fn expire_after(&self) -> Option<Duration> {
        self.expiry.map(Expiry::after)
    }

    /// Returns the expiry rule; `None` if reports never expire.
    pub fn expiry(&self) -> Option<Expiry> {
        self.expiry
    }

    /// Returns whether a report with this order time is excluded from answers at `now`.
    pub fn is_expired(&self, time: OrderTime, now: UnixNanos) -> bool {
        self.expiry
            .is_some_and(|expiry| expiry.is_expired(time, now))
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the greeting of an incarnation of this server for a neighbour, which is to be sent.
    pub fn greeting(&self, neighbour: NeighbourId, incarnation: Incarnation) -> Greeting<'_> {
        let acknowledged = self.acknowledged(neighbour);
        if let Some(acknowledged) = acknowledged {
            let mut sent = lock(&self.neighbour(neighbour).sent);
            sent.claim(incarnation, acknowledged.through);
        }
        Greeting {
            version: VERSION,
            herd: self.herd.as_str(),
            sender: self.name.as_str(),
            incarnation: incarnation.get(),
            receiver: self.name_of(neighbour).as_str(),
            expire_after: self.expire_after(),
            acknowledged,
        }
    }

    /// Merges reports that an earlier incarnation of this server stored, in the order of its feed.
    /// The first gets the sequence number `first`, or a higher one, and each further one at least
    /// the next. Returns the number of those that are newer than what the store has.
    pub fn restore(&mut self, reports: &[Report<'_>], first: u64, now: UnixNanos) -> usize {
        let receipt = Receipt {
            at: now,
            from: ReportSource::Storage,
        };
        self.store.restore(reports, first, receipt)
    }

    /// Records that the feed of earlier incarnations was restored, up to the sequence number
    /// `last`. Changes from now on get higher numbers.
    pub fn restore_lineage(&mut self, lineage: Lineage, last: u64) {
        self.store.skip_to(last);
        self.lineage = (lineage, Some(self.incarnation()));
    }

    /// Returns the earlier incarnations whose feed was restored: none if the server has drawn a new
    /// incarnation since then.
    pub fn lineage(&self) -> Lineage {
        let (lineage, restored_by) = self.lineage;
        if restored_by == Some(self.incarnation()) {
            lineage
        } else {
            Lineage::default()
        }
    }

    /// Returns how many incarnations ago the server had this one: 0 for the present one. `None` if it
    /// is not in the lineage.
    fn age(&self, incarnation: Incarnation) -> Option<usize> {
        let present = std::iter::once(self.incarnation());
        let lineage = self.lineage();
        let mut all = present.chain(lineage.iter());
        all.position(|it| it == incarnation)
    }

    /// Records what an earlier incarnation of this server knew of a neighbour, if everything that
    /// it had stored before was restored. Has no effect for a server that is not a neighbour.
    pub fn restore_facts(&mut self, facts: &NeighbourFacts) {
        let Some(neighbour) = self.neighbour_named(&facts.neighbour) else {
            return;
        };
        let neighbour = self.neighbour(neighbour);
        let mut watermarks = lock(&neighbour.watermarks);
        for applied in &facts.applied {
            let ends = LinkEnds {
                own: applied.by,
                theirs: applied.of,
            };
            watermarks.greet(ends, applied.through);
        }
        *lock(&neighbour.acknowledged) = facts.acknowledged;
    }

    /// Returns what this server knows of each neighbour. What it has applied is in the store when
    /// this returns, and so is what had replaced reports when acknowledged pushes were filled.
    pub fn facts(&self) -> Vec<NeighbourFacts> {
        let applied = |(ends, applied): (LinkEnds, u64)| Acknowledged {
            by: ends.own,
            of: ends.theirs,
            through: applied,
        };
        let of = |(_, neighbour): (usize, &Neighbour)| NeighbourFacts {
            neighbour: neighbour.name.to_string(),
            applied: lock(&neighbour.watermarks).iter().map(applied).collect(),
            acknowledged: *lock(&neighbour.acknowledged),
        };
        let all = self.neighbours.iter();
        let linked = all.filter(|(_, neighbour)| neighbour.is_linked.load(Relaxed));
        linked.map(of).collect()
    }

    /// Returns the last acknowledgement of a neighbour, if it is of this incarnation or its lineage.
    fn acknowledged(&self, neighbour: NeighbourId) -> Option<Acknowledged> {
        let latest = *lock(&self.neighbour(neighbour).acknowledged);
        latest.filter(|it| self.age(it.of).is_some())
    }

    /// Merges a report that a client of this server sent at `now`. See [`Store::admit`].
    ///
    /// # Errors
    ///
    /// Returns [`StoreFull`] if the report is of a new client and the store already has
    /// `max_clients`.
    pub fn admit(
        &self,
        report: &Report<'_>,
        now: UnixNanos,
        max_clients: usize,
    ) -> Result<MergeResult, StoreFull> {
        let receipt = Receipt {
            at: now,
            from: ReportSource::Client,
        };
        let nobody = SeenBy::default();
        self.store.admit(report, nobody, receipt, max_clients)
    }

    /// Merges several reports of clients as [`admit`](Self::admit) does, each with its index. Calls
    /// `each` with the index and the result of every report. See [`Store::admit_all`].
    pub fn admit_all<'a>(
        &self,
        reports: impl Iterator<Item = (usize, &'a Report<'a>)>,
        now: UnixNanos,
        max_clients: usize,
        each: impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let receipt = Receipt {
            at: now,
            from: ReportSource::Client,
        };
        let nobody = SeenBy::default();
        let reports = reports.map(|(index, report)| (index, report, Tag::default()));
        self.store
            .admit_all(reports, nobody, receipt, max_clients, each);
    }

    /// Passes the newest report of a client to `read`, which must be quick (see [`Store::find`]).
    /// Returns `None` if there is no report, or an expired one at the time that `now` returns.
    pub fn locate<T>(
        &self,
        client: ClientId<'_>,
        now: impl FnOnce() -> UnixNanos,
        read: impl FnOnce(Report<'_>) -> T,
    ) -> Option<T> {
        // The clock is read only if reports expire.
        let bound = self.expiry.map(|expiry| (expiry, now()));
        let is_shown = |report: &Report<'_>| {
            bound.is_none_or(|(expiry, now)| !expiry.is_expired(report.order_time(), now))
        };
        let found = self
            .store
            .find(client, |report| is_shown(&report).then(|| read(report)));
        found.flatten()
    }

    /// Returns whether a report with this order time is left out of batches at `now`.
    pub(super) fn is_withheld(&self, time: OrderTime, now: UnixNanos) -> bool {
        self.expiry
            .is_some_and(|expiry| expiry.is_withheld(time, now))
    }

    /// Visits up to `limit` records of a walk, and purges those whose reports were expired at all
    /// visits for longer than the purge delay. `now` is the server's clock; `uptime` is a monotonic
    /// time since a fixed moment. Returns the number of purged records. See [`Walk`].
    pub fn purge_some(
        &self,
        walk: &mut Walk,
        limit: usize,
        now: UnixNanos,
        uptime: Duration,
    ) -> usize {
        let Some(expiry) = self.expiry else { return 0 };
        let is_due = |record: &mut Record| {
            let time = record.order_time();
            expiry.is_due(&mut record.expired_since, time, now, uptime)
        };
        self.store.purge_some(walk, limit, is_due)
    }

    /// Checks a greeting and records its incarnation.
    ///
    /// # Errors
    ///
    /// Returns the reason if the greeting is rejected.
    pub fn accept_greeting(&self, greeting: &Greeting<'_>) -> Result<GreetReply, Rejection> {
        if greeting.version.major != VERSION.major {
            return Err(Rejection::IncompatibleVersion(greeting.version));
        }
        let neighbour = self.check_sender(greeting.herd, greeting.sender)?;
        if greeting.receiver != self.name.as_str() {
            return Err(well_formed("receiver", greeting.receiver)
                .map_or_else(|e| e, Rejection::WrongReceiver));
        }
        let ends = LinkEnds {
            own: self.incarnation(),
            theirs: incarnation("incarnation", greeting.incarnation)?,
        };
        let mut watermarks = lock(&self.neighbour(neighbour).watermarks);
        let claimed = greeting.acknowledged;
        let claimed = claimed.and_then(|it| Some((it, self.age(it.by)?)));
        let initial = claimed.map_or(0, |(claimed, age)| {
            let is_of = |ends: LinkEnds| {
                ends.theirs == claimed.of && self.age(ends.own).is_some_and(|own| own >= age)
            };
            let applied = watermarks.iter().filter(|&(ends, _)| is_of(ends));
            let applied = applied.map(|(_, applied)| applied).max();
            claimed.through.min(applied.unwrap_or(0))
        });
        let (progress, is_new) = watermarks.greet(ends, initial);
        drop(watermarks);
        if self.senders.is_full() {
            self.free_sender_slots();
        }
        Ok(GreetReply {
            incarnation: ends.own,
            is_new,
            progress,
            neighbour,
            greeter: ends.theirs,
        })
    }

    /// Checks everything of a push except its reports, and accepts it.
    ///
    /// # Errors
    ///
    /// Returns the reason if the push is rejected.
    pub fn begin_push(&self, push: &PushHeader<'_>) -> Result<PendingPush, Rejection> {
        let neighbour = self.check_sender(push.herd, push.sender)?;
        let ends = LinkEnds {
            own: self.incarnation(),
            theirs: incarnation("sender_incarnation", push.sender_incarnation)?,
        };
        if push.receiver_incarnation != ends.own.get() {
            return Err(Rejection::WrongIncarnation);
        }
        if push.from > push.to {
            return Err(Rejection::Malformed(format!(
                "a push cannot begin after sequence number {} and end with {}",
                push.from, push.to
            )));
        }
        let mut watermarks = lock(&self.neighbour(neighbour).watermarks);
        let applied = watermarks.applied(ends).ok_or(Rejection::NotGreeted)?;
        if push.from > applied {
            let from = push.from;
            return Err(Rejection::Gap { applied, from });
        }
        let span = PushSpan {
            from: push.from,
            to: push.to,
            check: push.check,
        };
        let slot = || self.senders.acquire((neighbour, ends.theirs));
        Ok(PendingPush {
            neighbour,
            ends,
            span,
            slot: watermarks.begin(ends, span, slot),
            redundant: AtomicUsize::new(0),
        })
    }

    /// Merges some of a push's reports at `now`, and returns their results.
    pub fn merge(
        &self,
        pending: &PendingPush,
        reports: &[TaggedReport<'_>],
        now: UnixNanos,
    ) -> MergeStats {
        let seen_by = pending
            .slot
            .as_ref()
            .map_or(SeenBy::default(), SenderSlot::bit);
        let receipt = Receipt {
            at: now,
            from: ReportSource::Neighbour(pending.neighbour),
        };
        let reports = reports.iter().map(|it| (&it.report, it.tag));
        let stats = self.merge_all(reports, seen_by, receipt);
        let redundant = stats.duplicate + stats.stale;
        pending.redundant.fetch_add(redundant, Relaxed);
        stats
    }

    /// Merges reports of an export at `now`, and returns their results.
    pub fn import(&self, reports: &[Report<'_>], now: UnixNanos) -> MergeStats {
        let receipt = Receipt {
            at: now,
            from: ReportSource::Storage,
        };
        let reports = reports.iter().map(|report| (report, Tag::default()));
        self.merge_all(reports, SeenBy::default(), receipt)
    }

    fn merge_all<'a>(
        &self,
        reports: impl Iterator<Item = (&'a Report<'a>, Tag)>,
        seen_by: SeenBy,
        receipt: Receipt,
    ) -> MergeStats {
        let mut stats = MergeStats::default();
        let each = |_, merged: Result<MergeResult, StoreFull>| {
            merged.into_iter().for_each(|it| stats.count(it))
        };
        let all = reports
            .enumerate()
            .map(|(index, (report, tag))| (index, report, tag));
        self.store
            .admit_all(all, seen_by, receipt, usize::MAX, each);
        stats
    }

    /// Records that all reports of a push were merged, which carried these entries of its sender's
    /// version vector. Returns the answer. Must not be called if a report of the push was not
    /// merged.
    ///
    /// # Errors
    ///
    /// Returns the reason if the sender is no longer a neighbour, or its incarnation was dropped
    /// meanwhile.
    pub fn finish_push(
        &self,
        pending: &PendingPush,
        vector: &[OriginNumber],
    ) -> Result<PushAnswer, Rejection> {
        let neighbour = self.neighbour(pending.neighbour);
        if !neighbour.is_linked.load(Relaxed) {
            return Err(self.rejection_of(neighbour.name.to_string()));
        }
        let progress = lock(&neighbour.watermarks)
            .advance(pending.ends, pending.span)
            .ok_or(Rejection::NotGreeted)?;
        let (own, changes) = self.adopt(pending.ends.own, vector);
        let before = lock(&neighbour.watermarks).answer(pending.ends, changes);
        let mut vector = lock(&self.vector).changed_since(before);
        vector.push(OriginNumber {
            origin: own,
            number: self.store.last(),
        });
        Ok(PushAnswer {
            progress,
            vector,
            redundant: pending.redundant.load(Relaxed),
            position: Some(lock(&self.tree).position(own)),
        })
    }

    /// Adopts entries of the vector of a push to the incarnation `own` of this server, unless it
    /// has another one by now. Returns the present incarnation, and the number of changes of the
    /// vector.
    fn adopt(&self, own: Incarnation, entries: &[OriginNumber]) -> (Incarnation, u64) {
        let mut vector = lock(&self.vector);
        let present = self.incarnation();
        if own == present {
            for entry in entries.iter().filter(|entry| entry.origin != own) {
                let index = vector.index(entry.origin);
                vector.raise(index, entry.number);
            }
        }
        (present, vector.changes())
    }

    /// Records a push to a neighbour before it is sent.
    pub(super) fn record_sent(&self, neighbour: NeighbourId, ends: LinkEnds, push: PushMark) {
        lock(&self.neighbour(neighbour).sent).record(ends, push);
    }

    /// Records what a neighbour has applied. Returns `false`, and records nothing, if pushes of this
    /// process do not account for it: another process has used this server's incarnation.
    pub(super) fn accept_progress(
        &self,
        neighbour: NeighbourId,
        ends: LinkEnds,
        progress: &PushProgress,
    ) -> bool {
        let neighbour = self.neighbour(neighbour);
        let is_accounted = lock(&neighbour.sent).accept(ends, progress);
        if is_accounted {
            let mut latest = lock(&neighbour.acknowledged);
            let (by, of, through) = (ends.theirs, ends.own, progress.applied);
            let same = latest.filter(|it| (it.by, it.of) == (by, of));
            let through = same.map_or(through, |it| it.through.max(through));
            *latest = Some(Acknowledged { by, of, through });
        }
        is_accounted
    }

    /// Passes the newest reports of this server's own clients after the sequence number `after` to
    /// `each`, in the order of the feed, except those that the latest incarnation of one of
    /// `holders` has sent too. `each` must be quick, since it runs under a lock.
    pub fn own_reports_after(
        &self,
        after: u64,
        holders: &[NeighbourId],
        mut each: impl FnMut(&Report<'_>),
    ) {
        let mut held = SeenBy::default();
        for holder in holders {
            if let Some(slot) = lock(&self.neighbour(*holder).watermarks).last_slot() {
                held.add(slot.bit());
            }
        }
        read_changes(&self.store, (after, u64::MAX), usize::MAX, |stored| {
            let is_own = stored.receipt().from == ReportSource::Client;
            if is_own && !stored.seen_by.intersects(held) {
                each(&stored.report);
            }
            ControlFlow::Continue(())
        });
    }

    /// Returns the slot of an incarnation of a neighbour, if it has one.
    pub(super) fn sender_slot(
        &self,
        neighbour: NeighbourId,
        incarnation: Incarnation,
    ) -> Option<SenderSlot> {
        self.senders.find((neighbour, incarnation))
    }

    /// Releases the bits of incarnations that have most likely ended, so that running ones get one.
    fn free_sender_slots(&self) {
        for (_, neighbour) in self.neighbours.iter() {
            let mut watermarks = lock(&neighbour.watermarks);
            if neighbour.is_linked.load(Relaxed) {
                watermarks.release_all_but_last()
            } else {
                watermarks.release_all()
            }
        }
        self.senders
            .reclaim(|seen_by| self.store.clear_senders(seen_by));
    }

    fn check_sender(&self, herd: &str, sender: &str) -> Result<NeighbourId, Rejection> {
        let herd = well_formed("herd", herd)?;
        let sender = well_formed("sender", sender)?;
        if herd != self.herd.as_str() {
            return Err(Rejection::OtherHerd(herd));
        }
        if sender == self.name.as_str() {
            return Err(Rejection::OwnName);
        }
        self.neighbour_named(&sender)
            .ok_or_else(|| self.rejection_of(sender))
    }

    /// Returns the reason for rejecting a sender that is not a neighbour.
    fn rejection_of(&self, name: String) -> Rejection {
        let members = lock(&self.members);
        if members.iter().any(|member| member.as_str() == name) {
            Rejection::NotNeighbour(name)
        } else {
            Rejection::UnknownServer(name)
        }
    }

    fn neighbour_named(&self, name: &str) -> Option<NeighbourId> {
        let mut neighbours = self.neighbours();
        let (neighbour, _) = neighbours.find(|(_, other)| other.as_str() == name)?;
        Some(neighbour)
    }

    fn neighbour(&self, NeighbourId(at): NeighbourId) -> &Neighbour {
        let neighbour = self.neighbours.get(at);
        neighbour.expect("only numbers of registered neighbours are returned")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::client::ClientId;
    use crate::model::position::Position;
    use crate::model::report::Origin;
    use crate::model::timestamp::{Skew, Timestamp};
    use crate::replication::send_cursor::{BatchBuilder, MAX_BATCH_BYTES, SendCursor};

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// Riley, between Jaquez and Juzang.
    fn riley(max_senders: usize) -> Replica {
        let identity = ServerIdentity {
            herd: name("test"),
            name: name("Riley"),
            incarnation: Incarnation::new(9).unwrap(),
        };
        let neighbours = vec![name("Jaquez"), name("Juzang")];
        let members = neighbours.clone();
        Replica::with_senders(identity, members, neighbours, [1, 2, 3, 4], max_senders)
    }

    fn report<'a>(client: &'a str, time: &'a str) -> Report<'a> {
        Report {
            client: ClientId::parse(client.as_bytes()).unwrap(),
            origin: Origin::parse(b"Juzang").unwrap(),
            position: Position::parse(b"+1+1").unwrap(),
            time: Timestamp::parse(time.as_bytes()).unwrap(),
            skew: Skew(0),
        }
    }

    /// Greets as a new incarnation of a neighbour and pushes one report.
    fn greet_and_push(riley: &Replica, sender: &str, incarnation: u64, report: &Report<'_>) {
        let greeting = Greeting {
            version: VERSION,
            herd: "test",
            sender,
            incarnation,
            receiver: "Riley",
            expire_after: None,
            acknowledged: None,
        };
        riley.accept_greeting(&greeting).unwrap();
        let header = PushHeader {
            herd: "test",
            sender,
            sender_incarnation: incarnation,
            receiver_incarnation: 9,
            from: 0,
            to: 1,
            check: None,
        };
        let pending = riley.begin_push(&header).unwrap();
        let report = TaggedReport {
            report: *report,
            tag: Tag::default(),
        };
        riley.merge(&pending, &[report], UnixNanos(0));
        riley.finish_push(&pending, &[]).unwrap();
    }

    /// Accepts all reports and keeps their clients.
    #[derive(Default)]
    struct ClientList(Vec<String>);

    impl BatchBuilder for ClientList {
        fn add(&mut self, report: &Report<'_>, _: Tag, _: usize) -> bool {
            self.0.push(report.client.text().to_owned());
            true
        }

        fn bytes(&self) -> usize {
            0
        }
    }

    /// Returns the clients whose reports Riley would send to an incarnation of Jaquez.
    fn for_jaquez(riley: &Replica, incarnation: u64) -> Vec<String> {
        let mut cursor = SendCursor::new(NeighbourId(0), 100);
        cursor.start_at(Incarnation::new(incarnation).unwrap(), 0);
        let mut clients = ClientList::default();
        let limits = (MAX_BATCH_BYTES, u64::MAX);
        cursor.fill(riley, UnixNanos(0), limits, &mut clients);
        clients.0
    }

    #[test]
    fn ended_incarnations_keep_no_bit_from_running_ones() {
        let riley = riley(2);
        greet_and_push(&riley, "Juzang", 1, &report("plum", "1"));
        let times: Vec<_> = (1..=10).map(|time| time.to_string()).collect();
        for (incarnation, time) in (11..).zip(&times) {
            greet_and_push(&riley, "Jaquez", incarnation, &report("kiwi", time));
            assert_eq!(for_jaquez(&riley, incarnation), ["plum"], "no echo");
            let dead = incarnation - 1;
            assert_eq!(for_jaquez(&riley, dead), ["plum", "kiwi"], "no loss");
        }
    }

    #[test]
    fn a_vector_excuses_from_a_report_of_an_own_client_only_if_some_neighbour_has_it() {
        let riley = riley(2);
        riley
            .admit(&report("kiwi", "1"), UnixNanos(0), usize::MAX)
            .unwrap();
        let mut cursor = SendCursor::new(NeighbourId(0), 100);
        cursor.start_at(Incarnation::new(1).unwrap(), 0);
        let claim = OriginNumber {
            origin: riley.incarnation(),
            number: 1,
        };
        cursor.learn(&riley, &[claim]);
        let mut sent = || {
            let mut clients = ClientList::default();
            let limits = (MAX_BATCH_BYTES, u64::MAX);
            cursor.fill(&riley, UnixNanos(0), limits, &mut clients);
            clients.0
        };
        assert_eq!(sent(), ["kiwi"], "it may be the claim of another process");
        riley.record_delivered(1);
        assert!(sent().is_empty());
    }

    #[test]
    fn a_tag_that_stands_for_another_report_is_dropped() {
        let riley = riley(2);
        greet_and_push(&riley, "Juzang", 1, &report("plum", "1"));
        let origin = Incarnation::new(1).unwrap();
        let vector = [OriginNumber { origin, number: 5 }];
        riley.adopt(riley.incarnation(), &vector);
        let origins = riley.push_origins(&[origin, riley.incarnation()]);
        assert_eq!(origins.tag(0, 5), Tag::default());
        assert_eq!(origins.tag(0, 6).number(), 6);
        let last = riley.store().last();
        assert_eq!(origins.tag(1, last), Tag::default());
    }

    #[test]
    fn a_renewed_incarnation_claims_nothing_that_the_earlier_one_did() {
        let riley = riley(2);
        let [origin, fresh] = [1, 10].map(|it| Incarnation::new(it).unwrap());
        let before = riley.incarnation();
        let vector = [OriginNumber { origin, number: 5 }];
        riley.adopt(before, &vector);
        assert_eq!(riley.vector_since(0).1, vector);
        assert!(riley.renew_incarnation(before, fresh));
        assert!(riley.vector_since(0).1.is_empty());
        riley.adopt(before, &vector);
        assert!(
            riley.vector_since(0).1.is_empty(),
            "a push to the earlier one"
        );
    }

    #[test]
    fn a_restored_feed_begins_where_both_ends_know_that_it_was_applied() {
        let incarnation = |number| Incarnation::new(number).unwrap();
        let acknowledged = |by, of, through| Acknowledged {
            by: incarnation(by),
            of: incarnation(of),
            through,
        };
        for (claim, expected) in [
            (None, 0),
            (Some(acknowledged(8, 1, 15)), 15),
            (Some(acknowledged(8, 1, 25)), 20),
            (Some(acknowledged(9, 1, 25)), 20),
            // What a later incarnation applied does not count.
            (Some(acknowledged(7, 1, 15)), 10),
            // Of another incarnation of the sender, or by one that is not in the lineage.
            (Some(acknowledged(8, 3, 15)), 0),
            (Some(acknowledged(6, 1, 15)), 0),
        ] {
            // The incarnation 9 restored what 8 stored, which had restored what 7 stored.
            let mut riley = riley(2);
            let lineage = Lineage::default().extended(incarnation(7));
            riley.restore_lineage(lineage.extended(incarnation(8)), 50);
            riley.restore_facts(&NeighbourFacts {
                neighbour: "Jaquez".to_owned(),
                applied: vec![acknowledged(7, 1, 10), acknowledged(8, 1, 20)],
                acknowledged: None,
            });
            let greeting = |incarnation| Greeting {
                version: VERSION,
                herd: "test",
                sender: "Jaquez",
                incarnation,
                receiver: "Riley",
                expire_after: None,
                acknowledged: claim,
            };
            let applied = |riley: &Replica, incarnation| {
                let reply = riley.accept_greeting(&greeting(incarnation)).unwrap();
                reply.progress.applied
            };
            assert_eq!(applied(&riley, 2), expected, "{claim:?}");
            assert!(riley.renew_incarnation(incarnation(9), incarnation(10)));
            assert_eq!(applied(&riley, 3), 0, "nothing of that counts any more");
        }
    }
}
