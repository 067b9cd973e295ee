//! The bodies of calls at the peer port: limits on requests that arrive, and on answers
//! that wait to be read.
//!
//! hyper passes an answer to HTTP/2 when the peer has room for its first byte, and h2 then
//! holds the rest for as long as the peer likes. An answer is therefore cut into pieces
//! of a frame, and each is given only when the one before is on its way; so an answer
//! that is not read stays here, where it counts and is seen to stand still.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use humantime::format_duration;
use hyper::body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use crate::metrics::AtomicInstant;

/// Number of bytes before a message of gRPC: a flag and the length.
const PREFIX_BYTES: usize = 5;

/// Maximum size of a piece of an answer: a frame of HTTP/2.
const MAX_PIECE_BYTES: usize = 16 * 1024;

/// Maximum size of a part of an answer that is given whole. Of a longer one the last byte
/// is a piece of its own: hyper asks for it when the peer has room for all before it, so
/// that the answer does not end here while much of it waits in h2.
const MAX_WHOLE_BYTES: usize = 1024;

/// The body of a request. It fails if a message is too long, or does not arrive in time.
pub(super) struct RequestBody {
    inner: Body,
    lengths: MessageLengths,
    /// Time limit of a message.
    time_limit: Duration,
    /// Ends the wait for the next message.
    deadline: Option<Pin<Box<Sleep>>>,
    waits: Arc<AtomicBool>,
}

impl RequestBody {
    /// Limits the messages of a body in bytes, and the time until each has arrived,
    /// counted from the moment at which the service waits for it. `waits` is set while
    /// it does.
    pub(super) fn new(
        inner: Body,
        max_message_bytes: usize,
        time_limit: Duration,
        waits: Arc<AtomicBool>,
    ) -> Self {
        Self {
            inner,
            lengths: MessageLengths::new(max_message_bytes),
            time_limit,
            deadline: None,
            waits,
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        this.waits.store(polled.is_pending(), Relaxed);
        let Poll::Ready(received) = polled else {
            let limit = this.time_limit;
            let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Some(Err(incomplete(limit))));
        };
        if let Some(Ok(frame)) = &received
            && let Some(data) = frame.data_ref()
        {
            match this.lengths.read(data) {
                Ok(true) => this.deadline = None,
                Ok(false) => {}
                Err(status) => return Poll::Ready(Some(Err(status))),
            }
        }
        Poll::Ready(received)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

/// Returns the status of a request of which a message did not arrive within `limit`.
pub(super) fn incomplete(limit: Duration) -> Status {
    let limit = format_duration(limit);
    Status::deadline_exceeded(format!("no whole message came within {limit}"))
}

/// Follows the lengths of the messages of a body.
#[derive(Debug)]
struct MessageLengths {
    max_bytes: usize,
    prefix: [u8; PREFIX_BYTES],
    /// Number of bytes of the prefix that have arrived.
    prefix_bytes: usize,
    /// Number of bytes of the message that have not arrived.
    missing: usize,
}

impl MessageLengths {
    fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            prefix: [0; PREFIX_BYTES],
            prefix_bytes: 0,
            missing: 0,
        }
    }

    /// Reads the next bytes of the body. Returns true if a message ends in them.
    ///
    /// # Errors
    ///
    /// `OUT_OF_RANGE` if a message is longer than the maximum.
    fn read(&mut self, mut data: &[u8]) -> Result<bool, Status> {
        let mut ends_message = false;
        while !data.is_empty() {
            let bytes = if self.missing > 0 {
                data.len().min(self.missing)
            } else {
                data.len().min(PREFIX_BYTES - self.prefix_bytes)
            };
            let (read, rest) = data.split_at(bytes);
            data = rest;
            if self.missing > 0 {
                self.missing -= bytes;
            } else {
                self.prefix[self.prefix_bytes..][..bytes].copy_from_slice(read);
                self.prefix_bytes += bytes;
                if self.prefix_bytes < PREFIX_BYTES {
                    break;
                }
                self.prefix_bytes = 0;
                self.missing = self.length()?;
            }
            ends_message |= self.missing == 0;
        }
        Ok(ends_message)
    }

    fn length(&self) -> Result<usize, Status> {
        let length = (&self.prefix[1..]).get_u32() as usize;
        if length > self.max_bytes {
            let max = self.max_bytes;
            return Err(Status::out_of_range(format!(
                "the message is too long: found {length} bytes, the limit is: {max} bytes"
            )));
        }
        Ok(length)
    }
}

/// The body of an answer, which holds `H` until it was read or is dropped.
pub(super) struct AnswerBody<H> {
    inner: Body,
    /// What was not given yet of the last part.
    rest: Bytes,
    unread: Arc<UnreadPiece>,
    _held: H,
}

impl<H> AnswerBody<H> {
    /// Makes the body of an answer.
    pub(super) fn new(inner: Body, held: H) -> Self {
        Self {
            inner,
            rest: Bytes::new(),
            unread: Arc::default(),
            _held: held,
        }
    }

    /// Returns the piece that was given last.
    pub(super) fn unread(&self) -> Arc<UnreadPiece> {
        self.unread.clone()
    }

    fn next_piece(&mut self) -> Option<Frame<Bytes>> {
        let bytes = match self.rest.len() {
            0 => return None,
            length @ ..=MAX_WHOLE_BYTES => length,
            length => MAX_PIECE_BYTES.min(length - 1),
        };
        self.unread.set();
        Some(Frame::data(self.rest.split_to(bytes)))
    }
}

impl<H: Unpin> HttpBody for AnswerBody<H> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        this.unread.clear();
        loop {
            if let Some(piece) = this.next_piece() {
                return Poll::Ready(Some(Ok(piece)));
            }
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => this.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }
}

/// The piece of an answer that was given last, until the next one is wanted.
#[derive(Debug, Default)]
pub(super) struct UnreadPiece {
    is_unread: AtomicBool,
    given_at: AtomicInstant,
}

impl UnreadPiece {
    fn set(&self) {
        self.given_at.set(Instant::now());
        self.is_unread.store(true, Relaxed);
    }

    fn clear(&self) {
        self.is_unread.store(false, Relaxed);
    }

    /// Resolves when a piece was unread for `limit`, at most twice as late.
    pub(super) async fn stays(&self, limit: Duration) {
        loop {
            let rest = if self.is_unread.load(Relaxed) {
                limit.saturating_sub(self.given_at.get().elapsed())
            } else {
                limit
            };
            if rest.is_zero() {
                return;
            }
            sleep(rest).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_are_followed_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..9),
            cuts in prop::collection::vec(1usize..30, 1..9),
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for message in &messages {
                bytes.push(0);
                bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
                bytes.extend_from_slice(message);
                ends.push(bytes.len());
            }
            let mut lengths = MessageLengths::new(39);
            let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
            while at < bytes.len() {
                let next = (at + cuts.next().unwrap()).min(bytes.len());
                let ended = lengths.read(&bytes[at..next]).unwrap();
                prop_assert_eq!(ended, ends.iter().any(|end| (at + 1..=next).contains(end)));
                at = next;
            }
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_rejected_by_its_prefix() {
        let mut lengths = MessageLengths::new(39);
        assert!(!lengths.read(&[0, 0, 0]).unwrap());
        let status = lengths.read(&[0, 40]).unwrap_err();
        assert_eq!(
            status.message(),
            "the message is too long: found 40 bytes, the limit is: 39 bytes"
        );
    }

    fn channel() -> (tokio::sync::mpsc::Sender<Bytes>, Body) {
        let (sender, receiver) = tokio::sync::mpsc::channel(9);
        let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
            let data: Bytes = receiver.recv().await?;
            Some((Ok::<_, Status>(Frame::data(data)), receiver))
        });
        (sender, Body::new(http_body_util::StreamBody::new(frames)))
    }

    #[tokio::test(start_paused = true)]
    async fn each_message_must_arrive_whole_within_the_time_limit() {
        let (sender, body) = channel();
        let limit = Duration::from_secs(8);
        let waits = Arc::new(AtomicBool::new(false));
        let mut body = RequestBody::new(body, 9, limit, waits.clone());
        let whole = Bytes::from_static(&[0, 0, 0, 0, 1, 7]);
        for _ in 0..3 {
            tokio::time::sleep(limit * 2).await;
            sender.send(whole.clone()).await.unwrap();
            body.frame().await.unwrap().unwrap();
            assert!(!waits.load(Relaxed), "nothing is missing");
        }
        let begun = Instant::now();
        let (status, ()) = tokio::join!(
            async {
                loop {
                    if let Err(status) = body.frame().await.unwrap() {
                        return status;
                    }
                }
            },
            async {
                for byte in whole.slice(..5) {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    let _ = sender.send(Bytes::from(vec![byte])).await;
                }
            },
        );
        assert_eq!(status.message(), "no whole message came within 8s");
        // The sender ends later.
        assert!(begun.elapsed() >= limit);
        assert!(waits.load(Relaxed));
    }

    #[tokio::test]
    async fn an_answer_is_given_in_pieces_and_its_last_byte_alone() {
        for (length, expected) in [
            (1, vec![1]),
            (MAX_WHOLE_BYTES, vec![MAX_WHOLE_BYTES]),
            (MAX_WHOLE_BYTES + 1, vec![MAX_WHOLE_BYTES, 1]),
            (40_000, vec![16_384, 16_384, 7231, 1]),
        ] {
            let (sender, body) = channel();
            let all: Bytes = (0..length).map(|n| n as u8).collect();
            sender.send(all.clone()).await.unwrap();
            drop(sender);
            let mut body = AnswerBody::new(body, ());
            let (mut pieces, mut given) = (Vec::new(), Vec::new());
            while let Some(frame) = body.frame().await {
                let data = frame.unwrap().into_data().unwrap();
                pieces.push(data.len());
                given.extend_from_slice(&data);
            }
            assert_eq!((pieces, given), (expected, all.to_vec()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_piece_that_nobody_takes_counts_as_unread() {
        let limit = Duration::from_secs(30);
        let unread = Arc::new(UnreadPiece::default());
        let watched = unread.clone();
        let watch = tokio::spawn(async move { watched.stays(limit).await });
        for _ in 0..9 {
            unread.set();
            tokio::time::sleep(limit * 9 / 10).await;
            unread.clear();
        }
        tokio::time::sleep(limit * 9).await;
        assert!(!watch.is_finished(), "nothing is unread");
        unread.set();
        let since = Instant::now();
        watch.await.unwrap();
        assert!((limit..=limit * 2).contains(&since.elapsed()));
    }
}
