//! Clients in the order of their IDs, a page at a time.
//!
//! A page is one pass over all records that keeps the first so many: it holds
//! no more than a page, and needs nothing kept between pages but the last ID. A
//! pass takes some 40 ms for a million records, so whoever goes on to a second
//! page is taken to want more: then a pass keeps the IDs of the next
//! [`AHEAD`], and the pages after that look those up. Clients of a narrow range
//! of hashes are found without a pass, by [`Digest`].

use std::ops::RangeInclusive;

use crate::model::client::ClientId;
use crate::model::timestamp::UnixNanos;
use crate::replication::replica::Replica;
use crate::replication::store::{StoredReport, Walk};

use super::digest::{Digest, client_hash};
use super::top_k::TopK;

/// How many records are looked at under one lock.
const SOME: usize = 64;

/// So many IDs are found by one pass, for the pages behind the first: 5 MB of
/// usual ones, 18 MB of the longest.
const AHEAD: usize = 1 << 16;

/// Which clients.
#[derive(Clone, Debug)]
pub struct PageQuery {
    /// Those whose ID begins with this
    pub prefix: String,
    /// and comes behind this, in the order of bytes,
    pub after: String,
    /// and whose hash ([`client_hash`]) is one of these.
    pub hashes: RangeInclusive<u64>,
    /// So many at most.
    pub most: usize,
}

impl PageQuery {
    fn is(&self, client: &str) -> bool {
        let is_any = *self.hashes.start() == 0 && *self.hashes.end() == u64::MAX;
        client > self.after.as_str()
            && client.starts_with(&self.prefix)
            && (is_any || self.hashes.contains(&client_hash(client)))
    }
}

/// IDs that were found ahead of the pages that ask for them.
///
/// Invariant: `ids` are in order, and all that `about` wants behind its `after`
/// up to and with the last of them; up to the end where `is_all`.
#[derive(Debug, Default)]
pub struct Pages {
    about: Option<PageQuery>,
    ids: Vec<String>,
    is_all: bool,
}

impl Pages {
    /// The first of the clients that are wanted, in order, each as `make` makes
    /// it (which must be quick, see [`Store::find`]), with their IDs. Every
    /// client that is known all the while, from the first page to the last, is
    /// on one of them.
    ///
    /// [`Store::find`]: crate::replication::store::Store::find
    pub fn page<T>(
        &mut self,
        replica: &Replica,
        now: UnixNanos,
        wanted: &PageQuery,
        mut make: impl FnMut(&StoredReport<'_>) -> T,
    ) -> Vec<(String, T)> {
        // The first page is often the only one.
        if wanted.after.is_empty() {
            return page(all(replica), replica, now, wanted, make);
        }
        let mut found = Vec::new();
        let mut wanted = wanted.clone();
        loop {
            for id in self.behind(replica, now, &wanted) {
                if found.len() == wanted.most {
                    return found;
                }
                let look = |held: StoredReport<'_>| {
                    (!replica.hides(held.report.time, now)).then(|| make(&held))
                };
                let client = ClientId::parse(id.as_bytes());
                let made = client.and_then(|client| replica.store().inspect(client, look));
                found.extend(made.flatten().map(|made| (id.clone(), made)));
                wanted.after.clone_from(id);
            }
            if self.is_all {
                return found;
            }
        }
    }

    /// IDs that are wanted, the first of them first; none only where there are
    /// none.
    fn behind(&mut self, replica: &Replica, now: UnixNanos, wanted: &PageQuery) -> &[String] {
        let place = |ids: &[String]| ids.partition_point(|id| *id <= wanted.after);
        let is_known = self.about.as_ref().is_some_and(|about| {
            let is_same = about.prefix == wanted.prefix && about.hashes == wanted.hashes;
            is_same && about.after <= wanted.after
        });
        if !is_known || !self.is_all && place(&self.ids) == self.ids.len() {
            let most = AHEAD.max(wanted.most);
            let about = PageQuery {
                most,
                ..wanted.clone()
            };
            let ids = page(all(replica), replica, now, &about, |_| ());
            self.ids = ids.into_iter().map(|(id, ())| id).collect();
            self.is_all = self.ids.len() < most;
            self.about = Some(about);
        }
        &self.ids[place(&self.ids)..]
    }
}

/// As [`Pages::page`], for hashes that [`are_few`]. The digest must have caught
/// up.
///
/// [`are_few`]: super::digest::are_few
pub fn page_of_ranges<T>(
    digest: &Digest,
    replica: &Replica,
    now: UnixNanos,
    wanted: &PageQuery,
    make: impl FnMut(&StoredReport<'_>) -> T,
) -> Vec<(String, T)> {
    let some = |look: &mut dyn FnMut(StoredReport<'_>)| {
        for slot in digest.slots(&wanted.hashes) {
            replica.store().at(slot, &mut *look);
        }
    };
    page(some, replica, now, wanted, make)
}

/// Hands every record to whoever looks.
fn all(replica: &Replica) -> impl Fn(&mut dyn FnMut(StoredReport<'_>)) {
    |look| {
        let mut walk = Walk::default();
        while !replica.store().read_some(&mut walk, SOME, &mut *look) {}
    }
}

/// The first that are wanted among those that `each` hands out.
fn page<T>(
    each: impl FnOnce(&mut dyn FnMut(StoredReport<'_>)),
    replica: &Replica,
    now: UnixNanos,
    wanted: &PageQuery,
    mut make: impl FnMut(&StoredReport<'_>) -> T,
) -> Vec<(String, T)> {
    let mut first = TopK::<String, T>::new(wanted.most);
    each(&mut |held| {
        let client = held.report.client.text();
        let is_shown = || !replica.hides(held.report.time, now);
        if wanted.is(client) && is_shown() && first.has_room(|last| client < last.as_str()) {
            first.put(client.to_owned(), make(&held));
        }
    });
    let mut page = first.into_sorted();
    // Forgotten and back again meanwhile, a client may stand at two places.
    page.dedup_by(|one, other| one.0 == other.0);
    page
}

#[cfg(test)]
mod tests {
    use super::super::samples::Herd;
    use super::*;

    fn turn(herd: &Herd, mut wanted: PageQuery) -> Vec<Vec<String>> {
        let (mut all, mut pages) = (Vec::new(), Pages::default());
        loop {
            let page = pages.page(&herd.replica, herd.now, &wanted, |_| ());
            let ids: Vec<String> = page.into_iter().map(|(id, ())| id).collect();
            let Some(last) = ids.last() else { return all };
            wanted.after.clone_from(last);
            all.push(ids);
        }
    }

    fn everyone(most: usize) -> PageQuery {
        PageQuery {
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
            let pages = turn(&herd, everyone(most));
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
        let begins = |prefix: &str| PageQuery {
            prefix: prefix.to_owned(),
            ..everyone(1000)
        };
        assert_eq!(turn(&herd, begins("")).concat().len(), 100);
        assert_eq!(turn(&herd, begins("old")).concat().len(), 0);
        assert_eq!(turn(&herd, begins("new-1")).concat().len(), 11);
        let half = u64::MAX / 2;
        let hashes = |hashes| PageQuery {
            hashes,
            ..everyone(3)
        };
        let low = turn(&herd, hashes(0..=half)).concat();
        let high = turn(&herd, hashes(half + 1..=u64::MAX)).concat();
        assert!(low.iter().all(|id| client_hash(id) <= half));
        assert_eq!(low.len() + high.len(), 100);
    }

    #[test]
    fn pages_go_on_past_what_was_found_ahead_and_each_where_it_is_asked_to() {
        let mut herd = Herd::new(None);
        let count = AHEAD + 5000;
        for n in 0..count {
            herd.tell(&format!("{n:06}"), "+1+1", 5);
        }
        let ids = |range: std::ops::Range<usize>| -> Vec<String> {
            range.map(|n| format!("{n:06}")).collect()
        };
        assert_eq!(turn(&herd, everyone(9000)).concat(), ids(0..count));
        let mut pages = Pages::default();
        // As far as the first pass goes, at its end, behind it, and back again.
        for first in [10, AHEAD, AHEAD + 4990, 20, AHEAD - 5] {
            let wanted = PageQuery {
                after: format!("{:06}", first - 1),
                ..everyone(20)
            };
            let page = pages.page(&herd.replica, herd.now, &wanted, |_| ());
            let found: Vec<String> = page.into_iter().map(|(id, ())| id).collect();
            assert_eq!(found, ids(first..count.min(first + 20)));
        }
    }

    #[test]
    fn what_is_hidden_after_it_was_found_makes_no_page_short() {
        let mut herd = Herd::new(Some(10));
        for n in 0..100 {
            herd.tell(&format!("{n:03}"), "+1+1", if n % 2 == 0 { 5 } else { 9 });
        }
        let mut pages = Pages::default();
        let mut page = |herd: &Herd, after: &str| -> Vec<String> {
            let wanted = PageQuery {
                after: after.to_owned(),
                ..everyone(3)
            };
            let page = pages.page(&herd.replica, herd.now, &wanted, |_| ());
            page.into_iter().map(|(id, ())| id).collect()
        };
        assert_eq!(page(&herd, "009"), ["010", "011", "012"]);
        herd.set_now(16);
        assert_eq!(page(&herd, "012"), ["013", "015", "017"]);
        herd.forget();
        assert_eq!(page(&herd, "095"), ["097", "099"]);
    }

    #[test]
    fn clients_of_narrow_ranges_are_those_that_a_pass_finds() {
        let mut herd = Herd::new(Some(10));
        for n in 0..3000 {
            herd.tell(&format!("c{n}"), "+1+1", 5 + n % 2);
        }
        herd.set_now(16);
        let mut digest = Digest::default();
        digest.catch_up(&herd.replica, herd.now);
        for (first, last) in [(0, u64::MAX >> 5), (u64::MAX / 3, u64::MAX / 3 * 2), (7, 7)] {
            let wanted = PageQuery {
                hashes: first..=last,
                ..everyone(40)
            };
            let wanted = |after: &str| PageQuery {
                after: after.to_owned(),
                ..wanted.clone()
            };
            let narrow = |wanted: &PageQuery| {
                page_of_ranges(&digest, &herd.replica, herd.now, wanted, |_| ())
            };
            let mut pages = Pages::default();
            let mut pass = |wanted: &PageQuery| pages.page(&herd.replica, herd.now, wanted, |_| ());
            for after in ["", "c2"] {
                assert_eq!(narrow(&wanted(after)), pass(&wanted(after)));
            }
        }
    }
}
