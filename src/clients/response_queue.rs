//! Responses in the order of their lines, while some of them wait for places or for the
//! acknowledgement of reports, and the time that each line has waited for its own.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::line_protocol::reply;
#[cfg(doc)]
use crate::places::MAX_PLACES_BYTES;
use crate::places::PlacesResponse;

/// A query of the places provider in progress.
pub(super) type PendingPlaces = Pin<Box<dyn Future<Output = PlacesResponse> + Send>>;

/// The acknowledgement of reports, which has not come.
pub(super) type PendingAcknowledgement = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Maximum size of the places that wait for a query in progress, in bytes. Beyond it a query fails.
/// Twenty places with all their fields take some 200 KiB, and [`MAX_PLACES_BYTES`] at most.
const MAX_WAITING_PLACES_BYTES: usize = 4 << 20;

/// Size of the ready responses, in bytes, at which no further ones are made ready until they are
/// sent.
const MAX_RELEASED_BYTES: usize = 64 * 1024;

/// The responses of one connection that are not sent yet.
///
/// Memory: ready responses of [`MAX_RELEASED_BYTES`] and one more with [`MAX_PLACES_BYTES`] of
/// places; the places that wait, of [`MAX_WAITING_PLACES_BYTES`]; and what the session adds.
///
/// Invariant: `ready` precedes everything in `pending`.
pub(super) struct ResponseQueue {
    ready: ResponseText,
    pending: VecDeque<PendingResponse>,
    /// Number of WHATSATs in `pending`.
    queries: usize,
    /// When the lines were taken whose responses are added now.
    now: Instant,
}

/// Responses, and when the lines were taken that they answer.
#[derive(Default)]
struct ResponseText {
    bytes: Vec<u8>,
    lines: Vec<TakenLines>,
}

/// A number of lines that were taken at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TakenLines {
    pub(super) at: Instant,
    pub(super) lines: u64,
}

/// What holds back the responses after it, and those responses.
struct PendingResponse {
    hold: Hold,
    after: ResponseText,
}

/// The reason why responses are held back.
enum Hold {
    /// A WHATSAT before them waits for places. Its own response precedes them.
    Whatsat {
        at_line: Vec<u8>,
        taken: Instant,
        query: QueryState,
    },
    /// Their reports are not acknowledged.
    Acknowledgement(PendingAcknowledgement),
    /// Their reports are acknowledged.
    Acknowledged,
}

enum QueryState {
    InProgress(PendingPlaces),
    Done(PlacesResponse),
}

impl Hold {
    /// Returns true if it ends once everything before it does.
    fn is_done(&self) -> bool {
        match self {
            Self::Whatsat { query, .. } => matches!(query, QueryState::Done(_)),
            Self::Acknowledgement(_) => false,
            Self::Acknowledged => true,
        }
    }

    fn query(&mut self) -> Option<&mut QueryState> {
        match self {
            Self::Whatsat { query, .. } => Some(query),
            Self::Acknowledgement(_) | Self::Acknowledged => None,
        }
    }
}

impl ResponseText {
    /// Counts lines taken at `at` whose responses are appended.
    fn count(&mut self, at: Instant, lines: u64) {
        match self.lines.last_mut() {
            Some(last) if last.at == at => last.lines += lines,
            _ => self.lines.push(TakenLines { at, lines }),
        }
    }

    /// Returns the number of bytes of the responses or of the times of their lines, whichever is
    /// larger: the latter for tiny lines that are sent one by one.
    fn size(&self) -> usize {
        let taken = self.lines.len() * size_of::<TakenLines>();
        self.bytes.len().max(taken)
    }
}

impl ResponseQueue {
    /// Creates an empty queue.
    pub(super) fn new() -> Self {
        Self {
            ready: ResponseText::default(),
            pending: VecDeque::new(),
            queries: 0,
            now: Instant::now(),
        }
    }

    /// Sets the time at which the lines that follow are taken.
    pub(super) fn taken(&mut self, now: Instant) {
        self.now = now;
    }

    /// Returns the buffer to which the response to the next line is appended.
    pub(super) fn next(&mut self) -> &mut Vec<u8> {
        let text = match self.pending.back_mut() {
            Some(last) => &mut last.after,
            None => &mut self.ready,
        };
        text.count(self.now, 1);
        &mut text.bytes
    }

    /// Adds a response that consists of `at_line` and the result of `query`.
    pub(super) fn wait(&mut self, at_line: Vec<u8>, query: PendingPlaces) {
        self.hold(Hold::Whatsat {
            at_line,
            taken: self.now,
            query: QueryState::InProgress(query),
        });
        self.queries += 1;
    }

    /// Holds back the responses that are added from now on until the acknowledgement, which is not
    /// earlier than those of earlier calls.
    pub(super) fn wait_for(&mut self, acknowledgement: PendingAcknowledgement) {
        self.hold(Hold::Acknowledgement(acknowledgement));
    }

    fn hold(&mut self, hold: Hold) {
        self.pending.push_back(PendingResponse {
            hold,
            after: ResponseText::default(),
        });
    }

    /// Returns true if no response is held back.
    pub(super) fn is_released(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns the number of queries whose response is held back: by themselves, or by what is
    /// before them.
    pub(super) fn queries(&self) -> usize {
        self.queries
    }

    /// Returns true if a query is not answered.
    pub(super) fn has_queries_in_progress(&self) -> bool {
        let is_in_progress = |it: &PendingResponse| match &it.hold {
            Hold::Whatsat { query, .. } => matches!(query, QueryState::InProgress(_)),
            Hold::Acknowledgement(_) | Hold::Acknowledged => false,
        };
        self.pending.iter().any(is_in_progress)
    }

    /// Returns the number of bytes that are held back. At most twice as many are in memory.
    pub(super) fn held_bytes(&self) -> usize {
        let held = size_of::<PendingResponse>();
        let texts = self.pending.iter().map(|it| held + it.after.size());
        texts.sum::<usize>() + self.places_bytes()
    }

    fn places_bytes(&self) -> usize {
        let places = self.pending.iter().map(|response| match &response.hold {
            Hold::Whatsat {
                query: QueryState::Done(places),
                ..
            } => places.json.len(),
            _ => 0,
        });
        places.sum()
    }

    /// Returns the bytes that can be sent.
    pub(super) fn ready(&self) -> &[u8] {
        &self.ready.bytes
    }

    /// Removes everything that was ready, after it was sent. Returns the lines that it answered,
    /// and keeps `capacity` bytes of memory.
    pub(super) fn sent(&mut self, capacity: usize) -> impl Iterator<Item = TakenLines> {
        self.ready.bytes.clear();
        self.ready.bytes.shrink_to(capacity);
        self.ready.lines.drain(..)
    }

    /// Resolves when something that was held back is ready, and passes the AT line and the number
    /// of places of each response to a WHATSAT in it to `note`. Pending forever if nothing is held
    /// back. Cancel safe.
    pub(super) async fn settle(&mut self, mut note: impl FnMut(&[u8], usize)) {
        poll_fn(|context| self.poll_settle(context, &mut note)).await;
    }

    /// Answers every query in progress with `UNKNOWN_ERROR` and this cause.
    pub(super) fn abandon_queries(&mut self, cause: &str, mut note: impl FnMut(&[u8], usize)) {
        for query in self.pending.iter_mut().filter_map(|it| it.hold.query()) {
            if let QueryState::InProgress(_) = query {
                *query = QueryState::Done(PlacesResponse::failed(cause));
            }
        }
        self.release(&mut note);
    }

    fn poll_settle(
        &mut self,
        context: &mut Context<'_>,
        note: &mut impl FnMut(&[u8], usize),
    ) -> Poll<()> {
        let (mut waiting, mut is_first) = (self.places_bytes(), true);
        for response in &mut self.pending {
            if let Hold::Acknowledgement(acknowledgement) = &mut response.hold
                // Those after it do not come before it.
                && is_first
                && acknowledgement.as_mut().poll(context).is_ready()
            {
                response.hold = Hold::Acknowledged;
            } else if let Some(state) = response.hold.query()
                && let QueryState::InProgress(query) = state
                && let Poll::Ready(places) = query.as_mut().poll(context)
            {
                let places = if is_first || waiting + places.json.len() <= MAX_WAITING_PLACES_BYTES
                {
                    places
                } else {
                    PlacesResponse::failed(&format!(
                        "the places that wait for earlier queries of this connection exceed \
                         {MAX_WAITING_PLACES_BYTES} bytes: send fewer queries at a time"
                    ))
                };
                waiting += places.json.len();
                *state = QueryState::Done(places);
            }
            is_first &= response.hold.is_done();
        }
        if self.release(note) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Moves responses that nothing holds back any longer to `ready`, up to its limit. Returns true
    /// if there were any.
    fn release(&mut self, note: &mut impl FnMut(&[u8], usize)) -> bool {
        let mut released = false;
        while self.ready.bytes.len() < MAX_RELEASED_BYTES
            && let Some(PendingResponse { hold, after }) =
                self.pending.pop_front_if(|first| first.hold.is_done())
        {
            if let Hold::Whatsat {
                query: QueryState::Done(places),
                at_line,
                taken,
            } = hold
            {
                self.queries -= 1;
                note(&at_line, places.places);
                let ResponseText { bytes, .. } = &mut self.ready;
                bytes.extend_from_slice(&at_line);
                reply::places(bytes, &places.json);
                self.ready.count(taken, 1);
            }
            self.ready.bytes.extend_from_slice(&after.bytes);
            for TakenLines { at, lines } in after.lines {
                self.ready.count(at, lines);
            }
            released = true;
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::{oneshot, watch};

    use super::*;

    /// Adds a WHATSAT and returns the way to answer its query.
    fn whatsat(responses: &mut ResponseQueue, name: &str) -> oneshot::Sender<PlacesResponse> {
        let (answer, answered) = oneshot::channel();
        let query = async { answered.await.unwrap_or_else(|_| PlacesResponse::none()) };
        responses.wait(format!("AT {name}\n").into(), Box::pin(query));
        answer
    }

    fn places(json: &str) -> PlacesResponse {
        PlacesResponse {
            json: json.to_owned(),
            places: 1,
        }
    }

    #[tokio::test]
    async fn a_query_in_progress_holds_back_only_the_responses_after_it() {
        let mut responses = ResponseQueue::new();
        responses.next().extend_from_slice(b"before\n");
        let first = whatsat(&mut responses, "first");
        responses.next().extend_from_slice(b"between\n");
        let second = whatsat(&mut responses, "second");
        responses.next().extend_from_slice(b"after\n");
        assert_eq!(responses.ready(), b"before\n");
        assert_eq!(responses.sent(0).count(), 1);

        second.send(places("{2}")).unwrap();
        let nothing = tokio::time::timeout(Default::default(), responses.settle(|_, _| {})).await;
        assert!(nothing.is_err(), "the second waits for the first");
        first.send(places("{1}")).unwrap();
        let mut noted = Vec::new();
        responses
            .settle(|at_line, places| noted.push((at_line.to_vec(), places)))
            .await;
        assert_eq!(
            responses.ready(),
            b"AT first\n{1}\n\nbetween\nAT second\n{2}\n\nafter\n"
        );
        assert_eq!(
            noted,
            [(b"AT first\n".to_vec(), 1), (b"AT second\n".to_vec(), 1)]
        );
        assert!(responses.is_released());
    }

    #[tokio::test(start_paused = true)]
    async fn every_line_counts_once_from_the_time_at_which_it_was_taken() {
        let mut responses = ResponseQueue::new();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let taken = |at, lines| TakenLines { at, lines };
        responses.taken(after(1));
        responses.next();
        responses.next();
        let query = whatsat(&mut responses, "kiwi");
        responses.next();
        responses.taken(after(2));
        responses.next();
        let sent: Vec<_> = responses.sent(0).collect();
        assert_eq!(sent, [taken(after(1), 2)]);

        query.send(places("{}")).unwrap();
        responses.settle(|_, _| {}).await;
        let sent: Vec<_> = responses.sent(0).collect();
        assert_eq!(sent, [taken(after(1), 2), taken(after(2), 1)]);
        assert_eq!(responses.sent(0).count(), 0);
    }

    #[tokio::test]
    async fn places_that_wait_count_with_their_bytes_and_beyond_the_limit_their_queries_fail() {
        const EACH: usize = 1 << 20;
        let mut responses = ResponseQueue::new();
        let mut answers: Vec<_> = (0..7).map(|_| whatsat(&mut responses, "kiwi")).collect();
        let first = answers.remove(0);
        for answer in answers {
            answer.send(places(&"x".repeat(EACH))).unwrap();
        }
        let nothing = tokio::time::timeout(Default::default(), responses.settle(|_, _| {})).await;
        assert!(nothing.is_err(), "all wait for the first");
        let held = responses.held_bytes();
        assert!((4 * EACH..4 * EACH + 2000).contains(&held), "{held}");

        first.send(places(&"y".repeat(5 * EACH))).unwrap();
        let (mut counts, mut most, mut text) = (Vec::new(), 0, Vec::new());
        while !responses.is_released() {
            responses.settle(|_, places| counts.push(places)).await;
            most = most.max(responses.ready().len());
            text.extend_from_slice(responses.ready());
            responses.sent(0).count();
        }
        assert_eq!(counts, [1, 1, 1, 1, 1, 0, 0], "the first is never too long");
        assert!(most < 5 * EACH + 1000, "{most} bytes were ready at once");
        let text = String::from_utf8(text).unwrap();
        let message = "exceed 4194304 bytes: send fewer queries at a time";
        assert_eq!(text.matches(message).count(), 2);
    }

    #[tokio::test]
    async fn an_acknowledgement_holds_back_all_responses_after_it_in_their_order() {
        let mut responses = ResponseQueue::new();
        responses.next().extend_from_slice(b"before\n");
        let (reach, reached) = watch::channel(0);
        for position in 1..=3 {
            let mut reached = reached.clone();
            responses.wait_for(Box::pin(async move {
                reached.wait_for(|it| *it >= position).await.unwrap();
            }));
            responses
                .next()
                .extend_from_slice(format!("{position}\n").as_bytes());
            if position == 2 {
                whatsat(&mut responses, "kiwi").send(places("{}")).unwrap();
            }
        }
        assert_eq!(
            (responses.ready(), responses.queries()),
            (&b"before\n"[..], 1)
        );
        let nothing = tokio::time::timeout(Default::default(), responses.settle(|_, _| {})).await;
        assert!(nothing.is_err(), "the places wait for the acknowledgement");
        responses.sent(0).count();

        for (position, ready) in [(1, "1\n"), (3, "2\nAT kiwi\n{}\n\n3\n")] {
            reach.send(position).unwrap();
            responses.settle(|_, _| {}).await;
            assert_eq!(responses.ready(), ready.as_bytes());
            responses.sent(0).count();
        }
        assert!(responses.is_released() && responses.queries() == 0);
    }

    #[tokio::test]
    async fn abandoned_queries_are_answered_with_an_error() {
        let mut responses = ResponseQueue::new();
        let _never = whatsat(&mut responses, "first");
        responses.next().extend_from_slice(b"after\n");
        responses.abandon_queries("shutting down", |_, _| {});
        let ready = String::from_utf8(responses.ready().to_vec()).unwrap();
        assert!(ready.starts_with("AT first\n{"), "{ready}");
        assert!(ready.contains("UNKNOWN_ERROR"), "{ready}");
        assert!(ready.ends_with("}\n\nafter\n"), "{ready}");
    }
}
