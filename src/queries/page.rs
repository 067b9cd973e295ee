//! Clients in the order of their IDs, a page at a time.
//!
//! A page is one scan that keeps the entries with the least IDs after the last one of the page
//! before: it uses memory for one page only. A listing of everything costs a scan for each page, so
//! it is best read in large pages.

use crate::model::timestamp::UnixNanos;
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

use super::hash_range::{HashRanges, client_hash};
use super::scan_visible;
use super::top_k::TopK;

/// A query for a page of clients. A client must satisfy every condition.
#[derive(Clone, Debug)]
pub struct PageQuery {
    /// Prefix of the client's ID.
    pub prefix: String,
    /// The client's ID is after this one, in the order of bytes.
    pub after: String,
    /// Ranges of the client's hash ([`client_hash`]).
    pub ranges: HashRanges,
    /// Maximum number of clients in the page.
    pub limit: usize,
}

impl PageQuery {
    fn matches(&self, client: &str) -> bool {
        client > self.after.as_str()
            && client.starts_with(&self.prefix)
            && (self.ranges.is_everything() || self.ranges.find(client_hash(client)).is_some())
    }
}

/// Returns the first clients that match the query and whose report is not expired at `now`, in
/// order: their IDs and the values that `make` makes of them. `make` must be quick, since it runs
/// under a lock. `between` is called while no lock is held.
///
/// Every client that matches throughout, from the scan of the first page to that of the last, is on
/// one of the pages.
pub fn scan<T>(
    replica: &Replica,
    now: UnixNanos,
    query: &PageQuery,
    mut make: impl FnMut(&StoredReport<'_>) -> T,
    between: impl FnMut(),
) -> Vec<(String, T)> {
    let mut first = TopK::<String, T>::new(query.limit);
    let add = |stored: &StoredReport<'_>| {
        let client = stored.report.client.text();
        if query.matches(client) && first.has_room(|last| client < last.as_str()) {
            first.push(client.to_owned(), make(stored));
        }
    };
    scan_visible(replica, now, add, between);
    first.into_sorted()
}

#[cfg(test)]
mod tests {
    use super::super::hash_range::HashRange;
    use super::super::samples::TestServer;
    use super::*;

    fn read_pages(server: &TestServer, mut query: PageQuery) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        loop {
            let page = scan(&server.replica, server.now, &query, |_| (), || ());
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
            ranges: HashRange::ALL.into(),
            limit,
        }
    }

    #[test]
    fn pages_contain_every_client_once_in_the_order_of_bytes() {
        let server = TestServer::new(None);
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
        let quarters: Vec<HashRange> = HashRange::ALL.parts(2).collect();
        let of_quarters = |some: &[usize]| {
            let ranges = some.iter().map(|&nth| quarters[nth]).collect();
            let query = PageQuery {
                ranges: HashRanges::new(ranges).unwrap(),
                ..all_clients(3)
            };
            read_pages(&server, query).concat()
        };
        let (two, others) = (of_quarters(&[0, 2]), of_quarters(&[1, 3]));
        assert!(two.iter().all(|id| client_hash(id) >> 62 & 1 == 0));
        assert!(others.iter().all(|id| client_hash(id) >> 62 & 1 == 1));
        assert_eq!(two.len() + others.len(), 100);
    }
}
