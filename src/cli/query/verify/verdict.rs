//! The result of `verify`, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use crate::operator_client::duplicates::DuplicatedServer;
use crate::operator_client::{CheckedReport, RemoteServer, ServerError, errors as errors_json};

use super::super::fan_out::describe;
use super::super::format;
use super::super::terminal::{Highlight, Screen};
use super::comparison::Comparison;
use super::differences::Differences;

/// The result.
pub(super) struct Verdict {
    pub(super) comparison: Comparison,
    /// Time that the comparison took.
    pub(super) took: Duration,
    pub(super) differences: Differences,
    /// Servers under whose name several processes run: what those hold that gave no answer is
    /// unknown.
    pub(super) duplicated: Vec<DuplicatedServer>,
}

/// Servers that hold the same report of a client, or none.
type HolderGroup<'a> = (Option<&'a CheckedReport>, Vec<String>);

impl Verdict {
    /// True if every range is proven, on every server.
    pub(super) fn is_proof(&self) -> bool {
        self.comparison.open.is_empty()
            && self.comparison.lost.is_empty()
            && self.comparison.is_possible()
            && self.duplicated.is_empty()
    }

    /// For people; at most so many clients are named.
    pub(super) fn page(&self, max_names: usize, screen: &Screen) -> String {
        let mut text = self.heading(screen) + "\n";
        text += &self.proven_ranges();
        for (server, error) in &self.comparison.lost {
            let error = format::escaped(&describe(server, error));
            text += &format!("{}\n", screen.paint(Highlight::Bad, &error));
        }
        for server in &self.duplicated {
            let line = format!("{}: {}", server.name, server.description());
            text += &format!("{}\n", screen.paint(Highlight::Bad, &line));
        }
        text += &self.open_ranges();
        let lasting = &self.differences.lasting;
        for (client, held) in lasting.iter().take(max_names) {
            text += &format!("\n{}\n", format::escaped(client));
            for (report, servers) in self.groups(held) {
                let held = report.map_or_else(|| "no report".to_owned(), CheckedReport::at_line);
                text += &format!("  {}: {held}\n", format::list(&servers, "and"));
            }
        }
        if let more @ 1.. = lasting.len().saturating_sub(max_names) as u64 {
            text += &format!("\nand {}\n", format::count(more, "more client"));
        }
        text + &self.changing_clients(max_names)
    }

    /// Returns a line that names the clients that are still changing.
    fn changing_clients(&self, max_names: usize) -> String {
        let changing = &self.differences.changing;
        let mut names: Vec<String> = changing
            .iter()
            .take(max_names)
            .map(|client| format::escaped(client))
            .collect();
        if names.is_empty() {
            return String::new();
        }
        if let more @ 1.. = changing.len().saturating_sub(max_names) as u64 {
            names.push(format::count(more, "more client"));
        }
        format!("\nstill changing: {}\n", format::list(&names, "and"))
    }

    fn heading(&self, screen: &Screen) -> String {
        let servers = format::count(self.comparison.servers.len() as u64, "server");
        let lasting = self.differences.lasting.len() as u64;
        let (highlight, verdict) = if self.is_proof() {
            (
                Highlight::Good,
                format!("proven: all {servers} hold the same reports"),
            )
        } else if lasting > 0 {
            let clients = format::count(lasting, "client");
            let clients = match self.differences.unlisted_ranges {
                0 => clients,
                _ => format!("{clients} or more"),
            };
            (
                Highlight::Bad,
                format!("NOT the same: servers differ in {clients}"),
            )
        } else if !self.comparison.is_possible() {
            (
                Highlight::Bad,
                "not proven: fewer than two servers answered".to_owned(),
            )
        } else if !self.duplicated.is_empty() {
            let names = self.duplicated.iter().map(|server| &server.name);
            let names = format::list(names, "and");
            (
                Highlight::Bad,
                format!("not proven: two or more processes run as {names}"),
            )
        } else if self.comparison.open.is_empty() {
            (
                Highlight::Bad,
                format!("not proven: {servers} hold the same reports, the others gave no answer"),
            )
        } else {
            (
                Highlight::Caution,
                "not proven: not all ranges were seen equal".to_owned(),
            )
        };
        screen.paint(highlight, &verdict)
    }

    fn proven_ranges(&self) -> String {
        let Comparison {
            proven_clients,
            proven_ranges,
            rounds,
            ..
        } = self.comparison;
        format!(
            "seen equal: {} in {}; {}, {}\n",
            format::count(proven_clients, "client"),
            format::count(proven_ranges, "range"),
            format::count(rounds, "round"),
            format::span(self.took.as_secs_f64()),
        )
    }

    /// Returns a line about the ranges that were not seen equal.
    fn open_ranges(&self) -> String {
        let Differences {
            changing,
            unlisted_ranges,
            unlisted_clients,
            failed,
            ..
        } = &self.differences;
        let open = self.comparison.open.len() as u64;
        if !self.comparison.is_possible() || open == 0 {
            return String::new();
        }
        let mut text = format!("not seen equal: {}", format::count(open, "range"));
        if !changing.is_empty() {
            let clients = format::count(changing.len() as u64, "client");
            text += &format!("; {clients} still changing");
        }
        if *unlisted_ranges > 0 {
            let (ranges, clients) = (
                format::count(*unlisted_ranges as u64, "range"),
                format::grouped(*unlisted_clients),
            );
            text += &format!("; {ranges} with about {clients} clients not listed");
        }
        if let Some((server, error)) = failed {
            let error = format::escaped(&describe(server, error));
            text += &format!("; listing failed: {error}");
        }
        text + "\n"
    }

    /// Groups the servers by the report that they hold of a client.
    fn groups<'a>(&self, held: &'a [Option<CheckedReport>]) -> Vec<HolderGroup<'a>> {
        let mut groups: Vec<HolderGroup<'a>> = Vec::new();
        let titles = self
            .comparison
            .servers
            .iter()
            .map(|(server, _)| server.title());
        for (report, title) in held.iter().map(Option::as_ref).zip(titles) {
            match groups.iter_mut().find(|group| group.0 == report) {
                Some(group) => group.1.push(title),
                None => groups.push((report, vec![title])),
            }
        }
        groups
    }

    /// Returns the result for programs, with at most this number of clients.
    pub(super) fn json(&self, max_names: usize) -> VerdictJson<'_> {
        let servers = self.comparison.servers();
        let lasting = &self.differences.lasting;
        let mut errors = errors_json(&self.comparison.lost);
        errors.extend(errors_json(self.differences.failed.as_slice()));
        let differing = lasting.iter().take(max_names).map(|(client, held)| {
            let groups = self.groups(held).into_iter();
            let held = groups.map(|(report, servers)| HolderGroupJson { servers, report });
            DifferenceJson {
                client,
                held: held.collect(),
            }
        });
        VerdictJson {
            proven: self.is_proof(),
            servers: servers.iter().map(RemoteServer::title).collect(),
            errors,
            clients_equal: self.comparison.proven_clients,
            ranges_equal: self.comparison.proven_ranges,
            ranges_open: self.comparison.open.len(),
            rounds: self.comparison.rounds,
            seconds: self.took.as_secs_f64(),
            clients_differing: lasting.len(),
            differing: differing.collect(),
            clients_changing: self.differences.changing.len(),
            changing: self.differences.changing.iter().take(max_names).collect(),
            ranges_not_listed: self.differences.unlisted_ranges,
            duplicated: self.duplicated.iter().map(|it| it.name.as_str()).collect(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct VerdictJson<'a> {
    proven: bool,
    /// Servers that answered every query.
    servers: Vec<String>,
    errors: Vec<ServerError<'a>>,
    clients_equal: u64,
    ranges_equal: u64,
    ranges_open: usize,
    rounds: u64,
    seconds: f64,
    clients_differing: usize,
    /// The first of those, up to `--names`.
    differing: Vec<DifferenceJson<'a>>,
    clients_changing: usize,
    /// The first of those, up to `--names`.
    changing: Vec<&'a String>,
    ranges_not_listed: usize,
    /// Servers under whose name several processes run.
    duplicated: Vec<&'a str>,
}

#[derive(Serialize)]
struct DifferenceJson<'a> {
    client: &'a str,
    held: Vec<HolderGroupJson<'a>>,
}

/// Servers that hold the same report; null for none.
#[derive(Serialize)]
struct HolderGroupJson<'a> {
    servers: Vec<String>,
    report: Option<&'a CheckedReport>,
}
