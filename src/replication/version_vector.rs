//! Version vectors: what a server has of the reports that clients gave to each server of the herd.
//!
//! A vector has a number for each incarnation of a server, its *origin*. It claims: of every report
//! that a client gave to that incarnation, with a [tag](super::tag) up to this number, the server
//! has the report or something newer. Version vectors are those of Parker et al., "Detection of
//! Mutual Inconsistency in Distributed Systems" (1983); servers that exchange them to find out what
//! the other lacks are those of van Renesse et al., "Efficient Reconciliation and Flow Control for
//! Anti-Entropy Protocols" (2008).
//!
//! # How a vector grows
//!
//! A server has all that its own clients gave to it. A push that reaches the end of its sender's
//! feed carries the sender's vector of a moment before that. The receiver then has all that the
//! sender had at that moment, so it adopts the vector when it has merged the push: for each origin
//! the greater number.
//!
//! A push that ends before the end of the feed carries no vector, whatever it covers: a report may
//! have been replaced by one after the end of the push, so that the receiver has neither.
//!
//! # What a vector permits
//!
//! A link skips the reports that its neighbour's last known vector covers. A lost or old vector,
//! or one without some origin, costs duplicates and never a report. It is bound to the incarnation
//! that was greeted last.
//!
//! Where two processes have used one incarnation, as after the restore of a machine image, one tag
//! may stand for two reports, and neighbours believe that one process has what the other had. The
//! server that finds out draws a new incarnation, so its reports have new tags, and begins with an
//! empty vector. Servers that adopted its vector before may still claim what they lack, as a server
//! does that has lost reports by a fault. [Anti-entropy] finds both. A report that is news to a server although its own vector covers the tag is kept without the tag. And a
//! server skips a report of its own clients only if it has pushed it to some neighbour: so an
//! answer that waits for a neighbour is true whatever a vector claims.
//!
//! [Anti-entropy]: super::anti_entropy

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Incarnation;
use super::tag::{OriginIndex, Tag};

/// Maximum number of entries in one message. It is part of the protocol: a receiver rejects more.
pub const MAX_VECTOR_ENTRIES: usize = 1024;

/// Maximum number of incarnations in a vector, in the time that a process runs. Reports of further
/// ones have no tag.
const MAX_ORIGINS: usize = u16::MAX as usize;

/// An entry of a vector as servers exchange it, or the tag of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginNumber {
    /// The incarnation to which clients gave the reports.
    pub origin: Incarnation,
    /// The sequence number there.
    pub number: u64,
}

/// The vector of a server.
///
/// Invariants: an incarnation keeps its index; a number never decreases, except that all are
/// [forgotten](Self::forget) together.
#[derive(Debug, Default)]
pub(super) struct VersionVector {
    indexes: BTreeMap<u64, OriginIndex>,
    entries: Vec<Entry>,
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    origin: Incarnation,
    number: u64,
    /// The number of changes of the vector up to the last one of this entry.
    changed: u64,
}

impl VersionVector {
    /// Returns the index of an incarnation, which gets one if it has none yet: 0 if there is no
    /// room.
    pub(super) fn index(&mut self, origin: Incarnation) -> OriginIndex {
        if let Some(index) = self.indexes.get(&origin.get()) {
            return *index;
        }
        if self.entries.len() == MAX_ORIGINS {
            return OriginIndex::default();
        }
        self.entries.push(Entry {
            origin,
            number: 0,
            changed: 0,
        });
        // The first index is 1, and the last one fits.
        let index = OriginIndex(self.entries.len() as u16);
        self.indexes.insert(origin.get(), index);
        index
    }

    /// Returns the incarnation with an index.
    pub(super) fn origin(&self, index: OriginIndex) -> Option<Incarnation> {
        self.entry(index).map(|entry| entry.origin)
    }

    /// Returns the number of an origin.
    pub(super) fn number(&self, index: OriginIndex) -> u64 {
        self.entry(index).map_or(0, |entry| entry.number)
    }

    /// Raises the number of an origin.
    pub(super) fn raise(&mut self, index: OriginIndex, number: u64) {
        let at = usize::from(index.0).wrapping_sub(1);
        if let Some(entry) = self.entries.get_mut(at)
            && entry.number < number
        {
            self.changes += 1;
            entry.number = number;
            entry.changed = self.changes;
        }
    }

    /// Removes all claims.
    pub(super) fn forget(&mut self) {
        for entry in &mut self.entries {
            (entry.number, entry.changed) = (0, 0);
        }
    }

    /// Returns the number of changes so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns the entries that have changed since there were `since` changes; the latest if there
    /// are more than one message may have.
    pub(super) fn changed_since(&self, since: u64) -> Vec<OriginNumber> {
        if since == self.changes {
            return Vec::new();
        }
        let changed = self.entries.iter().filter(|entry| entry.changed > since);
        let mut changed: Vec<&Entry> = changed.collect();
        // One entry is left for the own incarnation.
        if changed.len() >= MAX_VECTOR_ENTRIES {
            changed.sort_unstable_by_key(|entry| Reverse(entry.changed));
            changed.truncate(MAX_VECTOR_ENTRIES - 1);
        }
        let entry = |entry: &Entry| OriginNumber {
            origin: entry.origin,
            number: entry.number,
        };
        changed.into_iter().map(entry).collect()
    }

    fn entry(&self, OriginIndex(index): OriginIndex) -> Option<&Entry> {
        self.entries.get(usize::from(index).checked_sub(1)?)
    }
}

/// The vector of a neighbour, as far as this server knows it: the number of each origin, by its
/// index in the vector of this server.
#[derive(Debug, Default)]
pub(super) struct KnownVector(Vec<u64>);

impl KnownVector {
    /// Raises the number of an origin.
    pub(super) fn raise(&mut self, OriginIndex(index): OriginIndex, number: u64) {
        let at = usize::from(index);
        if at == 0 {
            return;
        }
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] = self.0[at].max(number);
    }

    /// Returns whether the neighbour has the report with this tag, or something newer.
    pub(super) fn covers(&self, tag: Tag) -> bool {
        let known = self.0.get(usize::from(tag.origin().0));
        tag.is_some() && known.is_some_and(|&number| tag.number() <= number)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::client::ClientId;
    use crate::model::name::Name;
    use crate::model::position::Position;
    use crate::model::report::{Origin, Report};
    use crate::model::timestamp::{Skew, Timestamp, UnixNanos};
    use crate::replication::NeighbourId;
    use crate::replication::link::{LinkAction, LinkMachine, LinkRules, MIN_LOAD};
    use crate::replication::messages::{Greeting, PushAnswer, PushHeader, VERSION};
    use crate::replication::replica::{Replica, ServerIdentity};
    use crate::replication::send_cursor::BatchBuilder;
    use crate::replication::sent_pushes::PushProgress;
    use crate::replication::tag::TaggedReport;

    fn incarnation(number: u64) -> Incarnation {
        Incarnation::new(number).unwrap()
    }

    /// Riley with the incarnation 9 and two neighbours, Jaquez and Juzang, of which Juzang with the
    /// incarnation 7 has greeted.
    fn riley() -> Replica {
        let name = |text| Name::parse(text).unwrap();
        let identity = ServerIdentity {
            herd: name("test"),
            name: name("Riley"),
            incarnation: incarnation(9),
        };
        let neighbours = vec![name("Jaquez"), name("Juzang")];
        let riley = Replica::new(identity, neighbours.clone(), neighbours, [1, 2, 3, 4]);
        let greeting = Greeting {
            version: VERSION,
            herd: "test",
            sender: "Juzang",
            incarnation: 7,
            receiver: "Riley",
            expire_after: None,
            acknowledged: None,
        };
        riley.accept_greeting(&greeting).unwrap();
        riley
    }

    /// Pushes the report of a client with this number from Juzang, which claims to have it.
    fn push_to(riley: &Replica, client: usize, number: u64) {
        let header = PushHeader {
            herd: "test",
            sender: "Juzang",
            sender_incarnation: 7,
            receiver_incarnation: 9,
            from: number - 1,
            to: number,
            check: None,
        };
        let pending = riley.begin_push(&header).unwrap();
        let (client, time) = (client.to_string(), number.to_string());
        let report = Report {
            client: ClientId::parse(client.as_bytes()).unwrap(),
            origin: Origin::parse(b"Juzang").unwrap(),
            position: Position::parse(b"+1+1").unwrap(),
            time: Timestamp::parse(time.as_bytes()).unwrap(),
            skew: Skew(0),
        };
        let origin = incarnation(7);
        let tag = riley.push_origins(&[origin]).tag(0, number);
        riley.merge(&pending, &[TaggedReport { report, tag }], UnixNanos(0));
        let vector = [OriginNumber { origin, number }];
        riley.finish_push(&pending, &vector).unwrap();
    }

    /// The newest time of each client that a neighbour received.
    struct Received([u64; 9]);

    impl BatchBuilder for Received {
        fn add(&mut self, report: &Report<'_>, _: Tag, _: usize) -> bool {
            let client: usize = report.client.text().parse().unwrap();
            self.0[client] = report.time.text().parse().unwrap();
            true
        }

        fn bytes(&self) -> usize {
            0
        }
    }

    #[test]
    fn a_push_brings_all_that_its_vector_claims_however_busy_its_server_is() {
        const REPORTS: u64 = 100_000;
        let riley = riley();
        let rules = LinkRules {
            heartbeat: Duration::ZERO,
            attempt: Duration::from_secs(2),
            backoff_cap: Duration::from_secs(1),
            linger: Duration::ZERO,
            batch_reports: 10_000,
            min_load: MIN_LOAD,
            anti_entropy: None,
        };
        let mut link = LinkMachine::new(NeighbourId(0), rules, 0);
        let mut received = Received([0; 9]);
        let progress = |applied| PushProgress {
            applied,
            others: Vec::new(),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=REPORTS).for_each(|it| push_to(&riley, it as usize % 9, it)));
            let (now, clock) = (Duration::ZERO, UnixNanos(0));
            let mut claimed = 0;
            while claimed < REPORTS {
                let span = match link.next(&riley, (now, clock), &mut received) {
                    LinkAction::Push(span) => span,
                    LinkAction::Greet => {
                        let greeted = link.greeted(&riley, now, incarnation(3), &progress(0));
                        greeted.unwrap();
                        continue;
                    }
                    LinkAction::Yield | LinkAction::Wait { .. } => continue,
                    other => panic!("{other:?}"),
                };
                let of_juzang = |it: &&OriginNumber| it.origin == incarnation(7);
                if let Some(claim) = link.vector().iter().find(of_juzang) {
                    claimed = claim.number;
                    for number in claimed.saturating_sub(8).max(1)..=claimed {
                        let newest = received.0[number as usize % 9];
                        assert!(newest >= number, "{newest} is claimed to be {number}");
                    }
                }
                link.sent(&riley, span, 0);
                let answer = PushAnswer {
                    progress: progress(span.to),
                    vector: Vec::new(),
                    redundant: 0,
                    position: None,
                };
                link.acknowledged(&riley, now, &answer).unwrap();
            }
        });
    }

    #[test]
    fn only_entries_that_have_changed_are_returned() {
        let mut vector = VersionVector::default();
        let [one, two] = [8, 9].map(|it| vector.index(incarnation(it)));
        assert_eq!(vector.index(incarnation(8)), one);
        assert_eq!(vector.origin(two), Some(incarnation(9)));
        vector.raise(one, 5);
        vector.raise(two, 7);
        let before = vector.changes();
        assert_eq!(vector.changed_since(0).len(), 2);
        vector.raise(one, 4);
        assert!(vector.changed_since(before).is_empty(), "never lower");
        vector.raise(one, 6);
        let changed = OriginNumber {
            origin: incarnation(8),
            number: 6,
        };
        assert_eq!(vector.changed_since(before), [changed]);
        assert_eq!((vector.number(one), vector.number(two)), (6, 7));
        vector.forget();
        assert!(vector.changed_since(0).is_empty());
        assert_eq!(vector.index(incarnation(9)), two);
    }

    #[test]
    fn the_memory_and_the_messages_are_bounded() {
        let mut vector = VersionVector::default();
        for number in 1..=MAX_ORIGINS as u64 {
            let index = vector.index(incarnation(number));
            assert_eq!(u64::from(index.0), number);
            vector.raise(index, 1);
        }
        let none = vector.index(incarnation(u64::MAX));
        assert_eq!(none, OriginIndex::default());
        vector.raise(none, 5);
        assert_eq!(vector.number(none), 0);
        let changed = vector.changed_since(0);
        assert_eq!(changed.len(), MAX_VECTOR_ENTRIES - 1);
        assert_eq!(
            changed[0].origin,
            incarnation(MAX_ORIGINS as u64),
            "the latest"
        );
    }

    #[test]
    fn a_known_vector_covers_tags_up_to_its_numbers() {
        let mut known = KnownVector::default();
        let tag = |origin, number| Tag::new(OriginIndex(origin), number);
        assert!(!known.covers(tag(3, 1)));
        known.raise(OriginIndex(3), 7);
        known.raise(OriginIndex(3), 5);
        known.raise(OriginIndex(0), 9);
        assert!(known.covers(tag(3, 7)) && !known.covers(tag(3, 8)));
        assert!(!known.covers(tag(2, 1)) && !known.covers(tag(4, 1)));
        assert!(!known.covers(Tag::default()));
    }
}
