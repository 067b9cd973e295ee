//! A part of a store's records, by client.

use ahash::RandomState as Hasher;
use hashbrown::HashTable;

use crate::model::client::ClientId;

use super::record::Record;

/// A part of a store's records. `index` maps a client to its slot in `records`; the slots in
/// `vacant` are free for new clients. Slots never move, since the feed refers to them.
#[derive(Debug, Default)]
pub(super) struct Shard {
    index: HashTable<u32>,
    pub(super) records: Vec<Record>,
    vacant: Vec<u32>,
}

impl Shard {
    /// Returns the slot of a client's record. Here and below, `hash` is the hash of the record's
    /// client.
    pub(super) fn find(&self, hash: u64, client: ClientId<'_>) -> Option<usize> {
        let is_it = |&slot: &u32| self.records[slot as usize].is_of(client);
        self.index.find(hash, is_it).map(|&slot| slot as usize)
    }

    /// Reads the record that a client with this hash most likely has, so that it is in the cache:
    /// its sequence number and the first byte of its texts.
    pub(super) fn prefetch(&self, hash: u64) -> Option<(u64, Option<u8>)> {
        let &slot = self.index.find(hash, |_| true)?;
        let record = &self.records[slot as usize];
        Some((record.number, record.client_bytes().first().copied()))
    }

    /// Returns the slot of the next new client.
    pub(super) fn next_slot(&self) -> usize {
        let vacant = self.vacant.last();
        vacant.map_or(self.records.len(), |&slot| slot as usize)
    }

    /// Inserts the record of a new client in [the next slot](Self::next_slot).
    pub(super) fn insert(&mut self, hash: u64, record: Record, hasher: &Hasher) {
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.records[slot as usize] = record;
                slot
            }
            None => self.push(record),
        };
        let records = &self.records;
        let rehash = |&slot: &u32| hasher.hash_one(records[slot as usize].client_bytes());
        self.index.insert_unique(hash, slot, rehash);
    }

    fn push(&mut self, record: Record) -> u32 {
        // A full vector grows by an eighth: doubling would waste a third of the memory, and moving
        // the records is cheap because it is rare.
        if self.records.len() == self.records.capacity() {
            self.records.reserve_exact(self.records.len() / 8 + 8);
        }
        let slot = u32::try_from(self.records.len()).expect("record_id() found room for this slot");
        self.records.push(record);
        slot
    }

    /// Removes the record in `slot`.
    pub(super) fn remove(&mut self, hash: u64, slot: usize) {
        let found = self.index.find_entry(hash, |&it| it as usize == slot);
        debug_assert!(found.is_ok(), "slot {slot} is not in the index");
        if let Ok(entry) = found {
            let (slot, _) = entry.remove();
            self.records[slot as usize].vacate();
            self.vacant.push(slot);
        }
    }
}
