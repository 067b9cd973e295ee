//! The effects of lines: the meeting point of the text edge, the gateway and the places.

use std::sync::Arc;

use crate::gateway::{AcknowledgeLevel, Gateway, GatewaySettings, TooFarInFuture};
use crate::line_protocol::command::Command;
use crate::line_protocol::lines::ClientLine;
use crate::line_protocol::reply;
use crate::log::Transcript;
use crate::model::client::ClientId;
use crate::model::decimal::Decimal;
use crate::model::report::Report;
use crate::model::timestamp::UnixNanos;
use crate::places::{Places, PlacesResponse};
use crate::proto::ClientLines;
use crate::replication::MERGE_BATCH;
use crate::replication::store::{MergeResult, StoreFull};

use super::response_queue::ResponseQueue;

/// Handler of clients' commands. All connections of a server share it.
#[derive(Clone, Debug)]
pub(super) struct CommandHandler {
    pub(super) gateway: Arc<Gateway>,
    pub(super) places: Places,
}

/// The destinations of one connection's responses: its queue, transcript and counters.
pub(super) struct ResponseSink<'a> {
    pub(super) responses: &'a mut ResponseQueue,
    pub(super) transcript: &'a mut Transcript,
    pub(super) counters: &'a mut ClientLines,
}

/// Upper bound of the bytes by which a response is longer than its line: the name of a server, a
/// skew, and separators.
const MAX_RESPONSE_OVERHEAD_BYTES: usize = 100;

/// The meaning of a line.
enum Request<'a> {
    /// A report of the client's position.
    Report(Report<'a>),
    /// A report whose time is too far in the future.
    TooFarInFuture,
    /// A WHATSAT: the client, the radius in kilometres and the maximum number of places.
    Whatsat(ClientId<'a>, Decimal<'a>, usize),
    /// No valid command.
    Malformed,
}

impl Request<'_> {
    fn report(&self) -> Option<&Report<'_>> {
        match self {
            Self::Report(report) => Some(report),
            _ => None,
        }
    }
}

/// The result of taking lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Number of lines taken.
    pub(super) lines: usize,
    /// Whether no line was left.
    pub(super) is_all: bool,
    /// Whether a report changed the store, so that neighbours need it.
    pub(super) has_changes: bool,
}

impl CommandHandler {
    /// Takes some of `lines`, applies them, and appends their responses to `sink`.
    ///
    /// It takes the first lines: at most `max_lines` and [`MERGE_BATCH`]; no more than have
    /// responses of `room` bytes, and one more; and none after a WHATSAT, which sees the changes
    /// of the lines before it and no others.
    pub(super) fn take<'a>(
        &'a self,
        now: UnixNanos,
        limits: &GatewaySettings,
        mut lines: impl Iterator<Item = ClientLine<'a>>,
        max_lines: usize,
        mut room: usize,
        sink: &mut ResponseSink<'_>,
    ) -> Progress {
        let mut taken = Vec::new();
        let mut is_all = false;
        while taken.len() < max_lines.min(MERGE_BATCH) && room > 0 {
            let Some(line) = lines.next() else {
                is_all = true;
                break;
            };
            room = room.saturating_sub(line.bytes().len() + MAX_RESPONSE_OVERHEAD_BYTES);
            let request = self.read(now, limits, line);
            let is_whatsat = matches!(request, Request::Whatsat(..));
            taken.push((line.bytes(), request));
            if is_whatsat {
                break;
            }
        }
        let reports = taken.iter().map(|(_, request)| request.report());
        let reports = reports.enumerate();
        let reports = reports.filter_map(|(nth, report)| Some((nth, report?)));
        let mut merged = [Ok(MergeResult::Stale); MERGE_BATCH];
        self.gateway
            .admit(now, limits, reports, |nth, result| merged[nth] = result);
        let mut level = limits.acknowledge;
        for ((line, request), merged) in taken.iter().zip(merged) {
            sink.transcript.received(line);
            if request.report().is_some() && merged.is_ok() {
                // One wait for all reports of these lines.
                self.wait_for(std::mem::take(&mut level), sink);
            }
            if self.respond(request, merged, sink).is_none() {
                sink.write_line(|out| reply::invalid(out, line));
            }
        }
        Progress {
            lines: taken.len(),
            is_all,
            has_changes: merged.contains(&Ok(MergeResult::Newer)),
        }
    }

    fn read<'a>(
        &'a self,
        now: UnixNanos,
        limits: &GatewaySettings,
        line: ClientLine<'a>,
    ) -> Request<'a> {
        let command = match line {
            ClientLine::Whole(bytes) => Command::parse(bytes),
            ClientLine::TooLong(_) => None,
        };
        match command {
            Some(Command::Iamat {
                client,
                position,
                time,
            }) => match self.gateway.report(now, limits, client, position, time) {
                Ok(report) => Request::Report(report),
                Err(TooFarInFuture) => Request::TooFarInFuture,
            },
            Some(Command::Whatsat {
                client,
                radius,
                limit,
            }) => Request::Whatsat(client, radius, limit),
            None => Request::Malformed,
        }
    }

    /// Holds the responses back until the reports that were merged are acknowledged.
    fn wait_for(&self, level: AcknowledgeLevel, sink: &mut ResponseSink<'_>) {
        if let Some(acknowledgement) = self.gateway.acknowledgement(level) {
            let reached = acknowledgement.reached();
            sink.responses.wait_for(Box::pin(reached));
        }
    }

    /// Counts a request and responds to it. Returns `None`, without a response, if it is invalid.
    /// `merged` is the result of its report, if it is one.
    fn respond(
        &self,
        request: &Request<'_>,
        merged: Result<MergeResult, StoreFull>,
        sink: &mut ResponseSink<'_>,
    ) -> Option<()> {
        match request {
            Request::Report(report) => return sink.write_report(report, merged),
            Request::Whatsat(client, radius, most) => {
                return self.whatsat(*client, *radius, *most, sink);
            }
            Request::TooFarInFuture => sink.counters.rejected_max_future += 1,
            Request::Malformed => sink.counters.malformed += 1,
        }
        None
    }

    /// Returns `None`, without a response, if the client is unknown.
    fn whatsat(
        &self,
        client: ClientId<'_>,
        radius: Decimal<'_>,
        most: usize,
        sink: &mut ResponseSink<'_>,
    ) -> Option<()> {
        let Some((at_line, query)) = self.gateway.whatsat(client, radius, most) else {
            sink.counters.unknown += 1;
            return None;
        };
        sink.counters.located += 1;
        if let Some(response) = self.places.nearby_now(&query) {
            sink.write_places(&at_line, &response);
        } else {
            let places = self.places.clone();
            let pending = async move { places.nearby(&query).await };
            sink.responses.wait(at_line, Box::pin(pending));
        }
        Some(())
    }
}

impl ResponseSink<'_> {
    /// Appends the response to an IAMAT. Returns `None`, without a response, if the store was full
    /// and has no report of its client.
    fn write_report(
        &mut self,
        report: &Report<'_>,
        merged: Result<MergeResult, StoreFull>,
    ) -> Option<()> {
        let count = match merged {
            Ok(MergeResult::Newer) => &mut self.counters.accepted,
            Ok(MergeResult::Duplicate | MergeResult::Stale) => &mut self.counters.stale,
            Err(StoreFull) => &mut self.counters.rejected_max_clients,
        };
        *count += 1;
        merged.ok()?;
        self.write_line(|out| reply::at(out, report));
        Some(())
    }

    /// Appends a response of one line.
    fn write_line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let out = self.responses.next();
        let start = out.len();
        write(out);
        self.transcript.sent(&out[start..]);
    }

    /// Appends the response to a WHATSAT.
    fn write_places(&mut self, at_line: &[u8], response: &PlacesResponse) {
        self.transcript.sent_places(at_line, response.places);
        let out = self.responses.next();
        out.extend_from_slice(at_line);
        reply::places(out, &response.json);
    }
}
