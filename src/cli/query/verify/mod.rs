//! `proxyherd verify`: a proof that all servers hold the same reports, or the clients
//! that they differ in.
//!
//! Servers compute sums over the reports in ranges of client hashes (`Digest`). A range
//! is proven once two queries, each to all servers and one after the other, returned
//! equal sums, see [`double_collect`](crate::queries::double_collect). Under load most
//! ranges that differ do so because a report is in flight at that moment. Those ranges,
//! and no others, are queried again and again. They are split while several clients are
//! in each: the fewer clients a range has, the more rarely one of them is in flight.
//! After the time limit the rest is listed client by client, twice.
//!
//! This follows the anti-entropy of Dynamo (DeCandia et al., 2007, section 4.7), which
//! compares Merkle trees. Here the servers keep no trees, and a proof needs no quiet
//! time. A client that reports all the time is never proven, and is named.
//!
//! | file | contents |
//! |---|---|
//! | `ranges` | ranges that are not proven, and the query about them: pure |
//! | `comparison` | the rounds of queries |
//! | `differences` | the clients of the ranges that were not proven |
//! | `verdict` | the result, for people and for programs |

mod comparison;
mod differences;
mod ranges;
mod verdict;

use std::time::Duration;

use indicatif::ProgressBar;
use tokio::time::Instant;

use crate::operator_client::{QueryError, RemoteServer, duplicates, statuses};
use crate::output;
use crate::proto::GetStatusResponse;

use super::json;
use super::outcome::{CommandError, EXIT_CODES, Outcome};
use super::targets::Targets;
use super::terminal::Screen;
use comparison::Comparison;
use verdict::Verdict;

/// Prove that all servers hold the same reports, or name the clients that differ
///
/// Compares sums over the newest reports of all clients between the servers, and queries
/// ranges of clients that differ again, until each range was once equal on all servers at
/// the same moment. So it works while clients report, except for a client that reports
/// all the time.
///
/// If that does not happen within the time limit, the clients in question are listed on
/// every server, twice, a second apart, in addition to the limit. Clients that differ in
/// the same way both times are named with the report on each server; those that changed
/// are named as still changing.
///
/// Exit code 0 is a proof. There is none while a server gives no answer, or while several
/// processes run under one name, by what their neighbours report.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXIT_CODES)]
pub(in crate::cli) struct VerifyArguments {
    #[command(flatten)]
    pub(in crate::cli::query) targets: Targets,
    /// Time limit of the comparison, such as 10s or 1m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    within: Duration,
    /// Maximum number of clients to name, of each kind
    #[arg(long = "names", value_name = "N", default_value_t = 10)]
    max_names: usize,
}

pub(super) async fn run(
    arguments: VerifyArguments,
    screen: &Screen,
) -> Result<Outcome, CommandError> {
    let servers = arguments.targets.servers()?;
    if servers.len() < 2 {
        let message = "nothing to compare: verify needs two or more servers";
        return Err(CommandError::usage(message));
    }
    let verdict = compare(servers, &arguments).await;
    let text = if arguments.targets.json {
        json::pretty(&verdict.json(arguments.max_names))
    } else {
        verdict.page(arguments.max_names, screen)
    };
    screen.print(text).await?;
    Ok(Outcome::success_if(verdict.is_proof()))
}

async fn compare(servers: Vec<RemoteServer>, arguments: &VerifyArguments) -> Verdict {
    // On standard error, and only if that is a terminal.
    let progress = ProgressBar::with_draw_target(None, output::progress_target());
    let start = Instant::now();
    let identified = identify(servers).await;
    let statuses = identified.compared.iter().map(|(_, status)| status);
    let duplicated = duplicates::find(statuses);
    let mut comparison = Comparison::new(identified);
    comparison.run(start + arguments.within, &progress).await;
    let took = start.elapsed();
    progress.set_message("listing clients");
    let differences = differences::find(&comparison).await;
    progress.finish_and_clear();
    Verdict {
        comparison,
        took,
        differences,
        duplicated,
    }
}

/// The servers to compare, with their status, and those without a usable answer.
#[derive(Default)]
struct Identified {
    compared: Vec<(RemoteServer, GetStatusResponse)>,
    lost: Vec<(RemoteServer, QueryError)>,
}

/// Queries the identity of all servers. Two addresses of one server, or servers of two
/// herds, would prove nothing.
async fn identify(servers: Vec<RemoteServer>) -> Identified {
    let answers = statuses(&servers).await;
    let mut identified = Identified::default();
    let mut herd = None;
    for (server, answer) in servers.into_iter().zip(answers) {
        let status = match answer {
            Ok(status) => status,
            Err(error) => {
                identified.lost.push((server, error));
                continue;
            }
        };
        let first_herd = herd.get_or_insert_with(|| status.herd.clone());
        let mut compared = identified.compared.iter();
        let is_present = compared.any(|(_, other)| other.incarnation == status.incarnation);
        if *first_herd != status.herd || is_present {
            let (name, herd) = (status.name, status.herd);
            let error = QueryError::OtherServer { name, herd };
            identified.lost.push((server, error));
        } else {
            identified.compared.push((server, status));
        }
    }
    identified
}
