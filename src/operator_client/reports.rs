//! Reports that servers hold: checked messages, for people and for programs.

use std::cmp::Ordering;

use prost_types::Timestamp;
use serde::{Serialize, Serializer};

use crate::line_protocol::reply;
use crate::log::escaped;
use crate::model::client::ClientId;
use crate::model::name::is_name;
use crate::model::position::Position;
use crate::model::report::{self, Origin};
use crate::model::timestamp::{self, ClientTime, Skew};
use crate::proto::{self, KnownReport, rfc3339};

use super::error::QueryError;

/// A report that is valid. JSON has its fields as the client wrote them, and its AT
/// line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CheckedReport {
    #[serde(flatten)]
    message: proto::Report,
    at_line: String,
}

/// A report that a server holds, and how the server learned of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct HeldReport {
    #[serde(flatten)]
    pub(crate) report: CheckedReport,
    sequence: u64,
    #[serde(serialize_with = "time")]
    learned_at: Timestamp,
    /// The neighbour that sent it first; `None` for a client of the server, and for a file.
    pub(crate) learned_from: Option<String>,
    /// Whether the server read it from a file: its storage, or an import.
    recovered: bool,
}

fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(time))
}

impl HeldReport {
    /// Checks a message.
    ///
    /// # Errors
    ///
    /// Fails if it breaks a rule that servers keep.
    pub(crate) fn check(message: Option<KnownReport>) -> Result<Self, QueryError> {
        let invalid = |what: &str| QueryError::Invalid(format!("a report {what}"));
        let message = message.ok_or_else(|| invalid("is missing"))?;
        let report = message.report.ok_or_else(|| invalid("is missing"))?;
        let from = message.learned_from;
        if !from.is_empty() && !is_name(from.as_bytes()) {
            return Err(invalid("has an invalid server name as its source"));
        }
        Ok(Self {
            report: CheckedReport::check(report).ok_or_else(|| invalid("is malformed"))?,
            sequence: message.sequence,
            learned_at: message.learned_at.unwrap_or_default(),
            learned_from: Some(from).filter(|from| !from.is_empty()),
            recovered: message.recovered,
        })
    }

    /// Returns the neighbour that sent it first, or the other source in words.
    pub(crate) fn source(&self) -> &str {
        match &self.learned_from {
            Some(neighbour) => neighbour,
            None if self.recovered => "a file",
            None => "the client",
        }
    }

    /// Time at which the server learned of it.
    pub(crate) fn learned_at(&self) -> String {
        rfc3339(&self.learned_at)
    }
}

impl CheckedReport {
    fn check(message: proto::Report) -> Option<Self> {
        let mut line = Vec::new();
        reply::at(&mut line, &parse(&message)?);
        let at_line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        Some(Self { message, at_line })
    }

    pub(crate) fn client(&self) -> &str {
        &self.message.client
    }

    pub(crate) fn position(&self) -> &str {
        &self.message.position
    }

    /// Its AT line, escaped.
    pub(crate) fn at_line(&self) -> String {
        escaped(&self.at_line)
    }

    /// Compares two reports of one client: the newer is greater.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        match (parse(&self.message), parse(&other.message)) {
            (Some(one), Some(other)) => one.compare(&other),
            // Unreachable: both were checked.
            (one, other) => one.is_some().cmp(&other.is_some()),
        }
    }

    /// The client's time.
    pub(crate) fn client_time(&self) -> ClientTime {
        parse(&self.message).map_or_else(ClientTime::default, |report| report.time.instant())
    }
}

/// Returns a valid report with this time.
#[cfg(test)]
pub(crate) fn sample(time: &str) -> CheckedReport {
    let message = proto::Report {
        client: "kiwi".to_owned(),
        position: "+1+1".to_owned(),
        time: time.to_owned(),
        origin: "Riley".to_owned(),
        skew_nanos: 0,
    };
    CheckedReport::check(message).expect("it is well-formed")
}

fn parse(report: &proto::Report) -> Option<report::Report<'_>> {
    Some(report::Report {
        client: ClientId::parse(report.client.as_bytes())?,
        origin: Origin::parse(report.origin.as_bytes())?,
        position: Position::parse(report.position.as_bytes())?,
        time: timestamp::Timestamp::parse(report.time.as_bytes())?,
        skew: Skew(report.skew_nanos),
    })
}
