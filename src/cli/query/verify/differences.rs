//! The clients of ranges that were not seen equal: listed on every server, twice.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::proto::{ListClientsRequest, Report};

use super::super::failure::Failure;
use super::super::fan_out::ask_all;
use super::super::server::Server;
use super::ranges::Open;
use super::survey::Survey;

/// Time between the two looks: far more than a report is on its way.
const PAUSE: Duration = Duration::from_secs(1);

/// After so long the first look begins no further list: to list a range a server
/// goes through all its clients.
const LOOK: Duration = Duration::from_secs(2);

/// Most clients in one list, by their sums, save where one range has more.
const MOST_CLIENTS: u64 = 5000;

/// Clients on a page: a list is one, as a rule.
const PAGE: u32 = 5000;

/// What became of the ranges that were not proven.
#[derive(Default)]
pub(super) struct Differences {
    /// Clients that differed in the same way both times, with what each server
    /// that was asked holds.
    pub(super) lasting: BTreeMap<String, Held>,
    /// How many clients differed at one look, or in another way at the other.
    pub(super) changing: usize,
    /// Ranges that there was no time to list, and about how many clients are in
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
    let mut runs = runs(&survey.open);
    let found = async {
        let (first, looked) = look(&servers, &runs, Some(Instant::now() + LOOK)).await?;
        let rest = runs.split_off(looked);
        sleep(PAUSE).await;
        let (second, _) = look(&servers, &runs, None).await?;
        Ok(Differences {
            unlisted: (
                rest.iter().map(|run| run.ranges).sum(),
                rest.iter().map(|run| run.clients).sum(),
            ),
            ..compare(first, second)
        })
    };
    let found: Result<_, Box<(Server, Failure)>> = found.await;
    found.unwrap_or_else(|failed| Differences {
        failed: Some(*failed),
        ..Differences::default()
    })
}

/// Ranges without a gap between them: one list.
struct Run {
    first: u64,
    last: u64,
    ranges: usize,
    clients: u64,
}

/// Ranges in order, put together as far as one list may hold them.
fn runs(open: &[Open]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for Open { range, clients } in open {
        match runs.last_mut() {
            Some(run)
                if run.last.checked_add(1) == Some(range.first)
                    && run.clients + clients <= MOST_CLIENTS =>
            {
                run.last = range.last();
                run.ranges += 1;
                run.clients += clients;
            }
            _ => runs.push(Run {
                first: range.first,
                last: range.last(),
                ranges: 1,
                clients: *clients,
            }),
        }
    }
    runs
}

fn compare(first: BTreeMap<String, Held>, mut second: BTreeMap<String, Held>) -> Differences {
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

/// The clients that servers hold different reports of just now, and how many
/// runs were looked at: at least one, and those that were begun in time.
async fn look(
    servers: &[Server],
    runs: &[Run],
    until: Option<Instant>,
) -> Result<(BTreeMap<String, Held>, usize), Box<(Server, Failure)>> {
    let mut differing = BTreeMap::new();
    for (i, run) in runs.iter().enumerate() {
        if i > 0 && until.is_some_and(|until| Instant::now() >= until) {
            return Ok((differing, i));
        }
        let (first, last) = (run.first, run.last);
        let lists = ask_all(servers, |server| list(server, first, last)).await;
        differing.append(&mut differences(servers, lists)?);
    }
    Ok((differing, runs.len()))
}

/// The clients that these lists differ about.
fn differences(
    servers: &[Server],
    lists: Vec<Result<Vec<Report>, Failure>>,
) -> Result<BTreeMap<String, Held>, Box<(Server, Failure)>> {
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    for (i, reports) in lists.into_iter().enumerate() {
        for report in reports.map_err(|failure| Box::new((servers[i].clone(), failure)))? {
            let client = held.entry(report.client.clone());
            client.or_insert_with(|| vec![None; servers.len()])[i] = Some(report);
        }
    }
    held.retain(|_, held| held.iter().any(|report| *report != held[0]));
    Ok(held)
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
    use super::super::ranges::Range;
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
        let found = compare(first, second);
        assert_eq!(found.lasting.keys().collect::<Vec<_>>(), ["lasts"]);
        assert_eq!(found.changing, 3);
    }

    #[test]
    fn ranges_without_a_gap_are_one_list_as_far_as_it_may_hold_them() {
        let parts: Vec<Range> = Range::ALL.parts(12).collect();
        let open = |i: usize, clients| Open {
            range: parts[i],
            clients,
        };
        let open = [
            open(1, 10),
            open(2, 10),
            open(4, MOST_CLIENTS - 1),
            open(5, 2),
            open(4095, 9 * MOST_CLIENTS),
        ];
        let runs = runs(&open);
        let told: Vec<(u64, usize)> = runs.iter().map(|run| (run.clients, run.ranges)).collect();
        let wanted = [
            (20, 2),
            (MOST_CLIENTS - 1, 1),
            (2, 1),
            (9 * MOST_CLIENTS, 1),
        ];
        assert_eq!(told, wanted);
        assert_eq!(
            (runs[0].first, runs[0].last),
            (parts[1].first, parts[2].last())
        );
        assert_eq!(runs[3].last, u64::MAX);
    }
}
