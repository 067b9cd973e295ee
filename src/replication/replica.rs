//! One server's part in the herd: its store, and what it answers to greetings
//! and pushes of its neighbours.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::model::client::ClientId;
use crate::model::name::{Name, is_name};
use crate::model::report::Report;
use crate::model::timestamp::{Timestamp, UnixNanos};

use super::applied_watermarks::AppliedWatermarks;
use super::expiry::Expiry;
use super::seen_by::{SeenBy, SenderSlot, SenderSlots};
use super::store::{MergeResult, Receipt, Store, StoreFull, Walk};
use super::{Incarnation, NeighbourId, lock};

/// The version of the rules that servers follow among each other. Servers of
/// one major version work together; any change to the rules of form by which
/// reports are judged makes a new one.
pub const VERSION: Version = Version { major: 1, minor: 0 };

/// Maximum number of servers that are or were neighbours. Records hold a neighbour's number in 16
/// bits.
pub const MAX_NEIGHBOURS: usize = 65_528;

/// A version of the protocol between servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Must be equal on both sides.
    pub major: u32,
    /// For people to read.
    pub minor: u32,
}

/// Who a server is.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    /// The herd that it belongs to.
    pub herd: Name,
    /// Its name in the herd.
    pub name: Name,
    /// This life of it.
    pub incarnation: Incarnation,
}

/// How a link begins: the dialler says who it is and whom it means to reach.
#[derive(Clone, Copy, Debug)]
pub struct Greeting<'a> {
    /// The protocol that the sender speaks.
    pub version: Version,
    /// The sender's herd.
    pub herd: &'a str,
    /// The sender's name.
    pub sender: &'a str,
    /// The sender's incarnation; 0 is none.
    pub incarnation: u64,
    /// The server that the sender means to reach.
    pub receiver: &'a str,
    /// When the sender is_expired and is_purged reports, for the receiver to compare;
    /// `None` where it never does.
    pub expire_after: Option<Duration>,
}

/// The answer to a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GreetReply {
    /// The incarnation that answers.
    pub incarnation: Incarnation,
    /// The last sequence number of the greeting incarnation that was applied
    /// here; 0 where nothing was.
    pub applied: u64,
    /// Which neighbour greeted.
    pub neighbour: NeighbourId,
    /// The incarnation of it that greeted.
    pub greeter: Incarnation,
    /// Was this incarnation of it unknown until now? Then a link to the
    /// neighbour had better greet again.
    pub is_new: bool,
}

/// What a push says besides its reports: that they are all that `from` is
/// behind, up to and with `to`.
#[derive(Clone, Copy, Debug)]
pub struct PushHeader<'a> {
    /// The sender's herd.
    pub herd: &'a str,
    /// The sender's name.
    pub sender: &'a str,
    /// The sender's incarnation.
    pub sender_incarnation: u64,
    /// The incarnation that the sender greeted.
    pub receiver_incarnation: u64,
    /// The last number that the receiver acknowledged.
    pub from: u64,
    /// The last number that the sender considered.
    pub to: u64,
}

/// A push that was let in. Its reports may be merged in pieces; its numbers
/// count as applied only when it is [finished](Replica::finish_push).
#[derive(Debug)]
pub struct PendingPush {
    /// Who pushes.
    pub neighbour: NeighbourId,
    incarnation: Incarnation,
    to: u64,
    slot: Option<SenderSlot>,
}

/// What became of reports that were merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeStats {
    /// How many won: they are new here.
    pub newer: usize,
    /// How many were known to the last byte: the price of a flood.
    pub duplicate: usize,
    /// How many were older than what is held.
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

/// Why a greeting or a push was refused. Nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A field breaks a rule of form.
    Malformed(String),
    /// Another major version of the protocol.
    IncompatibleVersion(Version),
    /// The sender belongs to another herd, which is named.
    OtherHerd(String),
    /// The sender meant to reach another server, which is named.
    WrongReceiver(String),
    /// The sender has the name of the server that it reached.
    OwnName,
    /// No server of that name is in this server's config.
    UnknownServer(String),
    /// The sender is a server of the herd, but no neighbour of this one.
    NotNeighbour(String),
    /// The push means another incarnation of this server.
    WrongIncarnation,
    /// This incarnation of the sender never greeted, or long ago.
    NotGreeted,
    /// There are numbers between the last that was applied and the push's first.
    Gap {
        /// The last number that was applied.
        applied: u64,
        /// The number that the push begins behind.
        from: u64,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => f.write_str(what),
            Self::IncompatibleVersion(version) => write!(
                f,
                "you speak protocol version {}.{}, this server {}.{}: major versions must be equal",
                version.major, version.minor, VERSION.major, VERSION.minor
            ),
            Self::OtherHerd(herd) => write!(f, "you belong to the herd {herd:?}, this server to another"),
            Self::WrongReceiver(name) => write!(
                f,
                "you mean to reach {name:?}, but this is another server: check the address of {name:?} in your config"
            ),
            Self::OwnName => f.write_str(
                "you have this server's own name: either a server dialled itself or two run under one name",
            ),
            Self::UnknownServer(name) => write!(f, "no server named {name:?} is in this server's config"),
            Self::NotNeighbour(name) => {
                write!(f, "{name:?} is no neighbour of this server: talks_to does not link the two")
            }
            Self::WrongIncarnation => f.write_str(
                "this server is not the incarnation that you mean: it has restarted, or you have not greeted it; greet it first",
            ),
            Self::NotGreeted => f.write_str("this incarnation of you has not greeted: greet first"),
            Self::Gap { applied, from } => write!(
                f,
                "your push begins behind number {from}, but only {applied} and what was before it was applied here: greet again"
            ),
        }
    }
}

impl std::error::Error for Rejection {}

/// One server's part in the herd.
///
/// Promises, for any order of calls from any number of threads:
/// - what is merged is the newest of all that was ever given, by the total
///   order of reports;
/// - a number counts as applied only when all reports up to it were merged;
/// - a refused greeting or push changes nothing.
///
/// Neighbours come and go while all that goes on. Whoever was one keeps its
/// place, and what is known of it stays true while it is none: what was applied
/// of an incarnation's pushes is in the store, and a report that it sent it has.
/// So one that comes back goes on where it was, without a loss and without an
/// echo; its own side, which may have begun anew, says in its greeting which it
/// is. What that costs is a name and the numbers of its last few incarnations.
#[derive(Debug)]
pub struct Replica {
    identity: ServerIdentity,
    /// Looked at where somebody is refused, to say why.
    members: Mutex<Vec<Name>>,
    neighbours: boxcar::Vec<Neighbour>,
    senders: SenderSlots,
    store: Store,
    expiry: Option<Expiry>,
}

/// A server that is a neighbour, or was one.
#[derive(Debug)]
struct Neighbour {
    name: Name,
    /// Is it one now? Nothing else depends on when exactly that changes.
    is_linked: AtomicBool,
    watermarks: Mutex<AppliedWatermarks>,
}

impl Replica {
    /// A server that knows nothing yet. `members` are all servers of the herd,
    /// `neighbours` those that this one has links with, at most
    /// [`MAX_NEIGHBOURS`]; a neighbour's [`NeighbourId`] is its place in that list.
    /// `keys` see [`Store::new`].
    pub fn new(
        identity: ServerIdentity,
        members: Vec<Name>,
        neighbours: Vec<Name>,
        keys: [u64; 4],
    ) -> Self {
        Self::with_senders(identity, members, neighbours, keys, usize::MAX)
    }

    /// As [`new`](Self::new), but tells apart at most `max_senders` senders at
    /// a time when it avoids echoes. Fewer means more echoes, never a loss; a
    /// simulation makes them scarce.
    pub fn with_senders(
        identity: ServerIdentity,
        members: Vec<Name>,
        neighbours: Vec<Name>,
        keys: [u64; 4],
        max_senders: usize,
    ) -> Self {
        let replica = Self {
            identity,
            members: Mutex::new(members),
            neighbours: boxcar::Vec::new(),
            senders: SenderSlots::new(max_senders),
            store: Store::new(keys),
            expiry: None,
        };
        for name in &neighbours {
            if let Some(neighbour) = replica.register(name) {
                replica.link(neighbour);
            }
        }
        replica
    }

    /// The same server, which is_expired and is_purged old reports.
    pub fn with_expiry(mut self, expiry: Option<Expiry>) -> Self {
        self.expiry = expiry;
        self
    }

    /// Who this server is.
    pub fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// The neighbours that there are now, in the order in which they first came.
    pub fn neighbours(&self) -> impl Iterator<Item = (NeighbourId, &Name)> {
        let all = self.neighbours.iter();
        all.filter(|(_, neighbour)| neighbour.is_linked.load(Relaxed))
            .map(|(at, neighbour)| (NeighbourId(at), &neighbour.name))
    }

    /// Is there a neighbour of that name now?
    pub fn is_neighbour(&self, name: &str) -> bool {
        self.neighbours().any(|(_, other)| other.as_str() == name)
    }

    /// The name of a neighbour, or of one that was one.
    ///
    /// # Panics
    ///
    /// If this replica never gave that id.
    pub fn name_of(&self, neighbour: NeighbourId) -> &Name {
        &self.neighbour(neighbour).name
    }

    /// A place for a server that is to be a neighbour: its own, if it was one
    /// before. It is refused until it is [linked](Self::link). `None` where
    /// [`MAX_NEIGHBOURS`] others were neighbours before.
    pub fn register(&self, name: &Name) -> Option<NeighbourId> {
        let mut all = self.neighbours.iter();
        let known = all.find(|(_, neighbour)| neighbour.name == *name);
        let new = || {
            let neighbour = Neighbour {
                name: name.clone(),
                is_linked: AtomicBool::new(false),
                watermarks: Mutex::default(),
            };
            let has_room = self.neighbours.count() < MAX_NEIGHBOURS;
            has_room.then(|| self.neighbours.push(neighbour))
        };
        known.map(|(at, _)| at).or_else(new).map(NeighbourId)
    }

    /// From now on it is a neighbour.
    pub fn link(&self, neighbour: NeighbourId) {
        let neighbour = self.neighbour(neighbour);
        neighbour.is_linked.store(true, Relaxed);
    }

    /// From now on it is none: its greetings and pushes are refused, one that is
    /// being merged at its end. What it sent stays.
    pub fn unlink(&self, neighbour: NeighbourId) {
        let neighbour = self.neighbour(neighbour);
        neighbour.is_linked.store(false, Relaxed);
    }

    /// From now on these are all servers of the herd.
    pub fn set_members(&self, members: Vec<Name>) {
        *lock(&self.members) = members;
    }

    /// When this server is_expired and is_purged reports; `None` where it never does.
    pub fn expire_after(&self) -> Option<Duration> {
        self.expiry.map(Expiry::after)
    }

    /// The rule by which it does.
    pub fn expiry(&self) -> Option<Expiry> {
        self.expiry
    }

    /// Is a report with this time shown to nobody at `now`?
    pub fn is_expired(&self, time: Timestamp<'_>, now: UnixNanos) -> bool {
        self.expiry
            .is_some_and(|expiry| expiry.is_expired(time, now))
    }

    /// What this server holds.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What this server says when it greets a neighbour.
    pub fn greeting(&self, neighbour: NeighbourId) -> Greeting<'_> {
        Greeting {
            version: VERSION,
            herd: self.identity.herd.as_str(),
            sender: self.identity.name.as_str(),
            incarnation: self.identity.incarnation.get(),
            receiver: self.name_of(neighbour).as_str(),
            expire_after: self.expire_after(),
        }
    }

    /// Takes a report that a client of this server made at `now`, if it is the
    /// newest and not too old to be kept; see [`Store::admit`].
    pub fn admit(
        &self,
        report: &Report<'_>,
        now: UnixNanos,
        max_clients: usize,
    ) -> Result<MergeResult, StoreFull> {
        let mut admitted = Ok(MergeResult::Stale);
        let one = std::iter::once((0, report));
        self.admit_all(one, now, max_clients, |_, result| admitted = result);
        admitted
    }

    /// Takes several of them, each with its place among them, and tells `each` what
    /// became of which, but of those that are too old to be kept; see
    /// [`Store::admit_all`].
    pub fn admit_all<'a>(
        &self,
        reports: impl Iterator<Item = (usize, &'a Report<'a>)>,
        now: UnixNanos,
        max_clients: usize,
        each: impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let receipt = Receipt {
            at: now,
            from: None,
        };
        self.admit_kept(reports, SeenBy::default(), receipt, max_clients, each);
    }

    /// Hands the newest report of a client to `read`, which must be quick (see
    /// [`Store::find`]); `None` where there is none, or one that is hidden at
    /// the time that `now` gives.
    pub fn locate<T>(
        &self,
        client: ClientId<'_>,
        now: impl FnOnce() -> UnixNanos,
        read: impl FnOnce(Report<'_>) -> T,
    ) -> Option<T> {
        // The time is asked for only where it matters.
        let bound = self.expiry.map(|expiry| (expiry, now()));
        let is_shown = |report: &Report<'_>| {
            bound.is_none_or(|(expiry, now)| !expiry.is_expired(report.time, now))
        };
        let found = self
            .store
            .find(client, |report| is_shown(&report).then(|| read(report)));
        found.flatten()
    }

    /// Takes out those of some records that are too old to be kept at `now`, as
    /// a walk through all of them comes to each. Gives how many.
    pub fn purge_some(&self, walk: &mut Walk, limit: usize, now: UnixNanos) -> usize {
        let is_purged = |report: &Report<'_>| self.is_purged(report, now);
        self.store.purge_some(walk, limit, is_purged)
    }

    /// Judges a greeting, and remembers the incarnation that greeted.
    pub fn accept_greeting(&self, greeting: &Greeting<'_>) -> Result<GreetReply, Rejection> {
        if greeting.version.major != VERSION.major {
            return Err(Rejection::IncompatibleVersion(greeting.version));
        }
        let neighbour = self.check_sender(greeting.herd, greeting.sender)?;
        if greeting.receiver != self.identity.name.as_str() {
            return Err(well_formed("receiver", greeting.receiver)
                .map_or_else(|e| e, Rejection::WrongReceiver));
        }
        let incarnation = incarnation("incarnation", greeting.incarnation)?;
        let applied = lock(&self.neighbour(neighbour).watermarks).greet(incarnation);
        if self.senders.is_full() {
            self.free_sender_slots();
        }
        Ok(GreetReply {
            incarnation: self.identity.incarnation,
            applied: applied.unwrap_or(0),
            neighbour,
            greeter: incarnation,
            is_new: applied.is_none(),
        })
    }

    /// Judges a push by all but its reports, and lets it in.
    pub fn begin_push(&self, push: &PushHeader<'_>) -> Result<PendingPush, Rejection> {
        let neighbour = self.check_sender(push.herd, push.sender)?;
        let incarnation = incarnation("sender_incarnation", push.sender_incarnation)?;
        if push.receiver_incarnation != self.identity.incarnation.get() {
            return Err(Rejection::WrongIncarnation);
        }
        if push.from > push.to {
            return Err(Rejection::Malformed(format!(
                "a push can not begin behind number {} and end with {}",
                push.from, push.to
            )));
        }
        let slot = || self.senders.acquire((neighbour, incarnation));
        let opened = lock(&self.neighbour(neighbour).watermarks).open(incarnation, slot);
        let (applied, slot) = opened.ok_or(Rejection::NotGreeted)?;
        if push.from > applied {
            let from = push.from;
            return Err(Rejection::Gap { applied, from });
        }
        Ok(PendingPush {
            neighbour,
            incarnation,
            to: push.to,
            slot,
        })
    }

    /// Merges some of a push's reports at `now`, and gives what became of them.
    /// One that is too old to be kept is dropped, and counts as older.
    pub fn merge(
        &self,
        pending: &PendingPush,
        reports: &[Report<'_>],
        now: UnixNanos,
    ) -> MergeStats {
        let seen_by = pending
            .slot
            .as_ref()
            .map_or(SeenBy::default(), SenderSlot::bit);
        let receipt = Receipt {
            at: now,
            from: Some(pending.neighbour),
        };
        let mut stats = MergeStats::default();
        let each = |_, merged: Result<MergeResult, StoreFull>| {
            merged.into_iter().for_each(|it| stats.count(it))
        };
        let all = reports.iter().enumerate();
        self.admit_kept(all, seen_by, receipt, usize::MAX, each);
        stats.stale = reports.len() - stats.newer - stats.duplicate;
        stats
    }

    /// All of the push was merged: gives the last number that counts as applied
    /// now. Not to be called for a push of which a report was not merged.
    pub fn finish_push(&self, pending: &PendingPush) -> Result<u64, Rejection> {
        let neighbour = self.neighbour(pending.neighbour);
        if !neighbour.is_linked.load(Relaxed) {
            return Err(self.rejection_of(neighbour.name.to_string()));
        }
        lock(&neighbour.watermarks)
            .advance(pending.incarnation, pending.to)
            .ok_or(Rejection::NotGreeted)
    }

    /// How many reports that changed behind number `after` no neighbour is known
    /// to have sent: those of this server's own clients, and at worst some of
    /// neighbours for which there was no bit. Reads the whole store.
    pub fn count_own_after(&self, after: u64) -> usize {
        self.store.count_unsent_after(after)
    }

    /// The bit of what this incarnation of a neighbour has sent, if it has one.
    pub(super) fn sender_slot(
        &self,
        neighbour: NeighbourId,
        incarnation: Incarnation,
    ) -> Option<SenderSlot> {
        self.senders.find((neighbour, incarnation))
    }

    /// Takes those that are not too old to be kept.
    fn admit_kept<'a>(
        &self,
        reports: impl Iterator<Item = (usize, &'a Report<'a>)>,
        seen_by: SeenBy,
        receipt: Receipt,
        max_clients: usize,
        each: impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let kept = reports.filter(|(_, report)| !self.is_purged(report, receipt.at));
        self.store
            .admit_all(kept, seen_by, receipt, max_clients, each);
    }

    fn is_purged(&self, report: &Report<'_>, now: UnixNanos) -> bool {
        self.expiry
            .is_some_and(|expiry| expiry.is_purged(report.time, now))
    }

    /// Takes the bits of incarnations that are most likely over, so that those
    /// that are not find one.
    fn free_sender_slots(&self) {
        for (_, neighbour) in self.neighbours.iter() {
            let mut watermarks = lock(&neighbour.watermarks);
            match neighbour.is_linked.load(Relaxed) {
                true => watermarks.release_all_but_last(),
                false => watermarks.release_all(),
            }
        }
        self.senders
            .reclaim(|seen_by| self.store.clear_senders(seen_by));
    }

    fn check_sender(&self, herd: &str, sender: &str) -> Result<NeighbourId, Rejection> {
        let herd = well_formed("herd", herd)?;
        let sender = well_formed("sender", sender)?;
        if herd != self.identity.herd.as_str() {
            return Err(Rejection::OtherHerd(herd));
        }
        if sender == self.identity.name.as_str() {
            return Err(Rejection::OwnName);
        }
        let mut neighbours = self.neighbours();
        match neighbours.find(|(_, name)| name.as_str() == sender) {
            Some((neighbour, _)) => Ok(neighbour),
            None => Err(self.rejection_of(sender)),
        }
    }

    /// Why somebody of that name, who is no neighbour, is refused.
    fn rejection_of(&self, name: String) -> Rejection {
        let members = lock(&self.members);
        match members.iter().any(|member| member.as_str() == name) {
            true => Rejection::NotNeighbour(name),
            false => Rejection::UnknownServer(name),
        }
    }

    fn neighbour(&self, NeighbourId(at): NeighbourId) -> &Neighbour {
        let neighbour = self.neighbours.get(at);
        neighbour.expect("ids are given for places on the roll only")
    }
}

/// A name that is one, for refusals to quote: nothing else that a stranger
/// wrote is repeated to anyone.
fn well_formed(field: &str, name: &str) -> Result<String, Rejection> {
    if is_name(name.as_bytes()) {
        return Ok(name.to_owned());
    }
    Err(Rejection::Malformed(format!(
        "{field} must be a name: ASCII letters, digits and inner hyphens, 1 to 63 of them"
    )))
}

fn incarnation(field: &str, number: u64) -> Result<Incarnation, Rejection> {
    Incarnation::new(number).ok_or_else(|| {
        Rejection::Malformed(format!(
            "{field} must be the sender's incarnation, which is never 0"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::client::ClientId;
    use crate::model::position::Position;
    use crate::model::report::Origin;
    use crate::model::timestamp::Skew;
    use crate::replication::send_cursor::{Batch, SendCursor};

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

    /// A neighbour's life begins: it greets, and pushes a report.
    fn greet_and_push(riley: &Replica, sender: &str, incarnation: u64, report: &Report<'_>) {
        let greeting = Greeting {
            version: VERSION,
            herd: "test",
            sender,
            incarnation,
            receiver: "Riley",
            expire_after: None,
        };
        riley.accept_greeting(&greeting).unwrap();
        let header = PushHeader {
            herd: "test",
            sender,
            sender_incarnation: incarnation,
            receiver_incarnation: 9,
            from: 0,
            to: 1,
        };
        let pending = riley.begin_push(&header).unwrap();
        riley.merge(&pending, &[*report], UnixNanos(0));
        riley.finish_push(&pending).unwrap();
    }

    /// Takes all, and remembers of whom.
    #[derive(Default)]
    struct ClientFilter(Vec<String>);

    impl Batch for ClientFilter {
        fn add(&mut self, report: &Report<'_>) -> bool {
            self.0.push(report.client.text().to_owned());
            true
        }
    }

    /// What Riley would send to a life of Jaquez.
    fn for_jaquez(riley: &Replica, incarnation: u64) -> Vec<String> {
        let mut cursor = SendCursor::new(NeighbourId(0), 100);
        cursor.start_at(riley, Incarnation::new(incarnation).unwrap(), 0);
        let mut clients = ClientFilter::default();
        cursor.fill(riley, &mut clients);
        clients.0
    }

    #[test]
    fn lives_that_are_over_keep_no_bit_from_those_that_are_not() {
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
}
