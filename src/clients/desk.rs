//! What a line does: where the text edge meets the gateway and the places.

use std::sync::Arc;

use crate::gateway::Gateway;
use crate::log::Transcript;
use crate::model::client::ClientId;
use crate::model::decimal::Decimal;
use crate::model::timestamp::UnixNanos;
use crate::places::{Places, Question};
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

impl Desk {
    /// Takes one line: it has its effect now, and its answer goes behind those
    /// before it. Gives whether there is something new for neighbours.
    pub(super) fn take(
        &self,
        now: UnixNanos,
        line: Line<'_>,
        answers: &mut Answers,
        transcript: &mut Transcript,
    ) -> bool {
        let (Line::Whole(bytes) | Line::TooLong(bytes)) = line;
        transcript.heard(bytes);
        let command = match line {
            Line::Whole(bytes) => Command::parse(bytes),
            Line::TooLong(_) => None,
        };
        let done = match command {
            Some(Command::Iamat {
                client,
                position,
                time,
            }) => self
                .gateway
                .iamat(now, client, position, time)
                .map(|taken| {
                    say(answers, transcript, |out| reply::at(out, &taken.report));
                    taken.is_news
                }),
            Some(Command::Whatsat {
                client,
                radius,
                most,
            }) => self
                .whatsat(client, radius, most, answers, transcript)
                .map(|()| false),
            None => None,
        };
        done.unwrap_or_else(|| {
            say(answers, transcript, |out| reply::invalid(out, bytes));
            false
        })
    }

    fn whatsat(
        &self,
        client: ClientId<'_>,
        radius: Decimal<'_>,
        most: usize,
        answers: &mut Answers,
        transcript: &mut Transcript,
    ) -> Option<()> {
        let mut at_line = Vec::new();
        let question = self.gateway.locate(client, |report| {
            reply::at(&mut at_line, &report);
            Question::new(report.position, radius, most)
        })?;
        match self.places.nearby_now(&question) {
            Some(answer) => {
                transcript.said_places(&at_line, answer.places);
                let out = answers.next();
                out.extend_from_slice(&at_line);
                reply::places(out, &answer.json);
            }
            None => {
                let places = self.places.clone();
                answers.wait(
                    at_line,
                    Box::pin(async move { places.nearby(&question).await }),
                );
            }
        }
        Some(())
    }
}

/// Appends an answer of one line, and writes it into the transcript.
fn say(answers: &mut Answers, transcript: &mut Transcript, write: impl FnOnce(&mut Vec<u8>)) {
    let out = answers.next();
    let start = out.len();
    write(out);
    transcript.said(&out[start..]);
}
