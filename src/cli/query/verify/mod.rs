//! `proxyherd verify`: proof that all servers hold the same, or the clients
//! that they differ about.
//!
//! Servers sum up what they hold by ranges of client hashes (`Digest`). A range
//! is proven once one question, put to all servers at the same time, found equal
//! sums. Under load most ranges that differ do so because a report is on its way
//! just then, so those, and only those, are asked about again and again; and
//! they are parted as long as several clients are in each, since the fewer
//! clients a range has, the seldomer one of them is on its way. What is left when
//! the time has passed is listed client by client, twice.
//!
//! After the anti-entropy of Dynamo (DeCandia et al., 2007, section 4.7), which
//! compares Merkle trees; here the trees stay with the servers, and a proof needs
//! no quiet time.
//!
//! | file | holds |
//! |---|---|
//! | `ranges` | ranges of hashes, and which to ask about together: pure |
//! | `survey` | the rounds of questions |
//! | `differences` | the clients of what is left |
//! | `verdict` | what came out, for people and for programs |

mod differences;
mod ranges;
mod survey;
mod verdict;

use std::time::Duration;

use tokio::time::Instant;

use super::failure::Failure;
use super::fan_out::statuses;
use super::json;
use super::outcome::{CODES, CommandError, Outcome};
use super::screen::Screen;
use super::server::Server;
use super::targets::Targets;
use survey::Survey;
use verdict::Verdict;

/// Prove that all servers hold the same, or name the clients that differ
///
/// Compares sums over the newest reports of all clients between the servers, and
/// asks again only about ranges of clients that differ, until each was once seen
/// equal on all servers at the same time. So it works while clients report.
///
/// Where that does not come about within the limit, the clients in question are
/// listed on every server, twice, a second apart, on top of the limit: those that
/// differ in the same way both times are named with what each server holds, the
/// others are counted as still changing.
///
/// Exit code 0 is a proof; where one server gives no answer there is none.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = CODES)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    whom: Targets,
    /// Longest time to go on asking, such as 10s or 1m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    within: Duration,
    /// Most clients to name
    #[arg(long = "names", value_name = "N", default_value_t = 10)]
    most: usize,
}

pub(super) async fn run(arguments: Arguments, screen: &Screen) -> Result<Outcome, CommandError> {
    let servers = arguments.whom.servers()?;
    if servers.len() < 2 {
        let words = "there is nothing to compare: verify needs two servers or more";
        return Err(CommandError::mistake(words));
    }
    let verdict = judge(servers, &arguments).await;
    let text = match arguments.whom.json {
        true => json::pretty(&verdict.view(arguments.most)),
        false => verdict.page(arguments.most, screen),
    };
    screen.print(text).await?;
    Ok(Outcome::well_if(verdict.is_proof()))
}

async fn judge(servers: Vec<Server>, arguments: &Arguments) -> Verdict {
    let start = Instant::now();
    let mut survey = Survey::new(identify(servers).await);
    survey.run(start + arguments.within).await;
    let took = start.elapsed();
    let differences = differences::find(&survey).await;
    Verdict {
        survey,
        took,
        differences,
    }
}

/// Servers with the lives that they are in, and those that can not be asked.
type Identified = (Vec<(Server, u64)>, Vec<(Server, Failure)>);

/// Asks all who they are. Two addresses of one server, or servers of two herds,
/// would prove nothing.
async fn identify(servers: Vec<Server>) -> Identified {
    let answers = statuses(&servers).await;
    let (mut asked, mut lost): Identified = Default::default();
    let mut herd = None;
    for (server, answer) in servers.into_iter().zip(answers) {
        let status = match answer {
            Ok(status) => status,
            Err(failure) => {
                lost.push((server, failure));
                continue;
            }
        };
        let first = herd.get_or_insert_with(|| status.herd.clone());
        let is_known = asked.iter().any(|(_, life)| *life == status.incarnation);
        if *first != status.herd || is_known {
            lost.push((server, Failure::SomebodyElse(status.name, status.herd)));
        } else {
            asked.push((server, status.incarnation));
        }
    }
    (asked, lost)
}
