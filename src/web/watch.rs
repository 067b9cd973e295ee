//! Server-sent events: reports as the server accepts them.
//!
//! The feed is read at the pace of the reader ([`FeedWatch`]), so a slow one costs no memory: it
//! misses reports that newer ones of the same client replaced, and is sent their number.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument;

use crate::gateway::{FeedWatch, Gateway, ReportFilter, WatchBatch, WatchStart};
use crate::model::bounding_box::BoundingBox;
use crate::model::report::Report;

use super::answer::typed;
use super::clients::cursor;
use super::feature::Feature;
use super::parameters::Parameters;
use super::problem::Problem;
use super::state::{Connection, Web};

/// Interval of events without a report.
const SILENCE: Duration = Duration::from_secs(5);

/// Time after which a watch ends whose reader accepts nothing: several of the intervals above.
const MAX_STALL: Duration = Duration::from_secs(30);

/// Seconds after which a caller may try again if there are too many watches.
const RETRY_SECONDS: u64 = 5;

/// The position at which a watch begins.
enum Start {
    /// After this change.
    After(u64),
    /// After this one, since the requested position is not known here.
    Reset(u64),
}

/// A watch that sends its batches as events.
struct EventStream {
    gateway: Arc<Gateway>,
    watch: FeedWatch,
    /// The last sequence number that was sent.
    sequence: u64,
    _permit: OwnedSemaphorePermit,
}

#[derive(Serialize)]
struct Missed {
    replaced: u64,
}

#[derive(Serialize)]
struct Reset<'a> {
    cursor: &'a str,
}

/// Answers `/api/v1/watch`.
pub(super) async fn watch(
    State(web): Web,
    Extension(connection): Extension<Connection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let filter = filter(&uri)?;
    let gateway = web.gateway().clone();
    let start = start(&gateway, &headers)?;
    let permit = web.watches.clone().try_acquire_owned().map_err(|_| {
        web.rejected().max_watches.add(1);
        Problem::too_many(
            "this server has as many watches as it permits: try again later",
            RETRY_SECONDS,
        )
    })?;
    let mut first = "retry: 1000\n\n".to_owned();
    let sequence = match start {
        Start::After(sequence) => sequence,
        Start::Reset(sequence) => {
            let cursor = cursor(gateway.replica(), sequence);
            first += &event(&cursor, "reset", &Reset { cursor: &cursor });
            sequence
        }
    };
    let events = EventStream {
        watch: FeedWatch::new(&gateway, filter, WatchStart::after(sequence)),
        gateway,
        sequence,
        _permit: permit,
    };
    // One place for a batch, and one for the event of a silence before it.
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(events.run(first, sender).in_current_span());
    let deadline = connection.deadline;
    deadline.extend(MAX_STALL);
    let body = ReceiverStream::new(receiver).map(move |text| {
        // The reader has taken the text before.
        deadline.extend(MAX_STALL);
        Ok::<_, std::convert::Infallible>(Bytes::from(text))
    });
    Ok(typed("text/event-stream", Body::from_stream(body)))
}

fn filter(uri: &Uri) -> Result<ReportFilter, Problem> {
    let parameters = Parameters::read(uri, &["bbox", "prefix", "client"])?;
    let bounds = parameters.bbox()?;
    let prefix = parameters.prefix()?.into_bytes();
    let client = parameters.client()?.map(|id| id.as_bytes().to_vec());
    let is_world = bounds == BoundingBox::WORLD;
    Ok(Arc::new(move |report: &Report<'_>| {
        let id = report.client.bytes();
        client.as_ref().is_none_or(|client| client == id)
            && id.starts_with(&prefix)
            && (is_world || bounds.contains(report.position.degrees()))
    }))
}

fn start(gateway: &Gateway, headers: &HeaderMap) -> Result<Start, Problem> {
    let replica = gateway.replica();
    let last = replica.store().last();
    let Some(text) = headers.get("last-event-id") else {
        return Ok(Start::After(last));
    };
    let (incarnation, sequence) = text.to_str().ok().and_then(parse_cursor).ok_or_else(|| {
        Problem::bad_request(
            "Last-Event-ID: must be a cursor, the id of an event or the cursor of \
             /api/v1/clients",
        )
    })?;
    let is_known = incarnation == replica.incarnation().get() && sequence <= last;
    Ok(if is_known {
        Start::After(sequence)
    } else {
        Start::Reset(last)
    })
}

/// Returns the incarnation and the sequence number; a sequence number that is too long is one that
/// no server has.
fn parse_cursor(text: &str) -> Option<(u64, u64)> {
    let (incarnation, sequence) = text.split_once('-')?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_valid = incarnation.len() == 16
        && incarnation.bytes().all(is_hex)
        && (1..=20).contains(&sequence.len())
        && sequence.bytes().all(|byte| byte.is_ascii_digit());
    let incarnation = u64::from_str_radix(incarnation, 16).ok()?;
    is_valid.then(|| (incarnation, sequence.parse().unwrap_or(u64::MAX)))
}

impl EventStream {
    /// Sends events until the caller leaves or the server shuts down.
    async fn run(mut self, first: String, sender: mpsc::Sender<String>) {
        let gateway = self.gateway.clone();
        let drain = gateway.shutdown().drain();
        drain
            .run_until_cancelled(async {
                if sender.send(first).await.is_ok() {
                    self.send_all(&sender).await;
                }
            })
            .await;
    }

    async fn send_all(&mut self, sender: &mpsc::Sender<String>) {
        // A batch is read once there is room for it.
        while let Ok(permit) = sender.reserve().await {
            let batch = tokio::select! {
                batch = self.watch.next() => batch,
                () = keep_alive(&self.gateway, self.sequence, sender) => return,
            };
            // The log has the panic of a read.
            let Ok(batch) = batch else { return };
            let text = self.events(&batch);
            self.sequence = batch.sequence;
            if !text.is_empty() {
                permit.send(text);
            }
        }
    }

    fn events(&self, batch: &WatchBatch) -> String {
        let replica = self.gateway.replica();
        let now = self.gateway.clock().now();
        let mut text = String::new();
        if batch.replaced > 0 {
            let missed = Missed {
                replaced: batch.replaced,
            };
            // A reader that resumes here receives the reports below again.
            text += &event(&cursor(replica, self.sequence), "missed", &missed);
        }
        for known in &batch.reports {
            if let Some(feature) = Feature::of(known, now, None) {
                text += &event(&cursor(replica, known.sequence), "report", &feature);
            }
        }
        text
    }
}

/// Sends a comment and the newest ID in each interval, until the caller leaves.
async fn keep_alive(gateway: &Gateway, sequence: u64, sender: &mpsc::Sender<String>) {
    let text = format!("id: {}\n:\n\n", cursor(gateway.replica(), sequence));
    loop {
        tokio::select! {
            () = sleep(SILENCE) => {}
            () = sender.closed() => return,
        }
        if sender.send(text.clone()).await.is_err() {
            return;
        }
    }
}

/// Returns the text of an event.
fn event(id: &str, name: &str, data: &impl Serialize) -> String {
    format!("id: {id}\nevent: {name}\ndata: {}\n\n", line(data))
}

/// Returns JSON without a line end, which would end the event.
fn line(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("events have text keys and no errors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_an_incarnation_and_a_sequence_number() {
        assert_eq!(parse_cursor("00000000000000ff-12"), Some((255, 12)));
        let last = parse_cursor("ffffffffffffffff-99999999999999999999");
        assert_eq!(last, Some((u64::MAX, u64::MAX)));
        for bad in [
            "",
            "12",
            "ff-12",
            "00000000000000FF-12",
            "00000000000000ff-",
            "00000000000000ff-1-2",
            "00000000000000ff--1",
            "00000000000000ff-123456789012345678901",
        ] {
            assert_eq!(parse_cursor(bad), None, "{bad}");
        }
    }
}
