//! `proxyherd locate`: the reports that all servers hold of one client, and whether
//! they agree.

use serde::Serialize;

use crate::table::{Left, Right, TextTable};

use super::error::QueryError;
use super::fan_out::{describe, query_all};
use super::outcome::{CommandError, EXIT_CODES, Outcome};
use super::reports::{CheckedReport, HeldReport};
use super::server::{LocatedReport, RemoteServer};
use super::targets::Targets;
use super::terminal::{Highlight, Screen};
use super::{format, json, units};

/// Show the report of one client on every server, and whether they agree
///
/// Prints each different report once, newest first: its AT line, and the servers that
/// hold it, with its age by the clock of each, and when and from which neighbour each
/// learned of it.
///
/// Exit code 1 means that no server has a report of the client, that servers differ, or
/// that one gives no answer.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXIT_CODES)]
pub(in crate::cli) struct LocateArguments {
    /// The client's ID, as in its IAMAT
    #[arg(value_parser = units::client)]
    client: String,
    #[command(flatten)]
    pub(super) targets: Targets,
}

/// The answers of all servers.
struct Located {
    client: String,
    /// Servers with a report.
    holders: Vec<(RemoteServer, LocatedReport)>,
    /// Servers without a report.
    without: Vec<RemoteServer>,
    /// Servers without an answer.
    errors: Vec<(RemoteServer, QueryError)>,
}

pub(super) async fn run(
    arguments: LocateArguments,
    screen: &Screen,
) -> Result<Outcome, CommandError> {
    let servers = arguments.targets.servers()?;
    let located = Located::query(&servers, arguments.client).await;
    let text = if arguments.targets.json {
        json::pretty(&located.json())
    } else {
        located.page(screen)
    };
    screen.print(text).await?;
    Ok(Outcome::success_if(
        located.agree() && located.errors.is_empty(),
    ))
}

impl Located {
    async fn query(servers: &[RemoteServer], client: String) -> Self {
        let answers = query_all(servers, |server| {
            let client = client.clone();
            async move {
                let (status, located) = tokio::join!(server.status(), server.locate(&client));
                status.and(located)
            }
        })
        .await;
        let mut located = Self {
            client,
            holders: Vec::new(),
            without: Vec::new(),
            errors: Vec::new(),
        };
        for (server, answer) in servers.iter().cloned().zip(answers) {
            match answer {
                Ok(report) => located.holders.push((server, report)),
                Err(QueryError::UnknownClient) => located.without.push(server),
                Err(error) => located.errors.push((server, error)),
            }
        }
        located
    }

    /// True if all servers that answered hold the same report.
    fn agree(&self) -> bool {
        self.reports().len() == 1 && self.without.is_empty()
    }

    /// The different reports, newest first.
    fn reports(&self) -> Vec<&CheckedReport> {
        let holders = self.holders.iter();
        let mut reports: Vec<_> = holders.map(|(_, located)| &located.held.report).collect();
        reports.sort_by(|one, other| other.compare(one));
        reports.dedup();
        reports
    }

    fn page(&self, screen: &Screen) -> String {
        let mut text = self.heading(screen) + "\n";
        for report in self.reports() {
            text += &format!("\n{}\n", report.at_line());
            text += &self.holders_of(report).text("  ");
        }
        if !self.without.is_empty() && !self.holders.is_empty() {
            let names: Vec<String> = self.without.iter().map(RemoteServer::title).collect();
            text += &format!("\nno report on {}\n", format::list(&names, "and"));
        }
        for (server, error) in &self.errors {
            let error = format::escaped(&describe(server, error));
            let line = screen.paint(Highlight::Bad, &error);
            text += &format!("\n{line}\n");
        }
        text
    }

    fn heading(&self, screen: &Screen) -> String {
        let client = format::escaped(&self.client);
        let answered = self.holders.len() + self.without.len();
        let servers = format::count(answered as u64, "server");
        let (highlight, verdict) = match self.reports().len() {
            0 if answered == 0 => (Highlight::Bad, "no server answered".to_owned()),
            0 => (Highlight::Bad, format!("no report on {servers}")),
            1 if self.without.is_empty() => (Highlight::Good, format!("the same on {servers}")),
            _ => (Highlight::Bad, format!("{servers} do NOT agree")),
        };
        format!("{client}: {}", screen.paint(highlight, &verdict))
    }

    fn holders_of(&self, report: &CheckedReport) -> TextTable {
        let mut table = TextTable::new(&[
            ("server", Left),
            ("age", Right),
            ("learned", Left),
            ("from", Left),
        ]);
        let holders = self.holders.iter();
        for (server, located) in holders.filter(|(_, located)| located.held.report == *report) {
            let from = located.held.learned_from.as_deref();
            table.row([
                server.title(),
                format::span(located.age_seconds),
                located.held.learned_at(),
                from.unwrap_or("the client").to_owned(),
            ]);
        }
        table
    }

    fn json(&self) -> LocatedJson<'_> {
        let held = self.holders.iter().map(|(server, located)| HolderJson {
            server: server.title(),
            age_seconds: located.age_seconds,
            report: &located.held,
        });
        LocatedJson {
            client: &self.client,
            agree: self.agree(),
            newest: self.reports().first().copied(),
            held: held.collect(),
            unknown_to: self.without.iter().map(RemoteServer::title).collect(),
            errors: json::errors(&self.errors),
        }
    }
}

#[derive(Serialize)]
struct LocatedJson<'a> {
    client: &'a str,
    /// True if all servers that answered hold the same report.
    agree: bool,
    newest: Option<&'a CheckedReport>,
    held: Vec<HolderJson<'a>>,
    unknown_to: Vec<String>,
    errors: Vec<json::ServerError<'a>>,
}

#[derive(Serialize)]
struct HolderJson<'a> {
    server: String,
    age_seconds: f64,
    #[serde(flatten)]
    report: &'a HeldReport,
}
