//! The entries with the least keys of a scan, in order.

/// Keeps the entries with the least keys, at most `limit` of them.
///
/// It collects up to twice as many and then drops the rest at once. That costs a few comparisons
/// for each pushed entry, whatever the limit; a heap would cost a dozen, of keys that are in no
/// cache.
///
/// Invariant: if `is_full`, the first `limit` of `kept` have the least keys of all entries at the
/// last cut, and the last of them is the greatest.
pub(super) struct TopK<K, T> {
    limit: usize,
    kept: Vec<(K, T)>,
    is_full: bool,
}

impl<K: Ord, T> TopK<K, T> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Vec::new(),
            is_full: limit == 0,
        }
    }

    /// Returns whether there may be room for an entry. `is_before` compares its key with the given
    /// one.
    pub(super) fn has_room(&self, is_before: impl FnOnce(&K) -> bool) -> bool {
        !self.is_full || self.last().is_some_and(is_before)
    }

    /// Returns the greatest key for which there may be room; `None` if there is room for any, or
    /// none at all.
    pub(super) fn last(&self) -> Option<&K> {
        let (last, _) = self.kept.get(self.limit.checked_sub(1)?)?;
        self.is_full.then_some(last)
    }

    /// Adds an entry for which there may be room.
    pub(super) fn push(&mut self, key: K, value: T) {
        self.kept.push((key, value));
        if self.kept.len() >= 2 * self.limit {
            self.cut();
        }
    }

    /// Returns the entries in the order of their keys.
    pub(super) fn into_sorted(mut self) -> Vec<(K, T)> {
        self.kept.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        self.kept.truncate(self.limit);
        self.kept
    }

    fn cut(&mut self) {
        if let Some(last) = self.limit.checked_sub(1) {
            self.kept
                .select_nth_unstable_by(last, |one, other| one.0.cmp(&other.0));
        }
        self.kept.truncate(self.limit);
        self.is_full = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn returns_the_least_keys_in_order(
            keys in prop::collection::vec(0u8..50, 0..300),
            limit in 0usize..40,
        ) {
            let mut least = TopK::new(limit);
            for &key in &keys {
                if least.has_room(|last| key < *last) {
                    least.push(key, ());
                }
            }
            let found: Vec<u8> = least.into_sorted().into_iter().map(|(key, ())| key).collect();
            let mut all = keys;
            all.sort_unstable();
            all.truncate(limit);
            prop_assert_eq!(found, all);
        }
    }
}
