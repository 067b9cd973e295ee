//! A report that a server knows: read from its message, for people and for
//! programs.

use std::cmp::Ordering;

use prost_types::Timestamp;
use serde::Serialize;

use crate::line_protocol::reply;
use crate::model::client::ClientId;
use crate::model::name::is_name;
use crate::model::position::Position;
use crate::model::report::{self, Origin};
use crate::model::timestamp::{self, ClientTime, Skew};
use crate::proto::{KnownReport, Report};

use super::failure::Failure;
use super::messages;

/// A report, and how a server came to know it. The report is valid.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) report: Report,
    pub(super) sequence: u64,
    pub(super) learned_at: Timestamp,
    /// The neighbour that sent it first; `None` for a client of the server's own.
    pub(super) learned_from: Option<String>,
}

impl Known {
    /// Reads a message. What breaks a rule is the server's mistake.
    pub(super) fn read(message: Option<KnownReport>) -> Result<Self, Failure> {
        let nonsense = |what: &str| Failure::Nonsense(format!("a report {what}"));
        let message = message.ok_or_else(|| nonsense("is missing"))?;
        let report = message.report.ok_or_else(|| nonsense("is missing"))?;
        read(&report).ok_or_else(|| nonsense("is invalid"))?;
        let from = message.learned_from;
        if !from.is_empty() && !is_name(from.as_bytes()) {
            return Err(nonsense("came from what is no server"));
        }
        Ok(Self {
            report,
            sequence: message.sequence,
            learned_at: message.learned_at.unwrap_or_default(),
            learned_from: Some(from).filter(|from| !from.is_empty()),
        })
    }

    /// Who told the server, for people.
    pub(super) fn source(&self) -> &str {
        self.learned_from.as_deref().unwrap_or("its client")
    }

    /// The report for programs.
    pub(super) fn view(&self) -> View<'_> {
        View {
            report: ReportView::of(&self.report),
            sequence: self.sequence,
            learned_at: messages::instant(&self.learned_at),
            learned_from: self.learned_from.as_deref(),
        }
    }
}

/// The AT line of a valid report, escaped.
pub(super) fn at_line(report: &Report) -> String {
    messages::escaped(&raw_at_line(report))
}

fn raw_at_line(report: &Report) -> String {
    let mut line = Vec::new();
    if let Some(report) = read(report) {
        reply::at(&mut line, &report);
    }
    String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
}

/// The order of two valid reports of one client: the newer is greater.
pub(super) fn compare(one: &Report, other: &Report) -> Ordering {
    match (read(one), read(other)) {
        (Some(one), Some(other)) => one.compare(&other),
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

/// The client's time of a valid report, in seconds since 1970.
pub(super) fn client_time(report: &Report) -> ClientTime {
    read(report).map_or_else(ClientTime::default, |report| report.time.instant())
}

fn read(report: &Report) -> Option<report::Report<'_>> {
    Some(report::Report {
        client: ClientId::parse(report.client.as_bytes())?,
        origin: Origin::parse(report.origin.as_bytes())?,
        position: Position::parse(report.position.as_bytes())?,
        time: timestamp::Timestamp::parse(report.time.as_bytes())?,
        skew: Skew(report.skew_nanos),
    })
}

/// A [`Known`] for programs.
#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    #[serde(flatten)]
    report: ReportView<'a>,
    sequence: u64,
    learned_at: String,
    learned_from: Option<&'a str>,
}

/// A report for programs: its fields as the client wrote them.
#[derive(Debug, Serialize)]
pub(super) struct ReportView<'a> {
    client: &'a str,
    position: &'a str,
    time: &'a str,
    origin: &'a str,
    /// As in an AT line: a float would not hold it.
    skew: String,
    at_line: String,
}

impl<'a> ReportView<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        Self {
            client: &report.client,
            position: &report.position,
            time: &report.time,
            origin: &report.origin,
            skew: Skew(report.skew_nanos).to_string(),
            at_line: raw_at_line(report),
        }
    }
}
