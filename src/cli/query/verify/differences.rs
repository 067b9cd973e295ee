//! The clients of ranges that were not proven, listed on every server twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::sleep;

use crate::operator_client::{CheckedReport, QueryError, RemoteServer, query_all};
use crate::proto::ListClientsRequest;

use super::comparison::Comparison;
use super::ranges::{MAX_LISTED_RANGES, OpenRange, message};

/// Time between the two listings: far more than a report is in flight.
const LISTING_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of clients that are listed, by their digests, unless one range has more.
const MAX_LISTED_CLIENTS: u64 = 5000;

/// Number of clients on a page, the maximum: a server scans all its clients for each page.
const PAGE_SIZE: u32 = 10_000;

/// The clients of the ranges that were not proven.
#[derive(Default)]
pub(super) struct Differences {
    /// Clients that differed in the same way both times.
    pub(super) lasting: BTreeMap<String, HeldByServer>,
    /// Clients whose report changed on some server from one listing to the other.
    pub(super) changing: BTreeSet<String>,
    /// Number of ranges that were not listed, since there are too many.
    pub(super) unlisted_ranges: usize,
    /// Approximate number of clients in those.
    pub(super) unlisted_clients: u64,
    /// A server that could not be listed.
    pub(super) failed: Option<(RemoteServer, QueryError)>,
}

/// The report of a client on each server, in the order of the servers.
pub(super) type HeldByServer = Vec<Option<CheckedReport>>;

/// The clients of a listing.
type Listing = BTreeMap<String, HeldByServer>;

/// The reason why a server could not be listed.
type ListingError = Box<(RemoteServer, QueryError)>;

/// Lists the open ranges of a comparison twice.
pub(super) async fn find(comparison: &Comparison) -> Differences {
    if !comparison.is_possible() || comparison.open.is_empty() {
        return Differences::default();
    }
    let (listed, rest) = comparison.open.split_at(listed_ranges(&comparison.open));
    let found = async {
        let first = list_all(comparison, listed).await?;
        sleep(LISTING_INTERVAL).await;
        let second = list_all(comparison, listed).await?;
        Ok(Differences {
            unlisted_ranges: rest.len(),
            unlisted_clients: rest.iter().map(|open| open.clients).sum(),
            ..compare(first, second)
        })
    };
    let found: Result<_, ListingError> = found.await;
    found.unwrap_or_else(|failed| Differences {
        failed: Some(*failed),
        ..Differences::default()
    })
}

/// Returns the number of ranges that are listed: at least one.
fn listed_ranges(open: &[OpenRange]) -> usize {
    let mut clients = 0;
    let fits = |open: &&OpenRange| {
        clients += open.clients;
        clients <= MAX_LISTED_CLIENTS
    };
    let fitting = open.iter().take(MAX_LISTED_RANGES).take_while(fits);
    fitting.count().max(1)
}

/// Compares two listings. A client that all servers had the same report of, both times, is neither
/// a difference nor changing.
fn compare(first: Listing, mut second: Listing) -> Differences {
    let mut found = Differences::default();
    for (client, held) in first {
        if second.remove(&client).as_ref() != Some(&held) {
            found.changing.insert(client);
        } else if held.iter().any(|report| *report != held[0]) {
            found.lasting.insert(client, held);
        }
    }
    found.changing.extend(second.into_keys());
    found
}

/// Lists the clients of some ranges on all servers, as of one time.
async fn list_all(comparison: &Comparison, open: &[OpenRange]) -> Result<Listing, ListingError> {
    let servers = comparison.servers();
    let request = ListClientsRequest {
        ranges: open.iter().map(|open| message(&open.range)).collect(),
        page_size: PAGE_SIZE,
        as_of: comparison.as_of(),
        ..ListClientsRequest::default()
    };
    let lists = query_all(&servers, |server| list(server, request.clone())).await;
    let mut listing = Listing::new();
    for (at, reports) in lists.into_iter().enumerate() {
        for report in reports.map_err(|error| Box::new((servers[at].clone(), error)))? {
            let held = listing.entry(report.client().to_owned());
            held.or_insert_with(|| vec![None; servers.len()])[at] = Some(report);
        }
    }
    Ok(listing)
}

/// Returns all reports of a server that match a request.
async fn list(
    server: RemoteServer,
    mut request: ListClientsRequest,
) -> Result<Vec<CheckedReport>, QueryError> {
    let mut reports = Vec::new();
    loop {
        let page = server.list(request.clone()).await?;
        reports.extend(page.reports.into_iter().map(|held| held.report));
        if page.next_page_token.is_empty() {
            return Ok(reports);
        }
        request.page_token = page.next_page_token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator_client::sample;
    use crate::queries::hash_range::HashRange;

    type Clients<'a> = [(&'a str, [Option<CheckedReport>; 2])];

    fn report(time: &str) -> Option<CheckedReport> {
        Some(sample(time))
    }

    fn listing(clients: &Clients<'_>) -> Listing {
        let held = |(client, held): &(&str, [Option<CheckedReport>; 2])| {
            ((*client).to_owned(), held.to_vec())
        };
        clients.iter().map(held).collect()
    }

    #[test]
    fn clients_that_differ_in_the_same_way_twice_are_lasting_differences() {
        let first = listing(&[
            ("lasts", [report("1"), None]),
            ("settles", [report("1"), report("2")]),
            ("moves", [report("1"), report("2")]),
            ("ends", [report("1"), report("1")]),
            ("stays", [report("1"), report("1")]),
        ]);
        let second = listing(&[
            ("lasts", [report("1"), None]),
            ("settles", [report("2"), report("2")]),
            ("moves", [report("2"), report("3")]),
            ("begins", [report("1"), report("1")]),
            ("stays", [report("1"), report("1")]),
        ]);
        let found = compare(first, second);
        assert!(found.lasting.keys().eq(["lasts"]));
        assert!(
            found
                .changing
                .iter()
                .eq(["begins", "ends", "moves", "settles"])
        );
    }

    #[test]
    fn a_client_that_moves_on_all_servers_alike_is_changing() {
        let [first, second] =
            ["1", "2"].map(|time| listing(&[("x", [report(time), report(time)])]));
        let found = compare(first, second);
        assert!(found.lasting.is_empty());
        assert!(found.changing.iter().eq(["x"]));
    }

    #[test]
    fn the_number_of_listed_clients_and_ranges_is_bounded() {
        let open = |clients: &[u64]| -> Vec<OpenRange> {
            let ranges = HashRange::ALL.parts(12).zip(clients);
            ranges
                .map(|(range, &clients)| OpenRange { range, clients })
                .collect()
        };
        assert_eq!(
            listed_ranges(&open(&[10, MAX_LISTED_CLIENTS - 10, 1, 0])),
            2
        );
        assert_eq!(listed_ranges(&open(&[9 * MAX_LISTED_CLIENTS, 0])), 1);
        assert_eq!(listed_ranges(&open(&[1; 4000])), MAX_LISTED_RANGES);
    }
}
