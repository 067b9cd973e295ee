//! `proxyherd locate`: what every server knows of one client, and whether they
//! agree.

use serde::Serialize;

use crate::proto::Report;

use super::failure::Failure;
use super::fan_out::{ask_all, tell};
use super::known::{self, ReportView, View};
use super::outcome::{CODES, CommandError, Outcome};
use super::screen::{Paint, Screen};
use super::server::{Located, Server};
use super::table::{Side, Table};
use super::targets::Targets;
use super::{json, messages, units};

/// Show what every server knows of one client, and whether they agree
///
/// Prints each different report once, newest first, as its AT line, with the
/// servers that hold it: how old it is by the clock of each, when each learned of
/// it, and from whom.
///
/// Exit code 1 means that nobody knows the client, that servers differ, or that
/// one gives no answer.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = CODES)]
pub(in crate::cli) struct Arguments {
    /// The client's ID, as in its IAMAT
    #[arg(value_parser = units::client)]
    client: String,
    #[command(flatten)]
    whom: Targets,
}

/// What all servers said.
struct Found {
    client: String,
    /// Servers that know it.
    holders: Vec<(Server, Located)>,
    /// Servers that do not.
    strangers: Vec<Server>,
    /// Servers without an answer.
    failures: Vec<(Server, Failure)>,
}

pub(super) async fn run(arguments: Arguments, screen: &Screen) -> Result<Outcome, CommandError> {
    let servers = arguments.whom.servers()?;
    let found = Found::ask(&servers, arguments.client).await;
    let text = match arguments.whom.json {
        true => json::pretty(&found.view()),
        false => found.page(screen),
    };
    screen.print(text).await?;
    Ok(Outcome::well_if(found.is_well()))
}

impl Found {
    async fn ask(servers: &[Server], client: String) -> Self {
        let answers = ask_all(servers, |server| {
            let client = client.clone();
            async move {
                let (status, located) = tokio::join!(server.status(), server.locate(&client));
                status.and(located)
            }
        })
        .await;
        let mut found = Self {
            client,
            holders: Vec::new(),
            strangers: Vec::new(),
            failures: Vec::new(),
        };
        for (server, answer) in servers.iter().cloned().zip(answers) {
            match answer {
                Ok(located) => found.holders.push((server, located)),
                Err(Failure::Unknown) => found.strangers.push(server),
                Err(failure) => found.failures.push((server, failure)),
            }
        }
        found
    }

    fn is_well(&self) -> bool {
        self.agrees() && self.failures.is_empty()
    }

    /// Do all that answered hold the same report?
    fn agrees(&self) -> bool {
        self.reports().len() == 1 && self.strangers.is_empty()
    }

    /// The different reports, newest first.
    fn reports(&self) -> Vec<&Report> {
        let holders = self.holders.iter();
        let mut reports: Vec<&Report> = holders.map(|(_, at)| &at.known.report).collect();
        reports.sort_by(|one, other| known::compare(other, one));
        reports.dedup();
        reports
    }

    fn page(&self, screen: &Screen) -> String {
        let mut text = self.heading(screen) + "\n";
        for report in self.reports() {
            text += &format!("\n{}\n", known::at_line(report));
            text += &self.holders_of(report).print(screen, "  ");
        }
        if !self.strangers.is_empty() && !self.holders.is_empty() {
            let names: Vec<String> = self.strangers.iter().map(Server::title).collect();
            text += &format!("\nnot known to {}\n", messages::list(&names, "and"));
        }
        for (server, failure) in &self.failures {
            text += &format!("\n{}\n", screen.paint(Paint::Bad, &tell(server, failure)));
        }
        text
    }

    fn heading(&self, screen: &Screen) -> String {
        let client = messages::escaped(&self.client);
        let asked = self.holders.len() + self.strangers.len();
        let asked = messages::count(asked as u64, "server");
        let (paint, verdict) = match self.reports().len() {
            0 => (Paint::Bad, format!("nobody of {asked} knows it")),
            1 if self.strangers.is_empty() => (Paint::Good, format!("the same on {asked}")),
            _ => (Paint::Bad, format!("{asked} do NOT agree")),
        };
        format!("{client}: {}", screen.paint(paint, &verdict))
    }

    fn holders_of(&self, report: &Report) -> Table {
        let mut table = Table::new(&[
            ("server", Side::Left),
            ("age", Side::Right),
            ("learned", Side::Left),
            ("from", Side::Left),
        ]);
        let holders = self.holders.iter();
        for (server, at) in holders.filter(|(_, at)| at.known.report == *report) {
            table.row(vec![
                server.title().into(),
                messages::span(at.age).into(),
                messages::instant(&at.known.learned_at).into(),
                at.known.source().into(),
            ]);
        }
        table
    }

    fn view(&self) -> FoundView<'_> {
        let held = self.holders.iter().map(|(server, at)| HolderView {
            server: server.title(),
            age_seconds: at.age,
            known: at.known.view(),
        });
        FoundView {
            client: &self.client,
            agree: self.agrees(),
            newest: self.reports().first().map(|report| ReportView::of(report)),
            held: held.collect(),
            unknown_to: self.strangers.iter().map(Server::title).collect(),
            errors: json::errors(&self.failures),
        }
    }
}

#[derive(Serialize)]
struct FoundView<'a> {
    client: &'a str,
    /// Do all servers that answered hold the same report?
    agree: bool,
    newest: Option<ReportView<'a>>,
    held: Vec<HolderView<'a>>,
    unknown_to: Vec<String>,
    errors: Vec<json::ErrorView>,
}

#[derive(Serialize)]
struct HolderView<'a> {
    server: String,
    age_seconds: f64,
    #[serde(flatten)]
    known: View<'a>,
}
