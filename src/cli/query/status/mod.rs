//! `proxyherd status`: the state of the whole herd.
//!
//! | file | contents |
//! |---|---|
//! | `table` | a line for each server |

mod table;

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::operator_client::problems::{self, Problem};
use crate::operator_client::{QueryError, RemoteServer, ServerStatus, StatusRound, distinct};
use crate::output::Reader;
use crate::proto::GetStatusResponse;
use crate::signals::Stop;

use super::outcome::{CommandError, EXIT_CODES, Outcome};
use super::targets::Targets;
use super::terminal::{Highlight, Screen};
use super::{format, json};

/// Show the state of servers and links
///
/// Prints one line for each server:
///
///   up        time since it started
///   clients   clients with a report
///   conns     open client connections
///   accepted  IAMATs whose report was the newest of its client
///   stale     IAMATs that changed nothing
///   rejected  IAMATs rejected by max_future or max_clients
///   links     links that are up, of all
///   lag       age of the oldest change that a neighbour has not acknowledged
///   clock     how far its clock is ahead of those of most of its neighbours
///
/// Problems follow the table: servers that give no answer or shut down, names under which
/// several processes run, links of the config that a server does not have, links that are
/// down, carry nothing or lag by a second or more, neighbours from which nothing arrives,
/// clocks that are wrong by more than a second, versions and settings that differ. Exit
/// code 1 means that a server or a link is down or missing, that a link carries nothing for
/// five seconds or nothing arrives for twenty, that a name is used twice, that a clock is
/// wrong by more than ten seconds, or that expire_after differs.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXIT_CODES)]
pub(in crate::cli) struct StatusArguments {
    #[command(flatten)]
    pub(in crate::cli::query) targets: Targets,
    /// Refresh every SECONDS [2 if not given], with rates, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = refresh_interval)]
    watch: Option<Duration>,
}

pub(super) async fn run(
    arguments: StatusArguments,
    screen: &Screen,
) -> Result<Outcome, CommandError> {
    let servers = arguments.targets.servers()?;
    let is_json = arguments.targets.json;
    let Some(interval) = arguments.watch else {
        let round = StatusRound::query(&servers).await;
        let text = if is_json {
            json::pretty(&HerdJson::new(&round))
        } else {
            page(&round, None, screen)
        };
        screen.print(text).await?;
        return Ok(Outcome::success_if(problems::is_healthy(&round)));
    };
    let mut stop = Stop::listen()?;
    tokio::select! {
        outcome = watch(&servers, is_json, interval, screen) => outcome,
        _ = stop.wait() => Ok(Outcome::Success),
        () = screen.reader_left() => Ok(Outcome::Success),
    }
}

/// Prints the state again and again. While a server hangs, a round takes as long as
/// the time limit of an answer.
async fn watch(
    servers: &[RemoteServer],
    is_json: bool,
    interval: Duration,
    screen: &Screen,
) -> Result<Outcome, CommandError> {
    let mut previous: Option<StatusRound> = None;
    loop {
        let next = Instant::now() + interval;
        let round = StatusRound::query(servers).await;
        let reader = if is_json {
            screen.print(json::line(&HerdJson::new(&round))).await?
        } else {
            let text = page(&round, previous.as_ref(), screen);
            screen.refresh(&text, previous.is_none()).await?
        };
        if reader == Reader::Closed {
            return Ok(Outcome::Success);
        }
        previous = Some(round);
        sleep_until(next).await;
    }
}

fn page(round: &StatusRound, previous: Option<&StatusRound>, screen: &Screen) -> String {
    let mut text = heading(round, screen) + "\n\n";
    text += &table::text(round, previous, screen);
    let problems = problems::all(round);
    if !problems.is_empty() {
        text.push('\n');
    }
    for Problem {
        subject,
        description,
        is_failure,
    } in problems
    {
        let highlight = if is_failure {
            Highlight::Bad
        } else {
            Highlight::Caution
        };
        text += &format!("{}  {description}\n", screen.paint(highlight, &subject));
    }
    text
}

/// Returns the line above the table: herd, servers that answered, version.
fn heading(round: &StatusRound, screen: &Screen) -> String {
    let herds = distinct(round.answered().map(|status| status.herd.clone()));
    let versions = distinct(round.answered().map(|s| format::escaped(&s.version)));
    let herd = match herds.as_slice() {
        [] => String::new(),
        [herd] => format!("herd {herd}: "),
        _ => format!("herds {}: ", format::list(&herds, "and")),
    };
    let (up, all) = (round.answered().count(), round.servers.len());
    let up = format!("{up} of {} up", format::count(all as u64, "server"));
    let version = match versions.as_slice() {
        [version] => format!(", version {version}"),
        _ => String::new(),
    };
    screen.paint(Highlight::Title, &format!("{herd}{up}{version}"))
}

fn refresh_interval(text: &str) -> Result<Duration, String> {
    let seconds = text.trim_end_matches('s').parse::<f64>().ok();
    let valid = seconds.filter(|seconds| (0.1..=86_400.0).contains(seconds));
    valid
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds from 0.1 to 86400 is required".to_owned())
}

#[derive(Serialize)]
struct HerdJson<'a> {
    healthy: bool,
    servers: Vec<ServerJson<'a>>,
    problems: Vec<String>,
}

/// One server: either `status` or `error` is null.
#[derive(Serialize)]
struct ServerJson<'a> {
    /// Its name in the config, or its address.
    server: &'a str,
    address: &'a str,
    error: Option<&'a QueryError>,
    status: Option<&'a GetStatusResponse>,
}

impl<'a> HerdJson<'a> {
    fn new(round: &'a StatusRound) -> Self {
        let server = |server: &'a ServerStatus| ServerJson {
            server: &server.title,
            address: &server.address,
            error: server.result.as_ref().err(),
            status: server.result.as_ref().ok(),
        };
        let problems = problems::all(round);
        let line = |problem: &Problem| format!("{}: {}", problem.subject, problem.description);
        Self {
            healthy: problems::is_healthy(round),
            servers: round.servers.iter().map(server).collect(),
            problems: problems.iter().map(line).collect(),
        }
    }
}
