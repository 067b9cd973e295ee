//! The clients of ranges that were not seen equal, listed on every server twice.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::proto::ListClientsRequest;

use super::super::error::QueryError;
use super::super::fan_out::query_all;
use super::super::reports::CheckedReport;
use super::super::server::RemoteServer;
use super::comparison::Comparison;
use super::ranges::OpenRange;

/// Time between the two listings: far more than a report is in flight.
const LISTING_INTERVAL: Duration = Duration::from_secs(1);

/// Time after which the first listing begins no further list: to list a range, a server
/// scans all its clients.
const MAX_LISTING_TIME: Duration = Duration::from_secs(2);

/// Maximum number of clients in one list, by their digests, except where one range has
/// more.
const MAX_LIST_CLIENTS: u64 = 5000;

/// Number of clients on a page: a list is usually one page.
const PAGE_SIZE: u32 = 5000;

/// The clients of the ranges that were not proven.
#[derive(Default)]
pub(super) struct Differences {
    /// Clients that differed in the same way both times.
    pub(super) lasting: BTreeMap<String, HeldByServer>,
    /// Number of clients that differed in one listing only, or in different ways.
    pub(super) changing: usize,
    /// Number of ranges that there was no time to list.
    pub(super) unlisted_ranges: usize,
    /// Approximate number of clients in those.
    pub(super) unlisted_clients: u64,
    /// A server that could not be listed.
    pub(super) failed: Option<(RemoteServer, QueryError)>,
}

/// The report of a client on each server, in the order of the servers.
pub(super) type HeldByServer = Vec<Option<CheckedReport>>;

/// Lists the open ranges of a comparison twice.
pub(super) async fn find(comparison: &Comparison) -> Differences {
    if !comparison.is_possible() || comparison.open.is_empty() {
        return Differences::default();
    }
    let servers = comparison.servers();
    let mut runs = runs(&comparison.open);
    let found = async {
        let (first, listed) =
            list_all(&servers, &runs, Some(Instant::now() + MAX_LISTING_TIME)).await?;
        let rest = runs.split_off(listed);
        sleep(LISTING_INTERVAL).await;
        let (second, _) = list_all(&servers, &runs, None).await?;
        Ok(Differences {
            unlisted_ranges: rest.iter().map(|run| run.ranges).sum(),
            unlisted_clients: rest.iter().map(|run| run.clients).sum(),
            ..compare(first, second)
        })
    };
    let found: Result<_, Box<(RemoteServer, QueryError)>> = found.await;
    found.unwrap_or_else(|failed| Differences {
        failed: Some(*failed),
        ..Differences::default()
    })
}

/// Adjacent ranges that are one list.
struct RangeRun {
    first: u64,
    last: u64,
    ranges: usize,
    clients: u64,
}

/// Joins adjacent ranges, up to the maximum size of a list.
fn runs(open: &[OpenRange]) -> Vec<RangeRun> {
    let mut runs: Vec<RangeRun> = Vec::new();
    for OpenRange { range, clients } in open {
        match runs.last_mut() {
            Some(run)
                if run.last.checked_add(1) == Some(range.first)
                    && run.clients + clients <= MAX_LIST_CLIENTS =>
            {
                run.last = range.last();
                run.ranges += 1;
                run.clients += clients;
            }
            _ => runs.push(RangeRun {
                first: range.first,
                last: range.last(),
                ranges: 1,
                clients: *clients,
            }),
        }
    }
    runs
}

fn compare(
    first: BTreeMap<String, HeldByServer>,
    mut second: BTreeMap<String, HeldByServer>,
) -> Differences {
    let (lasting, changed): (BTreeMap<_, _>, BTreeMap<_, _>) = first
        .into_iter()
        .partition(|(client, held)| second.get(client) == Some(held));
    second.retain(|client, _| !lasting.contains_key(client) && !changed.contains_key(client));
    Differences {
        changing: changed.len() + second.len(),
        lasting,
        ..Differences::default()
    }
}

/// Returns the clients that servers hold different reports of, and the number of runs
/// that were listed: at least one, and those that began before `until`.
async fn list_all(
    servers: &[RemoteServer],
    runs: &[RangeRun],
    until: Option<Instant>,
) -> Result<(BTreeMap<String, HeldByServer>, usize), Box<(RemoteServer, QueryError)>> {
    let mut differing = BTreeMap::new();
    for (i, run) in runs.iter().enumerate() {
        if i > 0 && until.is_some_and(|until| Instant::now() >= until) {
            return Ok((differing, i));
        }
        let (first, last) = (run.first, run.last);
        let lists = query_all(servers, |server| list(server, first, last)).await;
        differing.append(&mut differences(servers, lists)?);
    }
    Ok((differing, runs.len()))
}

/// Returns the clients that these lists differ in.
fn differences(
    servers: &[RemoteServer],
    lists: Vec<Result<Vec<CheckedReport>, QueryError>>,
) -> Result<BTreeMap<String, HeldByServer>, Box<(RemoteServer, QueryError)>> {
    let mut held: BTreeMap<String, HeldByServer> = BTreeMap::new();
    for (i, reports) in lists.into_iter().enumerate() {
        for report in reports.map_err(|error| Box::new((servers[i].clone(), error)))? {
            let client = held.entry(report.client().to_owned());
            client.or_insert_with(|| vec![None; servers.len()])[i] = Some(report);
        }
    }
    held.retain(|_, held| held.iter().any(|report| *report != held[0]));
    Ok(held)
}

/// Returns all reports of a server in a range.
async fn list(
    server: RemoteServer,
    first_hash: u64,
    last_hash: u64,
) -> Result<Vec<CheckedReport>, QueryError> {
    let mut reports = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListClientsRequest {
            prefix: String::new(),
            first_hash,
            last_hash,
            page_token,
            page_size: PAGE_SIZE,
        };
        let page = server.list(request).await?;
        reports.extend(page.reports.into_iter().map(|held| held.report));
        if page.next_page_token.is_empty() {
            return Ok(reports);
        }
        page_token = page.next_page_token;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::reports::sample;
    use super::super::ranges::HashRange;
    use super::*;

    type Clients<'a> = [(&'a str, [Option<CheckedReport>; 2])];

    fn report(time: &str) -> Option<CheckedReport> {
        Some(sample(time))
    }

    fn listing(clients: &Clients<'_>) -> BTreeMap<String, HeldByServer> {
        let held = |(client, held): &(&str, [Option<CheckedReport>; 2])| {
            ((*client).to_owned(), held.to_vec())
        };
        clients.iter().map(held).collect()
    }

    #[test]
    fn clients_that_differ_in_the_same_way_twice_are_lasting_differences() {
        let first = listing(&[
            ("lasts", [report("1"), None]),
            ("settled", [report("1"), report("2")]),
            ("moves", [report("1"), report("2")]),
        ]);
        let second = listing(&[
            ("lasts", [report("1"), None]),
            ("moves", [report("2"), report("3")]),
            ("begins", [None, report("1")]),
        ]);
        let found = compare(first, second);
        assert_eq!(found.lasting.keys().collect::<Vec<_>>(), ["lasts"]);
        assert_eq!(found.changing, 3);
    }

    #[test]
    fn adjacent_ranges_are_one_list_up_to_its_maximum_size() {
        let parts: Vec<HashRange> = HashRange::ALL.parts(12).collect();
        let open = |i: usize, clients| OpenRange {
            range: parts[i],
            clients,
        };
        let open = [
            open(1, 10),
            open(2, 10),
            open(4, MAX_LIST_CLIENTS - 1),
            open(5, 2),
            open(4095, 9 * MAX_LIST_CLIENTS),
        ];
        let runs = runs(&open);
        let sizes: Vec<(u64, usize)> = runs.iter().map(|run| (run.clients, run.ranges)).collect();
        let expected = [
            (20, 2),
            (MAX_LIST_CLIENTS - 1, 1),
            (2, 1),
            (9 * MAX_LIST_CLIENTS, 1),
        ];
        assert_eq!(sizes, expected);
        assert_eq!(
            (runs[0].first, runs[0].last),
            (parts[1].first, parts[2].last())
        );
        assert_eq!(runs[3].last, u64::MAX);
    }
}
