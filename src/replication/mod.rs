//! Replication without a network: how servers converge on the same newest report of every client.
//!
//! Every server keeps **one change feed**, and for each neighbour **one cursor** into it. A report
//! that is newer than the stored one gets the server's next sequence number and is appended to the
//! feed; the report that it replaces leaves the feed. A link to a neighbour repeats one step
//! indefinitely: take the changes after the neighbour's cursor, push them as one batch, and advance
//! the cursor on the acknowledgement. Flooding a fresh report, catching up after an hour's
//! partition and filling an empty new server are the same step, and there is no queue that could
//! overflow.
//!
//! | file | contents |
//! |---|---|
//! | [`replica`] | one server's part in the protocol: how it answers greetings and pushes |
//! | [`messages`] | greetings, pushes, and why they are rejected |
//! | [`link`] | the decisions of a link: greet, push, wait, give up |
//! | [`send_cursor`] | the cursor of one neighbour, and its next batch |
//! | [`sent_pushes`] | whether this process sent what a neighbour has applied |
//! | [`anti_entropy`] | comparisons of two servers, and what they push again |
//! | `lazy_push` | when a link under load waits before it pushes a change |
//! | [`spanning_tree`] | the links that never wait |
//! | `batch_size` | how large the batches of a link may be |
//! | `backoff` | the delays of a link that is down |
//! | [`lineage`] | what a server that restarts knows of its earlier incarnations |
//! | `applied_watermarks` | the last applied sequence number of each incarnation of a neighbour |
//! | [`tag`] | the incarnation to which a client gave a report, and its number there |
//! | [`version_vector`] | what a server has of the reports of each incarnation |
//! | [`store`] | the newest report of every client |
//! | `merge_batch` | several reports merged into the store at once |
//! | [`neighbour_clock`] | an estimate of a neighbour's clock |
//! | [`expiry`] | when a report is expired, and when it is purged |
//! | `feed` | the order in which the store changed |
//! | [`feed_reader`] | a reader of the feed inside the server |
//! | [`feed_watermark`] | how much of the feed the disk or a neighbour has |
//! | [`seen_by`] | which senders have a report, one bit for each |
//! | `shard` | a part of the store's records, by client |
//! | `record` | one report as the store keeps it |
//!
//! The rules hold for any order of arrival: merging is commutative, associative and idempotent,
//! because [`Report::compare`] is a total order (a state-based last-writer-wins register for each
//! client, in the terms of Shapiro et al., "Conflict-free Replicated Data Types", 2011). Only an
//! acknowledgement or a greeting moves a cursor, so a lost response costs a repeated push and never
//! a report.
//!
//! Nothing here reads a clock, draws a random number or waits: time, randomness and the network are
//! arguments. A test runs a whole herd of these values under a seeded scheduler.
//!
//! [`Report::compare`]: crate::model::report::Report::compare

pub mod anti_entropy;
mod applied_watermarks;
mod backoff;
mod batch_size;
pub mod expiry;
mod feed;
pub mod feed_reader;
pub mod feed_watermark;
mod lazy_push;
pub mod lineage;
pub mod link;
mod merge_batch;
pub mod messages;
pub mod neighbour_clock;
mod record;
pub mod replica;
pub mod seen_by;
pub mod send_cursor;
pub mod sent_pushes;
mod shard;
pub mod spanning_tree;
pub mod store;
pub mod tag;
pub mod version_vector;

pub use merge_batch::MERGE_BATCH;

use std::fmt;
use std::num::NonZeroU64;

use crate::lock::{lock, try_lock};

/// One run of a server process: a random number, drawn at every start. A server that restarts has
/// another incarnation, so its neighbours notice what it lost, however quick the restart was; see
/// [`lineage`] for one that lost nothing. A server that finds its incarnation used by another
/// process draws a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(NonZeroU64);

impl Incarnation {
    /// Creates an incarnation from any number except 0, which means "absent" on the wire.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Number of a neighbour among all servers that were ever neighbours of the replica. A server keeps
/// its number while it is not a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NeighbourId(pub usize);

/// Index of a client's record in the store, below the number of records. It is stable while the
/// store has the client, and reused afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct RecordId(u32);
