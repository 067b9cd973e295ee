//! Clients in the order of their IDs, a page at a time.
//!
//! A page is one pass over all records that keeps the first so many: it holds
//! no more than a page, and needs nothing kept between pages but the last ID. A
//! pass takes some 40 ms for a million records, so whoever goes on to a second
//! page is taken to want more: then a pass keeps the IDs of the next
//! [`CACHED_IDS`], and the pages after that look those up. Clients of a narrow range
//! of hashes are found without a pass, by [`Digest`].

use std::ops::RangeInclusive;

use crate::model::client::ClientId;
use crate::model::timestamp::UnixNanos;
use crate::replication::replica::Replica;
use crate::replication::store::{StoredReport, Walk};

use super::digest::{Digest, client_hash};
use super::top_k::TopK;

/// How many records are looked at under one lock.
const RECORDS_PER_LOCK: usize = 64;

/// So many IDs are found by one pass, for the pages behind the first: 5 MB of
/// usual ones, 18 MB of the longest.
const CACHED_IDS: usize = 1 << 16;

/// Which clients.
#[derive(Clone, Debug)]
pub struct PageQuery {
    /// Those whose ID begins with this
    pub prefix: String,
    /// and comes behind this, in the order of bytes,
    pub after: String,
    /// and whose hash ([`client_hash`]) is one of these.
    pub hashes: RangeInclusive<u64>,
    /// So many at limit.
    pub limit: usize,
}

impl PageQuery {
    fn matches(&self, client: &str) -> bool {
        let is_any = *self.hashes.start() == 0 && *self.hashes.end() == u64::MAX;
        client > self.after.as_str()
            && client.starts_with(&self.prefix)
            && (is_any || self.hashes.contains(&client_hash(client)))
    }
}

/// IDs that were found ahead of the pages that ask for them.
///
/// Invariant: `ids` are in order, and all that `cached_query` wants behind its `after`
/// up to and with the last of them; up to the end where `is_complete`.
#[derive(Debug, Default)]
pub struct PageCache {
    cached_query: Option<PageQuery>,
    ids: Vec<String>,
    is_complete: bool,
}

impl PageCache {
    /// The first of the clients that are query, in order, each as `make` makes
    /// it (which must be quick, see [`Store::find`]), with their IDs. Every
    /// client that is known all the while, from the first page to the last, is
    /// on one of them.
    ///
    /// [`Store::find`]: crate::replication::store::Store::find
    pub fn page<T>(
        &mut self,
        replica: &Replica,
        now: UnixNanos,
        query: &PageQuery,
        mut make: impl FnMut(&StoredReport<'_>) -> T,
    ) -> Vec<(String, T)> {
        // The first page is often the only one.
        if query.after.is_empty() {
            return collect_page(all(replica), replica, now, query, make);
        }
        let mut found = Vec::new();
        let mut query = query.clone();
        loop {
            for id in self.ids_after(replica, now, &query) {
                if found.len() == query.limit {
                    return found;
                }
                let look = |stored: StoredReport<'_>| {
                    (!replica.is_expired(stored.report.time, now)).then(|| make(&stored))
                };
                let client = ClientId::parse(id.as_bytes());
                let made = client.and_then(|client| replica.store().inspect(client, look));
                found.extend(made.flatten().map(|made| (id.clone(), made)));
                query.after.clone_from(id);
            }
            if self.is_complete {
                return found;
            }
        }
    }

    /// IDs that are query, the first of them first; none only where there are
    /// none.
    fn ids_after(&mut self, replica: &Replica, now: UnixNanos, query: &PageQuery) -> &[String] {
        let position = |ids: &[String]| ids.partition_point(|id| *id <= query.after);
        let is_known = self.cached_query.as_ref().is_some_and(|cached_query| {
            let is_same =
                cached_query.prefix == query.prefix && cached_query.hashes == query.hashes;
            is_same && cached_query.after <= query.after
        });
        if !is_known || !self.is_complete && position(&self.ids) == self.ids.len() {
            let limit = CACHED_IDS.max(query.limit);
            let cached_query = PageQuery {
                limit,
                ..query.clone()
            };
            let ids = collect_page(all(replica), replica, now, &cached_query, |_| ());
            self.ids = ids.into_iter().map(|(id, ())| id).collect();
            self.is_complete = self.ids.len() < limit;
            self.cached_query = Some(cached_query);
        }
        &self.ids[position(&self.ids)..]
    }
}

/// As [`PageCache::page`], for hashes that [`is_narrow`]. The digest must have caught
/// up.
///
/// [`is_narrow`]: super::digest::is_narrow
pub fn page_of_ranges<T>(
    digest: &Digest,
    replica: &Replica,
    now: UnixNanos,
    query: &PageQuery,
    make: impl FnMut(&StoredReport<'_>) -> T,
) -> Vec<(String, T)> {
    let ranges = |look: &mut dyn FnMut(StoredReport<'_>)| {
        for id in digest.ids(&query.hashes) {
            replica.store().get(id, &mut *look);
        }
    };
    collect_page(ranges, replica, now, query, make)
}

/// Hands every record to whoever looks.
fn all(replica: &Replica) -> impl Fn(&mut dyn FnMut(StoredReport<'_>)) {
    |look| {
        let mut walk = Walk::default();
        while !replica
            .store()
            .read_some(&mut walk, RECORDS_PER_LOCK, &mut *look)
        {}
    }
}

/// The first that are query among those that `each` hands out.
fn collect_page<T>(
    each: impl FnOnce(&mut dyn FnMut(StoredReport<'_>)),
    replica: &Replica,
    now: UnixNanos,
    query: &PageQuery,
    mut make: impl FnMut(&StoredReport<'_>) -> T,
) -> Vec<(String, T)> {
    let mut first = TopK::<String, T>::new(query.limit);
    each(&mut |stored| {
        let client = stored.report.client.text();
        let is_visible = || !replica.is_expired(stored.report.time, now);
        if query.matches(client) && is_visible() && first.has_room(|last| client < last.as_str()) {
            first.push(client.to_owned(), make(&stored));
        }
    });
    let mut page = first.into_sorted();
    // Forgotten and back again meanwhile, a client may stand at two places.
    page.dedup_by(|one, other| one.0 == other.0);
    page
}

#[cfg(test)]
mod tests {
    use super::super::samples::TestServer;
    use super::*;

    fn read_pages(server: &TestServer, mut query: PageQuery) -> Vec<Vec<String>> {
        let (mut all, mut pages) = (Vec::new(), PageCache::default());
        loop {
            let page = pages.page(&server.replica, server.now, &query, |_| ());
            let ids: Vec<String> = page.into_iter().map(|(id, ())| id).collect();
            let Some(last) = ids.last() else { return all };
            query.after.clone_from(last);
            all.push(ids);
        }
    }

    fn all_clients(limit: usize) -> PageQuery {
        PageQuery {
            prefix: String::new(),
            after: String::new(),
            hashes: 0..=u64::MAX,
            limit,
        }
    }

    #[test]
    fn pages_hold_every_client_once_in_the_order_of_bytes() {
        let mut server = TestServer::new(None);
        let mut ids: Vec<String> = (0..1000).map(|n| format!("client-{n}")).collect();
        ids.extend(["Z", "a", "ab", "ü", "\u{10ffff}"].map(str::to_owned));
        for id in &ids {
            server.report(id, "+1+1", 5);
        }
        ids.sort();
        for limit in [1, 7, 1000, 1005, 5000] {
            let pages = read_pages(&server, all_clients(limit));
            assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit));
            assert_eq!(pages.concat(), ids);
        }
    }

    #[test]
    fn what_is_not_wanted_or_hidden_is_left_out() {
        let mut server = TestServer::new(Some(10));
        for n in 0..100 {
            server.report(&format!("old-{n}"), "+1+1", 5);
            server.report(&format!("new-{n}"), "+1+1", 6);
        }
        server.set_now(16);
        let begins = |prefix: &str| PageQuery {
            prefix: prefix.to_owned(),
            ..all_clients(1000)
        };
        assert_eq!(read_pages(&server, begins("")).concat().len(), 100);
        assert_eq!(read_pages(&server, begins("old")).concat().len(), 0);
        assert_eq!(read_pages(&server, begins("new-1")).concat().len(), 11);
        let half = u64::MAX / 2;
        let hashes = |hashes| PageQuery {
            hashes,
            ..all_clients(3)
        };
        let low = read_pages(&server, hashes(0..=half)).concat();
        let high = read_pages(&server, hashes(half + 1..=u64::MAX)).concat();
        assert!(low.iter().all(|id| client_hash(id) <= half));
        assert_eq!(low.len() + high.len(), 100);
    }

    #[test]
    fn pages_go_on_past_what_was_found_ahead_and_each_where_it_is_asked_to() {
        let mut server = TestServer::new(None);
        let count = CACHED_IDS + 5000;
        for n in 0..count {
            server.report(&format!("{n:06}"), "+1+1", 5);
        }
        let ids = |range: std::ops::Range<usize>| -> Vec<String> {
            range.map(|n| format!("{n:06}")).collect()
        };
        assert_eq!(
            read_pages(&server, all_clients(9000)).concat(),
            ids(0..count)
        );
        let mut pages = PageCache::default();
        // As far as the first pass goes, at its end, behind it, and back again.
        for first in [10, CACHED_IDS, CACHED_IDS + 4990, 20, CACHED_IDS - 5] {
            let query = PageQuery {
                after: format!("{:06}", first - 1),
                ..all_clients(20)
            };
            let page = pages.page(&server.replica, server.now, &query, |_| ());
            let found: Vec<String> = page.into_iter().map(|(id, ())| id).collect();
            assert_eq!(found, ids(first..count.min(first + 20)));
        }
    }

    #[test]
    fn what_is_hidden_after_it_was_found_makes_no_page_short() {
        let mut server = TestServer::new(Some(10));
        for n in 0..100 {
            server.report(&format!("{n:03}"), "+1+1", if n % 2 == 0 { 5 } else { 9 });
        }
        let mut pages = PageCache::default();
        let mut page = |server: &TestServer, after: &str| -> Vec<String> {
            let query = PageQuery {
                after: after.to_owned(),
                ..all_clients(3)
            };
            let page = pages.page(&server.replica, server.now, &query, |_| ());
            page.into_iter().map(|(id, ())| id).collect()
        };
        assert_eq!(page(&server, "009"), ["010", "011", "012"]);
        server.set_now(16);
        assert_eq!(page(&server, "012"), ["013", "015", "017"]);
        server.purge();
        assert_eq!(page(&server, "095"), ["097", "099"]);
    }

    #[test]
    fn clients_of_narrow_ranges_are_those_that_a_pass_finds() {
        let mut server = TestServer::new(Some(10));
        for n in 0..3000 {
            server.report(&format!("c{n}"), "+1+1", 5 + n % 2);
        }
        server.set_now(16);
        let mut digest = Digest::default();
        digest.catch_up(&server.replica, server.now);
        for (first, last) in [(0, u64::MAX >> 5), (u64::MAX / 3, u64::MAX / 3 * 2), (7, 7)] {
            let query = PageQuery {
                hashes: first..=last,
                ..all_clients(40)
            };
            let query = |after: &str| PageQuery {
                after: after.to_owned(),
                ..query.clone()
            };
            let narrow = |query: &PageQuery| {
                page_of_ranges(&digest, &server.replica, server.now, query, |_| ())
            };
            let mut pages = PageCache::default();
            let mut pass =
                |query: &PageQuery| pages.page(&server.replica, server.now, query, |_| ());
            for after in ["", "c2"] {
                assert_eq!(narrow(&query(after)), pass(&query(after)));
            }
        }
    }
}
