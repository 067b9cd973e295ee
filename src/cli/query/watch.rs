//! `proxyherd watch`: reports as a server accepts them.

use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;
use tonic::Streaming;

use crate::log;
use crate::operator_client::{HeldReport, QueryError, RemoteServer};
use crate::output::Reader;
use crate::proto::watch_request::{Filter, Start};
use crate::proto::{Circle, Resume, WatchRequest, WatchResponse};
use crate::signals::Stop;

use super::fan_out::first_that_answers;
use super::outcome::{CommandError, Outcome};
use super::targets::Targets;
use super::terminal::Screen;
use super::{format, json, units};

/// Intervals between attempts to reach a server that is unreachable.
const FIRST_RETRY_INTERVAL: Duration = Duration::from_millis(100);
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Print reports as a server accepts them
///
/// Each line has the time at which the server learned of the report, the neighbour that
/// sent it (- for a client of the server), and its AT line; with --json each is an
/// object. Watches the first server of the config that answers, or the one that --server
/// names.
///
/// While that server is unreachable, the watch retries. If the server continues in the
/// same incarnation, no client is omitted; after a restart the watch begins anew with
/// the reports that the server holds. If a client reports faster than lines are read,
/// only its newest report is printed, and the number of replaced ones is logged. Such
/// messages go to standard error.
///
/// Ctrl-C ends the watch, with exit code 0. Exit code 1 means that no server answered at
/// the start, or that the server rejected the watch.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct WatchArguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// Begin with the reports that the server holds now
    #[arg(long)]
    present: bool,
    #[command(flatten)]
    pub(super) targets: Targets,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct FilterArguments {
    /// Only this client
    #[arg(long, value_name = "ID", allow_hyphen_values = true, value_parser = units::client)]
    client: Option<String>,
    /// Only clients whose ID begins with this
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prefix: Option<String>,
    /// Only reports within this circle
    #[arg(long, value_name = "LAT,LON,METRES", allow_hyphen_values = true,
          value_parser = units::circle)]
    circle: Option<Circle>,
}

pub(super) async fn run(
    arguments: WatchArguments,
    screen: &Screen,
) -> Result<Outcome, CommandError> {
    let servers = arguments.targets.servers()?;
    let mut stop = Stop::listen()?;
    tokio::select! {
        outcome = follow(&servers, arguments, screen) => outcome,
        _ = stop.wait() => Ok(Outcome::Success),
        () = screen.reader_left() => Ok(Outcome::Success),
    }
}

async fn follow(
    servers: &[RemoteServer],
    arguments: WatchArguments,
    screen: &Screen,
) -> Result<Outcome, CommandError> {
    let (server, _) = first_that_answers(servers).await?;
    let mut watch = Watch {
        name: server.title(),
        server,
        filter: arguments.filter.filter(),
        start: Start::Present(arguments.present),
        is_json: arguments.targets.json,
        screen: *screen,
    };
    let mut interval = FIRST_RETRY_INTERVAL;
    loop {
        let before = watch.start;
        let error = match watch.until_interrupted().await? {
            Interruption::ReaderClosed => return Ok(Outcome::Success),
            Interruption::Error(QueryError::OtherIncarnation) => {
                watch.print_message("restarted; the watch begins anew with the reports it holds");
                watch.start = Start::Present(true);
                continue;
            }
            Interruption::Error(error) if is_final(&error) => {
                return Err(CommandError::failure(format!("{}: {error}", watch.name)));
            }
            Interruption::Error(error) => error,
        };
        if watch.start != before {
            interval = FIRST_RETRY_INTERVAL;
        }
        if interval == FIRST_RETRY_INTERVAL {
            watch.print_message(&format!("{error}; retrying"));
        }
        sleep(interval).await;
        interval = (interval * 2).min(MAX_RETRY_INTERVAL);
    }
}

/// Returns true if another attempt would fail in the same way.
fn is_final(error: &QueryError) -> bool {
    matches!(
        error,
        QueryError::NoOperator
            | QueryError::WrongPort(_)
            | QueryError::OtherServer { .. }
            | QueryError::Rejected(_)
            | QueryError::Invalid(_)
    )
}

impl FilterArguments {
    fn filter(self) -> Option<Filter> {
        let client = self.client.map(Filter::Client);
        let prefix = self.prefix.map(Filter::Prefix);
        client.or(prefix).or(self.circle.map(Filter::Circle))
    }
}

/// A watch of one server, and its position in the feed.
struct Watch {
    server: RemoteServer,
    name: String,
    filter: Option<Filter>,
    start: Start,
    is_json: bool,
    screen: Screen,
}

/// The reason why a stream of reports ended.
enum Interruption {
    ReaderClosed,
    Error(QueryError),
}

impl Watch {
    /// Prints reports until the stream ends or the reader leaves.
    async fn until_interrupted(&mut self) -> Result<Interruption, CommandError> {
        let mut responses = match self.call().await {
            Ok(responses) => responses,
            Err(error) => return Ok(Interruption::Error(error)),
        };
        loop {
            let response = match responses.message().await {
                Ok(Some(response)) => response,
                Ok(None) => {
                    let error = QueryError::Unavailable("it ended the watch".to_owned());
                    return Ok(Interruption::Error(error));
                }
                Err(status) => return Ok(Interruption::Error(status.into())),
            };
            match self.print_response(response).await? {
                Ok(Reader::Open) => {}
                Ok(Reader::Closed) => return Ok(Interruption::ReaderClosed),
                Err(error) => return Ok(Interruption::Error(error)),
            }
        }
    }

    async fn call(&self) -> Result<Streaming<WatchResponse>, QueryError> {
        // The address may belong to another server by now.
        self.server.status().await?;
        let request = WatchRequest {
            filter: self.filter.clone(),
            start: Some(self.start),
        };
        self.server.watch(request).await
    }

    /// Prints a response, and advances the position.
    async fn print_response(
        &mut self,
        response: WatchResponse,
    ) -> Result<Result<Reader, QueryError>, CommandError> {
        let mut text = String::new();
        for report in response.reports {
            match HeldReport::check(Some(report)) {
                Ok(held) => text += &self.line(&held),
                Err(error) => return Ok(Err(error)),
            }
        }
        if response.replaced > 0 {
            let replaced = format::count(response.replaced, "change");
            self.print_message(&format!(
                "{replaced} replaced by newer ones before they could be sent"
            ));
        }
        let reader = if text.is_empty() {
            Reader::Open
        } else {
            self.screen.print(text).await?
        };
        self.start = Start::Resume(Resume {
            incarnation: response.incarnation,
            sequence: response.sequence,
        });
        Ok(Ok(reader))
    }

    fn line(&self, report: &HeldReport) -> String {
        if self.is_json {
            let server = &self.name;
            return json::line(&WatchJson { server, report });
        }
        let (learned, at_line) = (report.learned_at(), report.report.at_line());
        let from = report.learned_from.as_deref().unwrap_or("-");
        format!("{learned} {from} {at_line}\n")
    }

    /// Prints a message about the watch to standard error.
    fn print_message(&self, message: &str) {
        let mut line = Vec::new();
        log::escape_into(&mut line, format!("{}: {message}", self.name).as_bytes());
        line.push(b'\n');
        log::print_to_terminal(&line);
    }
}

#[derive(Serialize)]
struct WatchJson<'a> {
    server: &'a str,
    #[serde(flatten)]
    report: &'a HeldReport,
}
