//! Clients in the order of their IDs, a page at a time.
//!
//! A page is one pass over all records that keeps the first so many: it holds
//! no more than a page, and needs nothing kept between pages but the last ID.

use std::ops::RangeInclusive;

use crate::herd::replica::Replica;
use crate::herd::store::{Held, Walk};
use crate::model::timestamp::UnixNanos;

use super::digest::client_hash;
use super::least::Least;

/// How many records are looked at under one lock.
const SOME: usize = 64;

/// Which clients.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Those whose ID begins with this
    pub prefix: String,
    /// and comes behind this, in the order of bytes,
    pub after: String,
    /// and whose hash ([`client_hash`]) is one of these.
    pub hashes: RangeInclusive<u64>,
    /// So many at most.
    pub most: usize,
}

impl Wanted {
    fn is(&self, client: &str) -> bool {
        let is_any = *self.hashes.start() == 0 && *self.hashes.end() == u64::MAX;
        client > self.after.as_str()
            && client.starts_with(&self.prefix)
            && (is_any || self.hashes.contains(&client_hash(client)))
    }
}

/// The first of the clients that are wanted, in order, each as `make` makes it
/// (which must be quick, see [`Store::find`]), with their IDs. Every client that
/// is known all the while is seen.
///
/// [`Store::find`]: crate::herd::store::Store::find
pub fn page<T>(
    replica: &Replica,
    now: UnixNanos,
    wanted: &Wanted,
    mut make: impl FnMut(&Held<'_>) -> T,
) -> Vec<(String, T)> {
    let mut first = Least::<String, T>::new(wanted.most);
    let mut look = |held: Held<'_>| {
        let client = held.report.client.text();
        let is_shown = || !replica.hides(held.report.time, now);
        if wanted.is(client) && is_shown() && first.has_room(|last| client < last.as_str()) {
            first.put(client.to_owned(), make(&held));
        }
    };
    let mut walk = Walk::default();
    while !replica.store().read_some(&mut walk, SOME, &mut look) {}
    let mut page = first.into_sorted();
    // Forgotten and back again meanwhile, a client may stand at two places.
    page.dedup_by(|one, other| one.0 == other.0);
    page
}

#[cfg(test)]
mod tests {
    use super::super::samples::Herd;
    use super::*;

    fn pages(herd: &Herd, wanted: Wanted) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut wanted = wanted;
        loop {
            let page = page(&herd.replica, herd.now, &wanted, |_| ());
            let ids: Vec<String> = page.into_iter().map(|(id, ())| id).collect();
            let Some(last) = ids.last() else { return pages };
            wanted.after.clone_from(last);
            pages.push(ids);
        }
    }

    fn all(most: usize) -> Wanted {
        Wanted {
            prefix: String::new(),
            after: String::new(),
            hashes: 0..=u64::MAX,
            most,
        }
    }

    #[test]
    fn pages_hold_every_client_once_in_the_order_of_bytes() {
        let mut herd = Herd::new(None);
        let mut ids: Vec<String> = (0..1000).map(|n| format!("client-{n}")).collect();
        ids.extend(["Z", "a", "ab", "ü", "\u{10ffff}"].map(str::to_owned));
        for id in &ids {
            herd.tell(id, "+1+1", 5);
        }
        ids.sort();
        for most in [1, 7, 1000, 1005, 5000] {
            let pages = pages(&herd, all(most));
            assert!(pages.iter().rev().skip(1).all(|page| page.len() == most));
            assert_eq!(pages.concat(), ids);
        }
    }

    #[test]
    fn what_is_not_wanted_or_hidden_is_left_out() {
        let mut herd = Herd::new(Some(10));
        for n in 0..100 {
            herd.tell(&format!("old-{n}"), "+1+1", 5);
            herd.tell(&format!("new-{n}"), "+1+1", 6);
        }
        herd.set_now(16);
        let begins = |prefix: &str| Wanted {
            prefix: prefix.to_owned(),
            ..all(1000)
        };
        assert_eq!(pages(&herd, begins("")).concat().len(), 100);
        assert_eq!(pages(&herd, begins("old")).concat().len(), 0);
        assert_eq!(pages(&herd, begins("new-1")).concat().len(), 11);
        let half = u64::MAX / 2;
        let hashes = |hashes| Wanted { hashes, ..all(3) };
        let low = pages(&herd, hashes(0..=half)).concat();
        let high = pages(&herd, hashes(half + 1..=u64::MAX)).concat();
        assert!(low.iter().all(|id| client_hash(id) <= half));
        assert_eq!(low.len() + high.len(), 100);
    }
}
