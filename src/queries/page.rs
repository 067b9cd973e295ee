//! Clients in the order of their IDs, a page at a time.
//!
//! A page is one scan of all records that keeps the entries with the least IDs: it uses memory for
//! one page only, and needs no state between pages except the last ID. A scan takes some 40 ms for
//! a million records. A second page suggests that more pages follow, so from there on a scan keeps
//! the next [`CACHED_IDS`] IDs, and the following pages read these up. Clients in a narrow range of
//! hashes are found without a scan, by [`Digest`].

use std::ops::RangeInclusive;

use crate::model::client::ClientId;
use crate::model::timestamp::UnixNanos;
use crate::replication::replica::Replica;
use crate::replication::store::{StoredReport, Walk};

use super::digest::{Digest, client_hash};
use super::top_k::TopK;

/// Number of records that are read under one lock.
const RECORDS_PER_LOCK: usize = 64;

/// Number of IDs that one scan finds for the pages after the first: 5 MB of usual IDs, 18 MB of the
/// longest.
const CACHED_IDS: usize = 1 << 16;

/// A query for a page of clients. A client must satisfy every condition.
#[derive(Clone, Debug)]
pub struct PageQuery {
    /// Prefix of the client's ID.
    pub prefix: String,
    /// The client's ID is after this one, in the order of bytes.
    pub after: String,
    /// Range of the client's hash ([`client_hash`]).
    pub hashes: RangeInclusive<u64>,
    /// Maximum number of clients in the page.
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

/// IDs that a scan found for the pages that follow.
///
/// Invariant: `ids` are sorted, and are all IDs that match `cached_query` up to and including the
/// last of them; all that match if `is_complete`.
#[derive(Debug, Default)]
pub struct PageCache {
    cached_query: Option<PageQuery>,
    ids: Vec<String>,
    is_complete: bool,
}

impl PageCache {
    /// Returns the first clients that match the query, in order: their IDs and the values that
    /// `make` makes of them. `make` must be quick (see [`Store::find`]). Every client that is known
    /// throughout, from the first page to the last, is on one of the pages.
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
                let read = |stored: StoredReport<'_>| {
                    (!replica.is_expired(stored.report.order_time(), now)).then(|| make(&stored))
                };
                let client = ClientId::parse(id.as_bytes());
                let value = client.and_then(|client| replica.store().inspect(client, read));
                found.extend(value.flatten().map(|value| (id.clone(), value)));
                query.after.clone_from(id);
            }
            if self.is_complete {
                return found;
            }
        }
    }

    /// Returns IDs that match the query, from the first one on; none only if no ID matches.
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

/// Returns a page as [`PageCache::page`] does, for hashes for which [`is_narrow`] returns `true`.
/// The digest must be up to date.
///
/// [`is_narrow`]: super::digest::is_narrow
pub fn page_of_ranges<T>(
    digest: &Digest,
    replica: &Replica,
    now: UnixNanos,
    query: &PageQuery,
    make: impl FnMut(&StoredReport<'_>) -> T,
) -> Vec<(String, T)> {
    let ranges = |read: &mut dyn FnMut(StoredReport<'_>)| {
        for id in digest.ids(&query.hashes) {
            replica.store().get(id, &mut *read);
        }
    };
    collect_page(ranges, replica, now, query, make)
}

/// Passes every record to a function.
fn all(replica: &Replica) -> impl Fn(&mut dyn FnMut(StoredReport<'_>)) {
    |read| {
        let mut walk = Walk::default();
        while !replica
            .store()
            .read_some(&mut walk, RECORDS_PER_LOCK, &mut *read)
        {}
    }
}

/// Returns the first clients that match the query among the records that `each` passes on.
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
        let is_visible = || !replica.is_expired(stored.report.order_time(), now);
        if query.matches(client) && is_visible() && first.has_room(|last| client < last.as_str()) {
            first.push(client.to_owned(), make(&stored));
        }
    });
    let mut page = first.into_sorted();
    // A client that was purged and came back during the scan may occur twice.
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
    fn pages_contain_every_client_once_in_the_order_of_bytes() {
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
    fn clients_that_do_not_match_or_are_expired_are_left_out() {
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
    fn pages_continue_after_the_cached_ids_and_start_at_any_id() {
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
        // Starts before, at and after the end of the first scan, and goes back.
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
    fn a_report_that_expires_after_the_scan_makes_no_page_short() {
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
    fn narrow_ranges_contain_the_clients_that_a_scan_finds() {
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
