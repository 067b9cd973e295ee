//! What came out, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use crate::proto::Report;

use super::super::fan_out::tell;
use super::super::json::{self, ErrorView};
use super::super::known::{ReportView, at_line};
use super::super::messages;
use super::super::screen::{Paint, Screen};
use super::differences::Differences;
use super::survey::Survey;

/// All that was found.
pub(super) struct Verdict {
    pub(super) survey: Survey,
    /// How long the survey took.
    pub(super) took: Duration,
    pub(super) differences: Differences,
}

/// Servers that hold the same of a client: a report, or nothing.
type Group<'a> = (Option<&'a Report>, Vec<String>);

impl Verdict {
    /// Was everything seen equal on every server?
    pub(super) fn is_proof(&self) -> bool {
        self.survey.open.is_empty() && self.survey.lost.is_empty() && self.survey.compares()
    }

    /// For people; at most so many clients are named.
    pub(super) fn page(&self, names: usize, screen: &Screen) -> String {
        let mut text = self.heading(screen) + "\n";
        text += &self.proven();
        for (server, failure) in &self.survey.lost {
            text += &format!("{}\n", screen.paint(Paint::Bad, &tell(server, failure)));
        }
        text += &self.left();
        let lasting = &self.differences.lasting;
        for (client, held) in lasting.iter().take(names) {
            text += &format!("\n{}\n", messages::escaped(client));
            for (report, servers) in self.groups(held) {
                let holds = report.map_or_else(|| "does not know it".to_owned(), at_line);
                text += &format!("  {}: {holds}\n", messages::list(&servers, "and"));
            }
        }
        if let more @ 1.. = lasting.len().saturating_sub(names) as u64 {
            text += &format!("\nand {}\n", messages::count(more, "more client"));
        }
        text
    }

    fn heading(&self, screen: &Screen) -> String {
        let servers = messages::count(self.survey.asked.len() as u64, "server");
        let lasting = self.differences.lasting.len() as u64;
        let (paint, words) = if self.is_proof() {
            (Paint::Good, format!("proven: all {servers} hold the same"))
        } else if lasting > 0 {
            let clients = messages::count(lasting, "client");
            let clients = match self.differences.unlisted.0 {
                0 => clients,
                _ => format!("{clients} or more"),
            };
            (
                Paint::Bad,
                format!("NOT the same: servers differ about {clients}"),
            )
        } else if !self.survey.compares() {
            (
                Paint::Bad,
                "not proven: there is nobody to compare with".to_owned(),
            )
        } else if self.survey.open.is_empty() {
            (
                Paint::Bad,
                format!("not proven: {servers} hold the same, and not all could be asked"),
            )
        } else {
            (
                Paint::Caution,
                "not proven: not all was seen equal".to_owned(),
            )
        };
        screen.paint(paint, &words)
    }

    fn proven(&self) -> String {
        let Survey {
            proven_clients,
            proven_ranges,
            rounds,
            ..
        } = self.survey;
        format!(
            "seen equal: {} in {}; {}, {}\n",
            messages::count(proven_clients, "client"),
            messages::count(proven_ranges, "range"),
            messages::count(rounds, "round"),
            messages::span(self.took.as_secs_f64()),
        )
    }

    /// What is known of the ranges that were not seen equal.
    fn left(&self) -> String {
        let Differences {
            changing,
            unlisted: (ranges, clients),
            failed,
            ..
        } = &self.differences;
        let open = self.survey.open.len() as u64;
        if !self.survey.compares() || open == 0 {
            return String::new();
        }
        let mut text = format!("not seen equal: {}", messages::count(open, "range"));
        if *changing > 0 {
            text += &format!(
                "; {} still changing",
                messages::count(*changing as u64, "client")
            );
        }
        if *ranges > 0 {
            let (ranges, clients) = (
                messages::count(*ranges as u64, "range"),
                messages::grouped(*clients),
            );
            text += &format!("; {ranges} with about {clients} clients not listed");
        }
        if let Some((server, failure)) = failed {
            text += &format!("; they could not be listed: {}", tell(server, failure));
        }
        text + "\n"
    }

    /// Who holds what of a client, servers that hold the same together.
    fn groups<'a>(&self, held: &'a [Option<Report>]) -> Vec<Group<'a>> {
        let mut groups: Vec<Group<'a>> = Vec::new();
        let titles = self.survey.asked.iter().map(|(server, _)| server.title());
        for (report, title) in held.iter().map(Option::as_ref).zip(titles) {
            match groups.iter_mut().find(|group| group.0 == report) {
                Some(group) => group.1.push(title),
                None => groups.push((report, vec![title])),
            }
        }
        groups
    }

    /// For programs; at most so many clients are named.
    pub(super) fn view(&self, names: usize) -> VerdictView<'_> {
        let lasting = &self.differences.lasting;
        let mut errors = json::errors(&self.survey.lost);
        errors.extend(json::errors(self.differences.failed.as_slice()));
        let differing = lasting.iter().take(names).map(|(client, held)| {
            let groups = self.groups(held).into_iter();
            let held = groups.map(|(report, servers)| HeldView {
                servers,
                report: report.map(ReportView::of),
            });
            DifferenceView {
                client,
                held: held.collect(),
            }
        });
        VerdictView {
            proven: self.is_proof(),
            servers: self
                .survey
                .asked
                .iter()
                .map(|(server, _)| server.title())
                .collect(),
            errors,
            clients_equal: self.survey.proven_clients,
            ranges_equal: self.survey.proven_ranges,
            ranges_open: self.survey.open.len(),
            rounds: self.survey.rounds,
            seconds: self.took.as_secs_f64(),
            clients_differing: lasting.len(),
            differing: differing.collect(),
            clients_changing: self.differences.changing,
            ranges_not_listed: self.differences.unlisted.0,
        }
    }
}

#[derive(Serialize)]
pub(super) struct VerdictView<'a> {
    proven: bool,
    /// Those that answered every question.
    servers: Vec<String>,
    errors: Vec<ErrorView>,
    clients_equal: u64,
    ranges_equal: u64,
    ranges_open: usize,
    rounds: u64,
    seconds: f64,
    clients_differing: usize,
    /// As many of those as were to be named.
    differing: Vec<DifferenceView<'a>>,
    clients_changing: usize,
    ranges_not_listed: usize,
}

#[derive(Serialize)]
struct DifferenceView<'a> {
    client: &'a str,
    held: Vec<HeldView<'a>>,
}

/// Servers that hold the same; null where they do not know the client.
#[derive(Serialize)]
struct HeldView<'a> {
    servers: Vec<String>,
    report: Option<ReportView<'a>>,
}
