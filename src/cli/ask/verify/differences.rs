//! The clients of ranges that were not seen equal: listed on every server, twice.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use crate::proto::{ListClientsRequest, Report};

use super::super::failure::Failure;
use super::super::server::Server;
use super::super::side_by_side::ask_all;
use super::ranges::Open;
use super::survey::Survey;

/// Time between the two looks: far more than a report is on its way.
const PAUSE: Duration = Duration::from_secs(1);

/// Most ranges that are listed, and most clients in them by their sums.
const MOST_RANGES: usize = 200;
const MOST_CLIENTS: u64 = 20_000;

/// Clients on a page.
const PAGE: u32 = 1000;

/// What became of the ranges that were not proven.
#[derive(Default)]
pub(super) struct Differences {
    /// Clients that differed in the same way both times, with what each server
    /// that was asked holds.
    pub(super) lasting: BTreeMap<String, Held>,
    /// How many clients differed at one look, or in another way at the other.
    pub(super) changing: usize,
    /// Ranges that were too many to be listed, and about how many clients are in
    /// them.
    pub(super) unlisted: (usize, u64),
    /// A server that could not be listed, and why.
    pub(super) failed: Option<(Server, Failure)>,
}

/// What each server holds of a client, in the order of the servers.
pub(super) type Held = Vec<Option<Report>>;

/// Looks twice at what a survey has left open.
pub(super) async fn find(survey: &Survey) -> Differences {
    let servers: Vec<Server> = survey
        .asked
        .iter()
        .map(|(server, _)| server.clone())
        .collect();
    if !survey.compares() || survey.open.is_empty() {
        return Differences::default();
    }
    let listed = first_ones(&survey.open);
    let rest = &survey.open[listed.len()..];
    let unlisted = (rest.len(), rest.iter().map(|open| open.clients).sum());
    let looks = async {
        let first = look(&servers, listed).await?;
        sleep(PAUSE).await;
        Ok((first, look(&servers, listed).await?))
    };
    let looked: Result<_, (Server, Failure)> = looks.await;
    match looked {
        Ok((first, second)) => compare(first, second, unlisted),
        Err(failed) => Differences {
            unlisted,
            failed: Some(failed),
            ..Differences::default()
        },
    }
}

/// As many ranges as are listed.
fn first_ones(open: &[Open]) -> &[Open] {
    let mut clients = 0;
    let fits = |open: &&Open| {
        clients += open.clients;
        clients <= MOST_CLIENTS
    };
    let count = open.iter().take(MOST_RANGES).take_while(fits).count();
    &open[..count.max(1).min(open.len())]
}

fn compare(
    first: BTreeMap<String, Held>,
    mut second: BTreeMap<String, Held>,
    unlisted: (usize, u64),
) -> Differences {
    let (lasting, changed): (BTreeMap<_, _>, BTreeMap<_, _>) = first
        .into_iter()
        .partition(|(client, held)| second.get(client) == Some(held));
    second.retain(|client, _| !lasting.contains_key(client) && !changed.contains_key(client));
    Differences {
        changing: changed.len() + second.len(),
        lasting,
        unlisted,
        failed: None,
    }
}

/// The clients that servers hold different reports of just now.
async fn look(
    servers: &[Server],
    ranges: &[Open],
) -> Result<BTreeMap<String, Held>, (Server, Failure)> {
    let mut differing = BTreeMap::new();
    for open in ranges {
        let lists = ask_all(servers, |server| {
            list(server, open.range.first, open.range.last())
        })
        .await;
        let mut held: BTreeMap<String, Held> = BTreeMap::new();
        for (i, reports) in lists.into_iter().enumerate() {
            let reports = reports.map_err(|failure| (servers[i].clone(), failure))?;
            for report in reports {
                let client = held.entry(report.client.clone());
                client.or_insert_with(|| vec![None; servers.len()])[i] = Some(report);
            }
        }
        held.retain(|_, held| held.iter().any(|report| *report != held[0]));
        differing.append(&mut held);
    }
    Ok(differing)
}

/// All that a server holds of a range.
async fn list(server: Server, first_hash: u64, last_hash: u64) -> Result<Vec<Report>, Failure> {
    let mut reports = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListClientsRequest {
            prefix: String::new(),
            first_hash,
            last_hash,
            page_token,
            page_size: PAGE,
        };
        let page = server.list(request).await?;
        reports.extend(page.clients.into_iter().map(|known| known.report));
        if page.next.is_empty() {
            return Ok(reports);
        }
        page_token = page.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(time: &str) -> Option<Report> {
        Some(Report {
            time: time.to_owned(),
            ..Report::default()
        })
    }

    fn seen(clients: &[(&str, [Option<Report>; 2])]) -> BTreeMap<String, Held> {
        let held =
            |(client, held): &(&str, [Option<Report>; 2])| ((*client).to_owned(), held.to_vec());
        clients.iter().map(held).collect()
    }

    #[test]
    fn what_differs_in_the_same_way_twice_lasts() {
        let first = seen(&[
            ("lasts", [report("1"), None]),
            ("settled", [report("1"), report("2")]),
            ("moves", [report("1"), report("2")]),
        ]);
        let second = seen(&[
            ("lasts", [report("1"), None]),
            ("moves", [report("2"), report("3")]),
            ("begins", [None, report("1")]),
        ]);
        let found = compare(first, second, (0, 0));
        assert_eq!(found.lasting.keys().collect::<Vec<_>>(), ["lasts"]);
        assert_eq!(found.changing, 3);
    }
}
