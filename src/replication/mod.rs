//! Replication, without a network: how servers come to hold the same newest
//! report of every client.
//!
//! The idea: every server keeps **one change feed**, and for each neighbour
//! **one cursor** into it. A report that wins against what a server holds gets
//! the server's next sequence number and stands at the end of its feed; the
//! report that it replaced leaves the feed. A link to a neighbour repeats one
//! step for ever: take what stands behind the neighbour's cursor, push it as
//! one batch, move the cursor on the acknowledgement. Flooding a fresh report,
//! catching up after an hour's partition and filler an empty newcomer are the
//! same step, and there is no queue that could overflow.
//!
//! | file | holds |
//! |---|---|
//! | [`replica`] | one server's part in the herd: what it answers to greetings and pushes |
//! | [`send_cursor`] | the cursor of one neighbour, and its next batch |
//! | `applied_watermarks` | how far one neighbour's pushes have been applied |
//! | [`store`] | the newest report of every client |
//! | `merge_batch` | several reports taken into the store at once |
//! | [`expiry`] | when a report is too old to be shown, and to be kept |
//! | `feed` | the order in which the store changed |
//! | [`feed_reader`] | a reader of the feed that is no neighbour |
//! | [`seen_by`] | who already has a report, a bit for each |
//! | `shard` | a part of its records, by client |
//! | `record` | one report as the store keeps it |
//!
//! The rules hold by themselves, for any order of arrival: merging is
//! commutative, associative and idempotent, since [`Report::compare`] is a
//! total order (a state-based last-writer-wins register for each client, in
//! the terms of Shapiro et al., "Conflict-free Replicated Data Types", 2011).
//! Only an acknowledgement or a greeting moves a cursor, so a lost answer costs
//! a repeated push and never a report.
//!
//! Nothing here reads a clock, draws a random number or waits: time, chance
//! and the network come in as arguments. A test runs a whole herd of these
//! values under a seeded scheduler.
//!
//! [`Report::compare`]: crate::model::report::Report::compare

mod applied_watermarks;
pub mod expiry;
mod feed;
pub mod feed_reader;
mod merge_batch;
mod record;
pub mod replica;
pub mod seen_by;
pub mod send_cursor;
mod shard;
pub mod store;

pub use merge_batch::MERGE_BATCH;

use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// One life of a server: a random number, drawn when it starts and never
/// stored. A server that comes back has another, and so its neighbours notice
/// that it is empty, however quick it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(NonZeroU64);

impl Incarnation {
    /// Takes any number but 0, which stands for "not said" on the wire.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which neighbour, as its place among all that the replica ever had: a name
/// keeps its place, also where it is no neighbour for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NeighbourId(pub usize);

/// Index of a client's record in the store, below the number of records. It is
/// stable while the client is held, and reused afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(pub u32);

/// Locks a mutex, whatever became of a thread that held it: each critical
/// section in this folder leaves its value whole at every step at which it
/// could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock`], where nobody has it now.
fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
