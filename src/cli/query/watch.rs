//! `proxyherd watch`: the reports that win on a server, as they do.

use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;
use tonic::Streaming;

use crate::log;
use crate::proto::watch_request::{Filter, Start};
use crate::proto::{Circle, Resume, WatchRequest, WatchResponse};

use super::failure::Failure;
use super::fan_out::first_that_answers;
use super::known::{Known, View, at_line};
use super::outcome::{CommandError, Outcome};
use super::screen::{Reader, Screen};
use super::server::Server;
use super::targets::Targets;
use super::{json, messages, units};

/// Pauses between tries to reach a server that is gone.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Print the reports that win on a server, as they do
///
/// Each line tells when the server learned of the report, from whom (- for a
/// client of its own), and its AT line; with --json each is an object. Follows
/// the first server of the config that answers, or one that --server names.
///
/// While that server is gone it is tried again. Where it goes on in the same life
/// nothing is left out; after a restart the watch begins anew with what the
/// server holds. Of a client that reports faster than lines are read only the
/// newest report comes, and how many were replaced is told. Such words go to
/// standard error.
///
/// Ctrl-C ends it, with exit code 0. Exit code 1 means that no server answered at
/// the start, or that the server refuses.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    whose: Whose,
    /// Begin with the reports that the server holds now
    #[arg(long)]
    present: bool,
    #[command(flatten)]
    whom: Targets,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Whose {
    /// Only this client
    #[arg(long, value_name = "ID", value_parser = units::client)]
    client: Option<String>,
    /// Only clients whose ID begins with this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only reports from within this circle
    #[arg(long, value_name = "LAT,LON,METRES", allow_hyphen_values = true,
          value_parser = units::circle)]
    circle: Option<Circle>,
}

pub(super) async fn run(arguments: Arguments, screen: &Screen) -> Result<Outcome, CommandError> {
    let servers = arguments.whom.servers()?;
    tokio::select! {
        ended = follow(&servers, arguments, screen) => ended,
        stopped = tokio::signal::ctrl_c() => Ok(stopped.map(|()| Outcome::Well)?),
    }
}

async fn follow(
    servers: &[Server],
    arguments: Arguments,
    screen: &Screen,
) -> Result<Outcome, CommandError> {
    let (server, _) = first_that_answers(servers).await?;
    let mut watch = Watch {
        name: server.title(),
        server,
        filter: arguments.whose.filter(),
        start: Start::Present(arguments.present),
        is_json: arguments.whom.json,
        screen: *screen,
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let before = watch.start;
        let why = match watch.until_cut_off().await? {
            Cut::ReaderGone => return Ok(Outcome::Well),
            Cut::Failed(Failure::OtherLife) => {
                watch.say("has restarted, and begins anew with what it holds");
                watch.start = Start::Present(true);
                continue;
            }
            Cut::Failed(failure) if is_final(&failure) => {
                return Err(CommandError::Failed(
                    format!("{}: {failure}", watch.name).into(),
                ));
            }
            Cut::Failed(failure) => failure,
        };
        if watch.start != before {
            pause = FIRST_PAUSE;
        }
        if pause == FIRST_PAUSE {
            watch.say(&format!("{why}; it is tried again"));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Is there no point in trying again?
fn is_final(failure: &Failure) -> bool {
    match failure {
        Failure::NoOperator | Failure::SomebodyElse(..) | Failure::Nonsense(_) => true,
        Failure::Refused(why) => !why.starts_with("Unavailable"),
        _ => false,
    }
}

impl Whose {
    fn filter(self) -> Option<Filter> {
        let client = self.client.map(Filter::Client);
        let prefix = self.prefix.map(Filter::Prefix);
        client.or(prefix).or(self.circle.map(Filter::Circle))
    }
}

/// A server that is followed, and how far.
struct Watch {
    server: Server,
    name: String,
    filter: Option<Filter>,
    start: Start,
    is_json: bool,
    screen: Screen,
}

/// Why no more comes.
enum Cut {
    ReaderGone,
    Failed(Failure),
}

impl Watch {
    /// Prints what comes until the server is gone, or the reader.
    async fn until_cut_off(&mut self) -> Result<Cut, CommandError> {
        let mut responses = match self.call().await {
            Ok(responses) => responses,
            Err(failure) => return Ok(Cut::Failed(failure)),
        };
        loop {
            let response = match responses.message().await {
                Ok(Some(response)) => response,
                Ok(None) => {
                    return Ok(Cut::Failed(Failure::Refused(
                        "Unavailable: it has ended the watch".to_owned(),
                    )));
                }
                Err(status) => return Ok(Cut::Failed(Failure::of(&status))),
            };
            match self.take(response).await? {
                Ok(Reader::Stays) => {}
                Ok(Reader::Gone) => return Ok(Cut::ReaderGone),
                Err(failure) => return Ok(Cut::Failed(failure)),
            }
        }
    }

    async fn call(&self) -> Result<Streaming<WatchResponse>, Failure> {
        // Somebody else may have come to the address since.
        self.server.status().await?;
        let request = WatchRequest {
            filter: self.filter.clone(),
            start: Some(self.start),
        };
        self.server.watch(request).await
    }

    /// Prints a response, and takes note of how far it goes.
    async fn take(
        &mut self,
        response: WatchResponse,
    ) -> Result<Result<Reader, Failure>, CommandError> {
        let mut text = String::new();
        for report in response.reports {
            match Known::read(Some(report)) {
                Ok(known) => text += &self.line(&known),
                Err(failure) => return Ok(Err(failure)),
            }
        }
        if response.replaced > 0 {
            let replaced = messages::count(response.replaced, "change");
            self.say(&format!(
                "{replaced} replaced by newer ones before they could be told"
            ));
        }
        let reader = match text.is_empty() {
            true => Reader::Stays,
            false => self.screen.print(text).await?,
        };
        self.start = Start::Resume(Resume {
            incarnation: response.incarnation,
            sequence: response.sequence,
        });
        Ok(Ok(reader))
    }

    fn line(&self, known: &Known) -> String {
        if self.is_json {
            let server = &self.name;
            let known = known.view();
            return json::line(&Line { server, known });
        }
        let learned = messages::instant(&known.learned_at);
        let from = known.learned_from.as_deref().unwrap_or("-");
        format!("{learned} {from} {}\n", at_line(&known.report))
    }

    /// Tells what is not a report, beside the reports.
    fn say(&self, words: &str) {
        log::tell(format!("{}: {words}\n", self.name).as_bytes());
    }
}

#[derive(Serialize)]
struct Line<'a> {
    server: &'a str,
    #[serde(flatten)]
    known: View<'a>,
}
