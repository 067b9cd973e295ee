//! What a line does: where the text edge meets the gateway and the places.

use std::sync::Arc;

use crate::gateway::Gateway;
use crate::log::Transcript;
use crate::model::client::ClientId;
use crate::model::decimal::Decimal;
use crate::model::timestamp::UnixNanos;
use crate::places::{Answer, Places, Question};
use crate::text::command::Command;
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
}

impl Desk {
    /// Takes one line: it has its effect now, and its answer goes behind those
    /// before it. Gives whether there is something new for neighbours.
    pub(super) fn take(&self, now: UnixNanos, line: Line<'_>, page: &mut Page<'_>) -> bool {
        let (Line::Whole(bytes) | Line::TooLong(bytes)) = line;
        page.transcript.heard(bytes);
        let is_news = match line {
            Line::Whole(bytes) => self.obey(now, bytes, page),
            Line::TooLong(_) => None,
        };
        is_news.unwrap_or_else(|| {
            page.say(|out| reply::invalid(out, bytes));
            false
        })
    }

    /// As [`take`](Self::take); `None`, and no answer, for an invalid command.
    fn obey(&self, now: UnixNanos, line: &[u8], page: &mut Page<'_>) -> Option<bool> {
        match Command::parse(line)? {
            Command::Iamat {
                client,
                position,
                time,
            } => {
                let taken = self.gateway.iamat(now, client, position, time)?;
                page.say(|out| reply::at(out, &taken.report));
                Some(taken.is_news)
            }
            Command::Whatsat {
                client,
                radius,
                most,
            } => {
                self.whatsat(client, radius, most, page)?;
                Some(false)
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
