//! Answers in the order of their lines, while some of them wait for places, and
//! how long each line has waited for its own.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::line_protocol::reply;
use crate::places::PlacesResponse;

/// A question to the places provider that is under way.
pub(super) type Asking = Pin<Box<dyn Future<Output = PlacesResponse> + Send>>;

/// What a connection is still to be told.
///
/// Invariant: `ready` goes before all of `waiting`, and the first of `waiting`
/// is not answered yet.
pub(super) struct ResponseQueue {
    ready: Text,
    waiting: VecDeque<Waiting>,
    /// When the lines that are taken now were taken.
    now: Instant,
}

/// Answers, and when the lines were taken that they answer.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    lines: Vec<Taken>,
}

/// So many lines were taken then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) at: Instant,
    pub(super) lines: u64,
}

/// A WHATSAT that waits for places, and the answers behind it.
struct Waiting {
    at_line: Vec<u8>,
    taken: Instant,
    state: State,
    behind: Text,
}

enum State {
    Asking(Asking),
    Answered(PlacesResponse),
}

impl Text {
    /// One more line, taken at `at`, is answered behind what is here.
    fn answer(&mut self, at: Instant, lines: u64) {
        match self.lines.last_mut() {
            Some(last) if last.at == at => last.lines += lines,
            _ => self.lines.push(Taken { at, lines }),
        }
    }

    /// How many bytes the answers take, or what is kept of when their lines were
    /// taken, if that is more: of tiny lines, sent one by one.
    fn weight(&self) -> usize {
        let taken = self.lines.len() * size_of::<Taken>();
        self.bytes.len().max(taken)
    }
}

impl ResponseQueue {
    /// Nothing is to be told yet.
    pub(super) fn new() -> Self {
        Self {
            ready: Text::default(),
            waiting: VecDeque::new(),
            now: Instant::now(),
        }
    }

    /// The next lines are taken `now`.
    pub(super) fn taken(&mut self, now: Instant) {
        self.now = now;
    }

    /// Where the answer to the next line belongs: append to it.
    pub(super) fn next(&mut self) -> &mut Vec<u8> {
        let text = match self.waiting.back_mut() {
            Some(last) => &mut last.behind,
            None => &mut self.ready,
        };
        text.answer(self.now, 1);
        &mut text.bytes
    }

    /// The next answer is `at_line` and what comes of `asking`.
    pub(super) fn wait(&mut self, at_line: Vec<u8>, asking: Asking) {
        self.waiting.push_back(Waiting {
            at_line,
            taken: self.now,
            state: State::Asking(asking),
            behind: Text::default(),
        });
    }

    /// How many questions are under way, or answered behind one that is.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many bytes are held back by questions under way; twice as many are in
    /// memory at most.
    pub(super) fn held_back(&self) -> usize {
        self.waiting
            .iter()
            .map(|waiting| waiting.behind.weight())
            .sum()
    }

    /// What may be sent now.
    pub(super) fn ready(&self) -> &[u8] {
        &self.ready.bytes
    }

    /// All that was ready was sent. Gives which lines that answered; keeps room
    /// for `room` bytes.
    pub(super) fn sent(&mut self, room: usize) -> impl Iterator<Item = Taken> {
        self.ready.bytes.clear();
        self.ready.bytes.shrink_to(room);
        self.ready.lines.drain(..)
    }

    /// Resolves when a question has been answered that made something ready,
    /// and tells `note` the AT line and the number of places of each such
    /// answer. Pending for ever while none waits. May be dropped at any time.
    pub(super) async fn settle(&mut self, mut note: impl FnMut(&[u8], usize)) {
        poll_fn(|context| self.poll_settle(context, &mut note)).await;
    }

    /// Answers every question that is still under way with `UNKNOWN_ERROR`.
    pub(super) fn give_up(&mut self, cause: &str, mut note: impl FnMut(&[u8], usize)) {
        for waiting in &mut self.waiting {
            if let State::Asking(_) = waiting.state {
                waiting.state = State::Answered(PlacesResponse::failed(cause));
            }
        }
        self.release(&mut note);
    }

    fn poll_settle(
        &mut self,
        context: &mut Context<'_>,
        note: &mut impl FnMut(&[u8], usize),
    ) -> Poll<()> {
        for waiting in &mut self.waiting {
            if let State::Asking(asking) = &mut waiting.state
                && let Poll::Ready(answer) = asking.as_mut().poll(context)
            {
                waiting.state = State::Answered(answer);
            }
        }
        match self.release(note) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Moves what nothing holds back any more to `ready`.
    fn release(&mut self, note: &mut impl FnMut(&[u8], usize)) -> bool {
        let mut released = false;
        while let Some(Waiting {
            state: State::Answered(answer),
            at_line,
            taken,
            behind,
        }) = self
            .waiting
            .pop_front_if(|first| matches!(first.state, State::Answered(_)))
        {
            note(&at_line, answer.places);
            let Text { bytes, .. } = &mut self.ready;
            bytes.extend_from_slice(&at_line);
            reply::places(bytes, &answer.json);
            bytes.extend_from_slice(&behind.bytes);
            self.ready.answer(taken, 1);
            for Taken { at, lines } in behind.lines {
                self.ready.answer(at, lines);
            }
            released = true;
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    fn question(answers: &mut ResponseQueue, name: &str) -> oneshot::Sender<PlacesResponse> {
        let (tell, told) = oneshot::channel();
        let asking = async { told.await.unwrap_or_else(|_| PlacesResponse::none()) };
        answers.wait(format!("AT {name}\n").into(), Box::pin(asking));
        tell
    }

    fn answer(json: &str) -> PlacesResponse {
        PlacesResponse {
            json: json.to_owned(),
            places: 1,
        }
    }

    #[tokio::test]
    async fn a_question_holds_back_only_what_is_behind_it() {
        let mut answers = ResponseQueue::new();
        answers.next().extend_from_slice(b"before\n");
        let first = question(&mut answers, "first");
        answers.next().extend_from_slice(b"between\n");
        let second = question(&mut answers, "second");
        answers.next().extend_from_slice(b"behind\n");
        assert_eq!(answers.ready(), b"before\n");
        assert_eq!(answers.sent(0).count(), 1);

        second.send(answer("{2}")).unwrap();
        let nothing = tokio::time::timeout(Default::default(), answers.settle(|_, _| {})).await;
        assert!(nothing.is_err(), "the second waits for the first");
        first.send(answer("{1}")).unwrap();
        let mut noted = Vec::new();
        answers
            .settle(|at_line, places| noted.push((at_line.to_vec(), places)))
            .await;
        assert_eq!(
            answers.ready(),
            b"AT first\n{1}\n\nbetween\nAT second\n{2}\n\nbehind\n"
        );
        assert_eq!(
            noted,
            [(b"AT first\n".to_vec(), 1), (b"AT second\n".to_vec(), 1)]
        );
        assert_eq!(answers.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn every_line_counts_once_from_when_it_was_taken() {
        let mut answers = ResponseQueue::new();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let taken = |at, lines| Taken { at, lines };
        answers.taken(after(1));
        answers.next();
        answers.next();
        let asked = question(&mut answers, "kiwi");
        answers.next();
        answers.taken(after(2));
        answers.next();
        let sent: Vec<_> = answers.sent(0).collect();
        assert_eq!(sent, [taken(after(1), 2)]);

        asked.send(answer("{}")).unwrap();
        answers.settle(|_, _| {}).await;
        let sent: Vec<_> = answers.sent(0).collect();
        assert_eq!(sent, [taken(after(1), 2), taken(after(2), 1)]);
        assert_eq!(answers.sent(0).count(), 0);
    }

    #[tokio::test]
    async fn giving_up_answers_all() {
        let mut answers = ResponseQueue::new();
        let _never = question(&mut answers, "first");
        answers.next().extend_from_slice(b"behind\n");
        answers.give_up("shutting down", |_, _| {});
        let ready = String::from_utf8(answers.ready().to_vec()).unwrap();
        assert!(ready.starts_with("AT first\n{"), "{ready}");
        assert!(ready.contains("UNKNOWN_ERROR"), "{ready}");
        assert!(ready.ends_with("}\n\nbehind\n"), "{ready}");
    }
}
