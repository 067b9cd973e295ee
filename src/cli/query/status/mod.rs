//! `proxyherd status`: the whole herd on one screen.
//!
//! | file | holds |
//! |---|---|
//! | `table` | a line for each server |
//! | `troubles` | what is not well, or worth a look, in words |
//! | `view` | all of it for programs |

mod table;
mod troubles;
mod view;

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::proto::GetStatusResponse;

use super::failure::Failure;
use super::fan_out::statuses;
use super::outcome::{CODES, CommandError, Outcome};
use super::screen::{Paint, Reader, Screen};
use super::server::Server;
use super::targets::Targets;
use super::{json, messages};

/// Show how the servers of the herd are, and their links
///
/// Asks every server how it is, and prints one line for each:
///
///   up        how long it has been running
///   clients   clients that it knows
///   conns     its client connections
///   accepted  IAMATs that won since it started
///   stale     IAMATs that told nothing new
///   refused   IAMATs that it refused
///   links     how many of its links are up
///   lag       how long the oldest change that a neighbour lacks has been waiting
///
/// Below the table stands what is not well: servers that give no answer or shut
/// down, links that are down or lag by a second or more, versions and settings
/// that differ. Exit code 1 means that a server or a link is down, or that
/// expire_after differs.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = CODES)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    whom: Targets,
    /// Show it every SECONDS [2 if not given], with rates, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = pace)]
    watch: Option<Duration>,
}

/// What one round of questions gave.
struct Round {
    at: Instant,
    answers: Vec<Answer>,
}

/// What one server said.
struct Answer {
    title: String,
    address: String,
    status: Result<GetStatusResponse, Failure>,
}

pub(super) async fn run(arguments: Arguments, screen: &Screen) -> Result<Outcome, CommandError> {
    let servers = arguments.whom.servers()?;
    let is_json = arguments.whom.json;
    let Some(pace) = arguments.watch else {
        let round = Round::ask(&servers).await;
        let text = match is_json {
            true => json::pretty(&view::Herd::of(&round)),
            false => page(&round, None, screen),
        };
        screen.print(text).await?;
        return Ok(Outcome::well_if(troubles::is_well(&round)));
    };
    tokio::select! {
        ended = watch(&servers, is_json, pace, screen) => ended,
        stopped = tokio::signal::ctrl_c() => Ok(stopped.map(|()| Outcome::Well)?),
    }
}

/// Shows the herd again and again. While a server hangs, a round takes as long
/// as the limit on its answer.
async fn watch(
    servers: &[Server],
    is_json: bool,
    pace: Duration,
    screen: &Screen,
) -> Result<Outcome, CommandError> {
    let mut before: Option<Round> = None;
    loop {
        let next = Instant::now() + pace;
        let round = Round::ask(servers).await;
        let shown = match is_json {
            true => screen.print(json::line(&view::Herd::of(&round))).await?,
            false => {
                let text = page(&round, before.as_ref(), screen);
                screen.refresh(&text, before.is_none()).await?
            }
        };
        if shown == Reader::Gone {
            return Ok(Outcome::Well);
        }
        before = Some(round);
        sleep_until(next).await;
    }
}

impl Round {
    async fn ask(servers: &[Server]) -> Self {
        let answers = statuses(servers).await;
        let answer = |(server, status): (&Server, _)| Answer {
            title: server.title(),
            address: server.address().to_string(),
            status,
        };
        Self {
            at: Instant::now(),
            answers: servers.iter().zip(answers).map(answer).collect(),
        }
    }

    /// The servers that answered.
    fn up(&self) -> impl Iterator<Item = &GetStatusResponse> {
        self.answers
            .iter()
            .filter_map(|answer| answer.status.as_ref().ok())
    }
}

/// The whole screen.
fn page(round: &Round, before: Option<&Round>, screen: &Screen) -> String {
    let mut text = heading(round, screen) + "\n\n";
    text += &table::table(round, before).print(screen, "");
    let troubles = troubles::all(round);
    if !troubles.is_empty() {
        text.push('\n');
    }
    for trouble in troubles {
        let paint = if trouble.is_bad {
            Paint::Bad
        } else {
            Paint::Caution
        };
        text += &format!(
            "{}  {}\n",
            screen.paint(paint, &trouble.whose),
            trouble.words
        );
    }
    text
}

/// Which herd, how much of it is up, and of which version.
fn heading(round: &Round, screen: &Screen) -> String {
    let herds = distinct(round.up().map(|status| status.herd.clone()));
    let versions = distinct(round.up().map(|status| messages::escaped(&status.version)));
    let herd = match herds.as_slice() {
        [] => String::new(),
        [herd] => format!("herd {herd}: "),
        _ => format!("herds {}: ", messages::list(&herds, "and")),
    };
    let (up, all) = (round.up().count(), round.answers.len());
    let up = format!("{up} of {} up", messages::count(all as u64, "server"));
    let version = match versions.as_slice() {
        [version] => format!(", version {version}"),
        _ => String::new(),
    };
    screen.paint(Paint::Title, &format!("{herd}{up}{version}"))
}

/// The different ones among these, in order.
fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut values: Vec<String> = values.collect();
    values.sort();
    values.dedup();
    values
}

fn pace(text: &str) -> Result<Duration, String> {
    let seconds = text.trim_end_matches('s').parse::<f64>().ok();
    let valid = seconds.filter(|seconds| (0.1..=86_400.0).contains(seconds));
    valid
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "it is a number of seconds from 0.1 to 86400".to_owned())
}
