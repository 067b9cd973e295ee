//! What lines do: where the text edge meets the gateway and the places.

use std::sync::Arc;

use crate::gateway::{Gateway, TooFarInFuture};
use crate::line_protocol::command::Command;
use crate::line_protocol::lines::ClientLine;
use crate::line_protocol::reply;
use crate::log::Transcript;
use crate::model::client::ClientId;
use crate::model::decimal::Decimal;
use crate::model::report::Report;
use crate::model::timestamp::UnixNanos;
use crate::places::{Places, PlacesQuery, PlacesResponse};
use crate::proto::ClientLines;
use crate::replication::MERGE_BATCH;
use crate::replication::store::{MergeResult, StoreFull};

use super::response_queue::ResponseQueue;

/// What lines are answered with. Shared by all connections of a server.
#[derive(Clone, Debug)]
pub(super) struct CommandHandler {
    pub(super) gateway: Arc<Gateway>,
    pub(super) places: Places,
}

/// Where one connection's answers go, and what is written down of them.
pub(super) struct ResponseSink<'a> {
    pub(super) answers: &'a mut ResponseQueue,
    pub(super) transcript: &'a mut Transcript,
    pub(super) counted: &'a mut ClientLines,
}

/// An answer is its line and less than this, in bytes: the name of a server, a
/// skew, and what stands between.
const MORE_THAN_ITS_LINE: usize = 100;

/// What a line says.
enum Request<'a> {
    /// Where its client is.
    Report(Report<'a>),
    /// The same, at a time that is too far in the future.
    TooFarInFuture,
    /// What it asks.
    Whatsat(ClientId<'a>, Decimal<'a>, usize),
    /// Nothing that is valid.
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

/// What came of lines that were taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// How many there were.
    pub(super) lines: usize,
    /// Were those all that there are?
    pub(super) is_all: bool,
    /// Is there something new for neighbours?
    pub(super) is_news: bool,
}

impl CommandHandler {
    /// Takes some of `lines`: the first few, at most `most` and [`MERGE_BATCH`], as many
    /// as are answered in `room` bytes and one more at most, and none behind a
    /// WHATSAT, which is to see what those before it changed and nothing else. They
    /// have their effects now, and their answers go behind those before them.
    pub(super) fn take<'a>(
        &'a self,
        now: UnixNanos,
        mut lines: impl Iterator<Item = ClientLine<'a>>,
        most: usize,
        mut room: usize,
        page: &mut ResponseSink<'_>,
    ) -> Progress {
        let mut taken = Vec::new();
        let mut is_all = false;
        while taken.len() < most.min(MERGE_BATCH) && room > 0 {
            let Some(line) = lines.next() else {
                is_all = true;
                break;
            };
            room = room.saturating_sub(line.bytes().len() + MORE_THAN_ITS_LINE);
            let said = self.read(now, line);
            let asks = matches!(said, Request::Whatsat(..));
            taken.push((line.bytes(), said));
            if asks {
                break;
            }
        }
        let reports = taken.iter().map(|(_, said)| said.report()).enumerate();
        let reports = reports.filter_map(|(nth, report)| Some((nth, report?)));
        let mut admitted = [Ok(MergeResult::Stale); MERGE_BATCH];
        self.gateway
            .admit(now, reports, |nth, result| admitted[nth] = result);
        for ((line, said), admitted) in taken.iter().zip(admitted) {
            page.transcript.received(line);
            if self.answer(said, admitted, page).is_none() {
                page.say(|out| reply::invalid(out, line));
            }
        }
        Progress {
            lines: taken.len(),
            is_all,
            is_news: admitted.contains(&Ok(MergeResult::Newer)),
        }
    }

    fn read<'a>(&'a self, now: UnixNanos, line: ClientLine<'a>) -> Request<'a> {
        let command = match line {
            ClientLine::Whole(bytes) => Command::parse(bytes),
            ClientLine::TooLong(_) => None,
        };
        match command {
            Some(Command::Iamat {
                client,
                position,
                time,
            }) => match self.gateway.report(now, client, position, time) {
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

    /// Counts a line and answers it, but for one that is invalid: then `None`.
    /// `admitted` is what became of its report, if it is one.
    fn answer(
        &self,
        said: &Request<'_>,
        admitted: Result<MergeResult, StoreFull>,
        page: &mut ResponseSink<'_>,
    ) -> Option<()> {
        match said {
            Request::Report(report) => return page.say_report(report, admitted),
            Request::Whatsat(client, radius, most) => {
                return self.whatsat(*client, *radius, *most, page);
            }
            Request::TooFarInFuture => page.counted.rejected_max_future += 1,
            Request::Malformed => page.counted.malformed += 1,
        }
        None
    }

    /// `None`, and no answer, for a client that is not known.
    fn whatsat(
        &self,
        client: ClientId<'_>,
        radius: Decimal<'_>,
        most: usize,
        page: &mut ResponseSink<'_>,
    ) -> Option<()> {
        let mut at_line = Vec::new();
        let question = self.gateway.locate(client, |report| {
            reply::at(&mut at_line, &report);
            PlacesQuery::new(report.position, radius, most)
        });
        let Some(question) = question else {
            page.counted.unknown += 1;
            return None;
        };
        page.counted.located += 1;
        match self.places.nearby_now(&question) {
            Some(answer) => page.say_places(&at_line, &answer),
            None => {
                let places = self.places.clone();
                let asking = async move { places.nearby(&question).await };
                page.answers.wait(at_line, Box::pin(asking));
            }
        }
        Some(())
    }
}

impl ResponseSink<'_> {
    /// Appends the answer to an IAMAT; `None`, and no answer, where there was no room
    /// for its client.
    fn say_report(
        &mut self,
        report: &Report<'_>,
        admitted: Result<MergeResult, StoreFull>,
    ) -> Option<()> {
        let count = match admitted {
            Ok(MergeResult::Newer) => &mut self.counted.accepted,
            Ok(MergeResult::Duplicate | MergeResult::Stale) => &mut self.counted.stale,
            Err(StoreFull) => &mut self.counted.rejected_max_clients,
        };
        *count += 1;
        admitted.ok()?;
        self.say(|out| reply::at(out, report));
        Some(())
    }

    /// Appends an answer of one line.
    fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let out = self.answers.next();
        let start = out.len();
        write(out);
        self.transcript.sent(&out[start..]);
    }

    /// Appends the answer to a WHATSAT.
    fn say_places(&mut self, at_line: &[u8], answer: &PlacesResponse) {
        self.transcript.sent_places(at_line, answer.places);
        let out = self.answers.next();
        out.extend_from_slice(at_line);
        reply::places(out, &answer.json);
    }
}
