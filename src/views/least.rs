//! The first so many of whatever passes by, in order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Keeps those with the least keys, `most` of them.
pub(super) struct Least<K, T> {
    most: usize,
    /// The greatest key on top.
    heap: BinaryHeap<Kept<K, T>>,
}

struct Kept<K, T> {
    key: K,
    value: T,
}

impl<K: Ord, T> Least<K, T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            heap: BinaryHeap::new(),
        }
    }

    /// Is there room for one that comes before those of whose keys `is_before`
    /// says so?
    pub(super) fn has_room(&self, is_before: impl FnOnce(&K) -> bool) -> bool {
        self.heap.len() < self.most || self.heap.peek().is_some_and(|last| is_before(&last.key))
    }

    /// Takes one for which there is room, at the cost of the last.
    pub(super) fn put(&mut self, key: K, value: T) {
        self.heap.push(Kept { key, value });
        if self.heap.len() > self.most {
            self.heap.pop();
        }
    }

    /// All of them, by their keys.
    pub(super) fn into_sorted(self) -> Vec<(K, T)> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted.map(|kept| (kept.key, kept.value)).collect()
    }
}

impl<K: Ord, T> Ord for Kept<K, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl<K: Ord, T> PartialOrd for Kept<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, T> PartialEq for Kept<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord, T> Eq for Kept<K, T> {}
