//! Answers in the order of their lines, while some of them wait for places.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::places::Answer;
use crate::text::reply;

/// A question to the places provider that is under way.
pub(super) type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a connection is still to be told.
///
/// Invariant: `ready` goes before all of `waiting`, and the first of `waiting`
/// is not answered yet.
#[derive(Default)]
pub(super) struct Answers {
    ready: Vec<u8>,
    waiting: VecDeque<Waiting>,
}

/// A WHATSAT that waits for places, and the answers behind it.
struct Waiting {
    at_line: Vec<u8>,
    state: State,
    behind: Vec<u8>,
}

enum State {
    Asking(Asking),
    Answered(Answer),
}

impl Answers {
    /// Where the next answer belongs: append to it.
    pub(super) fn next(&mut self) -> &mut Vec<u8> {
        match self.waiting.back_mut() {
            Some(last) => &mut last.behind,
            None => &mut self.ready,
        }
    }

    /// The next answer is `at_line` and what comes of `asking`.
    pub(super) fn wait(&mut self, at_line: Vec<u8>, asking: Asking) {
        self.waiting.push_back(Waiting {
            at_line,
            state: State::Asking(asking),
            behind: Vec::new(),
        });
    }

    /// How many questions are under way, or answered behind one that is.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many bytes are held back by questions under way.
    pub(super) fn held_back(&self) -> usize {
        self.waiting
            .iter()
            .map(|waiting| waiting.behind.len())
            .sum()
    }

    /// What may be sent now. Clear it when it was.
    pub(super) fn ready(&mut self) -> &mut Vec<u8> {
        &mut self.ready
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
                waiting.state = State::Answered(Answer::failed(cause));
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
            behind,
        }) = self
            .waiting
            .pop_front_if(|first| matches!(first.state, State::Answered(_)))
        {
            note(&at_line, answer.places);
            self.ready.extend_from_slice(&at_line);
            reply::places(&mut self.ready, &answer.json);
            self.ready.extend_from_slice(&behind);
            released = true;
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn question(answers: &mut Answers, name: &str) -> oneshot::Sender<Answer> {
        let (tell, told) = oneshot::channel();
        let asking = async { told.await.unwrap_or_else(|_| Answer::none()) };
        answers.wait(format!("AT {name}\n").into(), Box::pin(asking));
        tell
    }

    fn answer(json: &str) -> Answer {
        Answer {
            json: json.to_owned(),
            places: 1,
        }
    }

    #[tokio::test]
    async fn a_question_holds_back_only_what_is_behind_it() {
        let mut answers = Answers::default();
        answers.next().extend_from_slice(b"before\n");
        let first = question(&mut answers, "first");
        answers.next().extend_from_slice(b"between\n");
        let second = question(&mut answers, "second");
        answers.next().extend_from_slice(b"behind\n");
        assert_eq!(answers.ready(), b"before\n");
        answers.ready().clear();

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

    #[tokio::test]
    async fn giving_up_answers_all() {
        let mut answers = Answers::default();
        let _never = question(&mut answers, "first");
        answers.next().extend_from_slice(b"behind\n");
        answers.give_up("shutting down", |_, _| {});
        let ready = String::from_utf8(answers.ready().clone()).unwrap();
        assert!(ready.starts_with("AT first\n{"), "{ready}");
        assert!(ready.contains("UNKNOWN_ERROR"), "{ready}");
        assert!(ready.ends_with("}\n\nbehind\n"), "{ready}");
    }
}
