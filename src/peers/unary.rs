//! A unary call's one message, into the body of a request or an answer and out
//! of it again, as gRPC frames it.
//!
//! After <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>: a byte
//! that tells whether it is compressed, four of its length, the message; and
//! behind an answer's, in trailers, the status. tonic's own code does the same
//! for streams and compression too; pushes need neither, and are all that a busy
//! server does.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tonic::Status;
use tower::BoxError;

/// What stands before a message.
const HEAD: usize = 5;

/// Content type of all calls and answers.
pub(super) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

const STATUS: &str = "grpc-status";

/// That of success.
const WELL: &str = "0";

/// A message behind its head.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("messages have limits");
    let mut bytes = BytesMut::with_capacity(HEAD + message.len());
    bytes.put_u8(0);
    bytes.put_u32(length);
    bytes.put(message);
    bytes.freeze()
}

/// Reads a body to its end, which holds one message of at most `limit` bytes.
/// Gives the message and the trailers behind it; of a message that is too long,
/// nothing is read but its head.
pub(super) async fn read<B>(
    mut body: B,
    limit: usize,
) -> Result<(Option<Bytes>, Option<HeaderMap>), Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut whole = Whole::Nothing;
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        match frame.into_data() {
            Ok(data) => whole.add(data, limit)?,
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((whole.message()?, trailers))
}

/// What was read of a body.
enum Whole {
    Nothing,
    /// In one piece, as most come.
    Piece(Bytes),
    Pieces(BytesMut),
}

impl Whole {
    fn add(&mut self, data: Bytes, limit: usize) -> Result<(), Status> {
        *self = match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => Self::Piece(data),
            Self::Piece(piece) => {
                let due = length(&piece).unwrap_or(limit).min(limit);
                let mut pieces = BytesMut::with_capacity(HEAD + due);
                pieces.put(piece);
                pieces.put(data);
                Self::Pieces(pieces)
            }
            Self::Pieces(mut pieces) => {
                pieces.put(data);
                Self::Pieces(pieces)
            }
        };
        let bytes = self.bytes();
        match length(bytes) {
            Some(_) if bytes[0] != 0 => Err(Status::unimplemented(
                "the message is compressed, and no encoding was agreed on",
            )),
            Some(length) if length > limit => Err(Status::out_of_range(format!(
                "the message is too large: found {length} bytes, the limit is: {limit} bytes"
            ))),
            Some(length) if bytes.len() > HEAD + length => Err(Status::invalid_argument(
                "more than one message came in a call that takes one",
            )),
            _ => Ok(()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Piece(piece) => piece,
            Self::Pieces(pieces) => pieces,
        }
    }

    fn message(self) -> Result<Option<Bytes>, Status> {
        let is_whole = length(self.bytes()).is_some_and(|due| self.bytes().len() == HEAD + due);
        let bytes = match self {
            Self::Nothing => return Ok(None),
            _ if !is_whole => {
                return Err(Status::invalid_argument(
                    "the call ended within its message",
                ));
            }
            Self::Piece(piece) => piece,
            Self::Pieces(pieces) => pieces.freeze(),
        };
        Ok(Some(bytes.slice(HEAD..)))
    }
}

/// How long the message is due to be, once its head is there.
fn length(bytes: &[u8]) -> Option<usize> {
    let [_, length @ ..] = bytes.first_chunk::<HEAD>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

/// A call with a message.
pub(super) fn request(uri: Uri, message: &[u8]) -> Request<Bytes> {
    let mut request = Request::new(framed(message));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, GRPC);
    request
}

/// Reads an answer to its end. Gives its message, of at most `limit` bytes, or the
/// status that came in its place.
pub(super) async fn message<B>(answer: Response<B>, limit: usize) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let (head, body) = answer.into_parts();
    refused(&head.headers)?;
    if head.status != StatusCode::OK {
        let status = head.status;
        return Err(Status::unknown(format!(
            "it answered with HTTP status {status}, which is no answer of gRPC"
        )));
    }
    let (message, trailers) = read(body, limit).await.map_err(broken)?;
    let trailers = trailers.unwrap_or_default();
    refused(&trailers)?;
    match message {
        _ if !trailers.contains_key(STATUS) => {
            Err(Status::unknown("its answer ended without a status"))
        }
        None => Err(Status::unknown("its answer has no message")),
        Some(message) => Ok(message),
    }
}

/// Fails with the status that stands here, if it is one of a failure.
fn refused(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get(STATUS) {
        Some(status) if status != WELL => Err(Status::from_header_map(headers)
            .unwrap_or_else(|| Status::unknown("its answer has a status that can not be read"))),
        _ => Ok(()),
    }
}

/// What is wrong with an answer is no refusal of the call.
fn broken(status: Status) -> Status {
    match status.source() {
        Some(_) => status,
        None => Status::unknown(format!("its answer is broken: {}", status.message())),
    }
}

/// An answer with a message.
pub(super) fn answer(message: &[u8]) -> Response<tonic::body::Body> {
    let body = Answer::Message(framed(message));
    let mut response = Response::new(tonic::body::Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// The body of an answer: the message and that all is well.
enum Answer {
    Message(Bytes),
    Status,
    Nothing,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (frame, rest) = match std::mem::replace(&mut *self, Self::Nothing) {
            Self::Message(message) => (Frame::data(message), Self::Status),
            Self::Status => (Frame::trailers(well()), Self::Nothing),
            Self::Nothing => return Poll::Ready(None),
        };
        *self = rest;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

fn well() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static(WELL));
    trailers
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use tonic::Code;

    use super::*;

    const LIMIT: usize = 1000;

    type Frames = Vec<Frame<Bytes>>;

    fn pieces(bytes: &[u8], length: usize) -> Frames {
        let piece = |bytes: &[u8]| Frame::data(Bytes::copy_from_slice(bytes));
        bytes.chunks(length).map(piece).collect()
    }

    /// A body that comes in these pieces.
    fn body(frames: Frames) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        StreamBody::new(tokio_stream::iter(frames.into_iter().map(Ok)))
    }

    async fn read_all(frames: Frames) -> Result<Option<Bytes>, Status> {
        read(body(frames), LIMIT).await.map(|(message, _)| message)
    }

    #[tokio::test]
    async fn a_message_reads_the_same_in_whatever_pieces_it_comes() {
        for message in [&b""[..], b"a", &[7; LIMIT]] {
            let bytes = framed(message);
            for length in 1..=bytes.len() {
                let read = read_all(pieces(&bytes, length)).await.unwrap();
                assert_eq!(read.as_deref(), Some(message), "pieces of {length}");
            }
        }
        assert_eq!(read_all(pieces(b"", 1)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_not_one_message_is_refused_with_the_cause() {
        let mut compressed = framed(b"abc").to_vec();
        compressed[0] = 1;
        let cases: [(&[u8], Code, &str); 5] = [
            (
                &framed(&[7; LIMIT + 1]),
                Code::OutOfRange,
                "found 1001 bytes, the limit is: 1000",
            ),
            (
                &[framed(b"a"), framed(b"b")].concat(),
                Code::InvalidArgument,
                "more than one",
            ),
            (
                &framed(b"abc")[..7],
                Code::InvalidArgument,
                "ended within its message",
            ),
            (&[0; 4], Code::InvalidArgument, "ended within its message"),
            (&compressed, Code::Unimplemented, "compressed"),
        ];
        for (bytes, code, words) in cases {
            for length in [1, 6, bytes.len()] {
                let status = read_all(pieces(bytes, length)).await.unwrap_err();
                assert_eq!(status.code(), code, "{status}");
                assert!(status.message().contains(words), "{status}");
            }
        }
    }

    #[tokio::test]
    async fn of_a_message_that_is_too_long_no_more_is_read_than_its_head() {
        let mut body = body(pieces(&framed(&[7; LIMIT + 1]), 100));
        read(&mut body, LIMIT).await.unwrap_err();
        let mut unread = 0;
        while body.frame().await.is_some() {
            unread += 1;
        }
        assert_eq!(unread, 10);
    }

    /// An answer with this head and this body.
    fn answered(
        http: u16,
        head: Option<&str>,
        bytes: &[u8],
        end: Option<&str>,
    ) -> Response<impl Body<Data = Bytes, Error = Infallible> + Unpin + use<>> {
        let map = |status: &str| {
            let mut map = HeaderMap::new();
            map.insert(STATUS, status.parse().unwrap());
            map.insert("grpc-message", HeaderValue::from_static("in%20words"));
            map
        };
        let mut frames = pieces(bytes, 100);
        frames.extend(end.map(|status| Frame::trailers(map(status))));
        let mut response = Response::new(body(frames));
        *response.status_mut() = StatusCode::from_u16(http).unwrap();
        *response.headers_mut() = head.map(map).unwrap_or_default();
        response
    }

    #[tokio::test]
    async fn an_answer_is_a_message_or_a_status() {
        let bytes = framed(b"abc");
        let good = answered(200, None, &bytes, Some("0"));
        assert_eq!(message(good, LIMIT).await.unwrap(), &b"abc"[..]);
        let refused = [
            (answered(200, Some("7"), b"", None), Code::PermissionDenied),
            (
                answered(200, None, &bytes, Some("9")),
                Code::FailedPrecondition,
            ),
        ];
        for (answer, code) in refused {
            let status = message(answer, LIMIT).await.unwrap_err();
            assert_eq!((status.code(), status.message()), (code, "in words"));
        }
        let broken = [
            (answered(200, None, b"", Some("0")), "no message"),
            (answered(200, Some("0"), b"", None), "without a status"),
            (answered(200, None, &bytes, None), "without a status"),
            (answered(502, None, b"<html>", None), "HTTP status 502"),
            (
                answered(200, None, &bytes[..6], Some("0")),
                "broken: the call ended",
            ),
        ];
        for (answer, words) in broken {
            let status = message(answer, LIMIT).await.unwrap_err();
            assert_eq!(status.code(), Code::Unknown, "{status}");
            assert!(status.message().contains(words), "{status}");
        }
    }

    #[tokio::test]
    async fn what_is_answered_here_is_read_here() {
        assert_eq!(message(answer(b"abc"), LIMIT).await.unwrap(), &b"abc"[..]);
    }
}
