//! What a line does: where the text edge meets the gateway and the places.

use std::sync::Arc;

use crate::gateway::{Gateway, Outcomes, Refused};
use crate::log::Transcript;
use crate::model::client::ClientId;
use crate::model::decimal::Decimal;
use crate::model::timestamp::UnixNanos;
use crate::places::{Answer, Places, Question};
use crate::text::command::{self, Command};
use crate::text::lines::Line;
use crate::text::reply;

use super::answers::Answers;

/// What lines are answered with. Shared by all connections of a server.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) gateway: Arc<Gateway>,
    pub(super) places: Places,
}

/// Where one connection's answers go, and what is written down of them.
pub(super) struct Page<'a> {
    pub(super) answers: &'a mut Answers,
    pub(super) transcript: &'a mut Transcript,
    pub(super) counted: &'a mut Outcomes,
}

impl Desk {
    /// Takes one line: it has its effect now, and its answer goes behind those
    /// before it. Gives whether there is something new for neighbours.
    pub(super) fn take(&self, now: UnixNanos, line: Line<'_>, page: &mut Page<'_>) -> bool {
        let (Line::Whole(bytes) | Line::TooLong(bytes)) = line;
        page.transcript.heard(bytes);
        let command = match line {
            Line::Whole(bytes) => Command::parse(bytes),
            Line::TooLong(_) => None,
        };
        let is_news = match command {
            Some(command) => self.obey(now, command, page),
            None => {
                page.counted.malformed += 1;
                None
            }
        };
        is_news.unwrap_or_else(|| {
            page.say(|out| reply::invalid(out, bytes));
            false
        })
    }

    /// Fetches what is known of the clients of lines that will be taken next, or of
    /// some of them.
    pub(super) fn prefetch<'a>(&self, lines: impl Iterator<Item = &'a [u8]>) {
        let store = self.gateway.replica().store();
        store.prefetch(lines.filter_map(command::likely_client));
    }

    /// As [`take`](Self::take); `None`, and no answer, for a command that is
    /// invalid after all.
    fn obey(&self, now: UnixNanos, command: Command<'_>, page: &mut Page<'_>) -> Option<bool> {
        match command {
            Command::Iamat {
                client,
                position,
                time,
            } => {
                let taken = self.gateway.iamat(now, client, position, time);
                let count = match &taken {
                    Ok(taken) if taken.is_news => &mut page.counted.accepted,
                    Ok(_) => &mut page.counted.stale,
                    Err(Refused::Future) => &mut page.counted.from_the_future,
                    Err(Refused::Full) => &mut page.counted.past_the_limit,
                };
                *count += 1;
                let taken = taken.ok()?;
                page.say(|out| reply::at(out, &taken.report));
                Some(taken.is_news)
            }
            Command::Whatsat {
                client,
                radius,
                most,
            } => {
                let located = self.whatsat(client, radius, most, page);
                match located {
                    Some(()) => page.counted.located += 1,
                    None => page.counted.unknown += 1,
                }
                located.map(|()| false)
            }
        }
    }

    fn whatsat(
        &self,
        client: ClientId<'_>,
        radius: Decimal<'_>,
        most: usize,
        page: &mut Page<'_>,
    ) -> Option<()> {
        let mut at_line = Vec::new();
        let question = self.gateway.locate(client, |report| {
            reply::at(&mut at_line, &report);
            Question::new(report.position, radius, most)
        })?;
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

impl Page<'_> {
    /// Appends an answer of one line.
    fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let out = self.answers.next();
        let start = out.len();
        write(out);
        self.transcript.said(&out[start..]);
    }

    /// Appends the answer to a WHATSAT.
    fn say_places(&mut self, at_line: &[u8], answer: &Answer) {
        self.transcript.said_places(at_line, answer.places);
        let out = self.answers.next();
        out.extend_from_slice(at_line);
        reply::places(out, &answer.json);
    }
}
