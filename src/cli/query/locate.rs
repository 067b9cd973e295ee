//! `proxyherd locate`: the reports that all servers hold of one client, and whether
//! they agree.

use crate::operator_client::{CheckedReport, Located, RemoteServer};
use crate::table::{Left, Right, TextTable};

use super::fan_out::describe;
use super::outcome::{CommandError, EXIT_CODES, Outcome};
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

pub(super) async fn run(
    arguments: LocateArguments,
    screen: &Screen,
) -> Result<Outcome, CommandError> {
    let servers = arguments.targets.servers()?;
    let located = Located::query(&servers, arguments.client).await;
    let text = if arguments.targets.json {
        json::pretty(&located.json())
    } else {
        page(&located, screen)
    };
    screen.print(text).await?;
    Ok(Outcome::success_if(
        located.agree() && located.errors.is_empty(),
    ))
}

fn page(located: &Located, screen: &Screen) -> String {
    let mut text = heading(located, screen) + "\n";
    for report in located.reports() {
        text += &format!("\n{}\n", report.at_line());
        text += &holders_of(located, report).text("  ");
    }
    if !located.without.is_empty() && !located.holders.is_empty() {
        let names: Vec<String> = located.without.iter().map(RemoteServer::title).collect();
        text += &format!("\nno report on {}\n", format::list(&names, "and"));
    }
    for (server, error) in &located.errors {
        let error = format::escaped(&describe(server, error));
        let line = screen.paint(Highlight::Bad, &error);
        text += &format!("\n{line}\n");
    }
    text
}

fn heading(located: &Located, screen: &Screen) -> String {
    let client = format::escaped(&located.client);
    let answered = located.holders.len() + located.without.len();
    let servers = format::count(answered as u64, "server");
    let (highlight, verdict) = match located.reports().len() {
        0 if answered == 0 => (Highlight::Bad, "no server answered".to_owned()),
        0 => (Highlight::Bad, format!("no report on {servers}")),
        1 if located.without.is_empty() => (Highlight::Good, format!("the same on {servers}")),
        _ => (Highlight::Bad, format!("{servers} do NOT agree")),
    };
    format!("{client}: {}", screen.paint(highlight, &verdict))
}

fn holders_of(located: &Located, report: &CheckedReport) -> TextTable {
    let mut table = TextTable::new(&[
        ("server", Left),
        ("age", Right),
        ("learned", Left),
        ("from", Left),
    ]);
    let holders = located.holders.iter();
    for (server, one) in holders.filter(|(_, one)| one.held.report == *report) {
        table.row([
            server.title(),
            format::span(one.age_seconds),
            one.held.learned_at(),
            one.held.source().to_owned(),
        ]);
    }
    table
}
