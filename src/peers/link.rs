//! A link: the task that keeps one neighbour up to date.
//!
//! It repeats one step: take the changes after the neighbour's cursor, push them as one
//! batch, and advance the cursor on the acknowledgement. The next batch gathers in the
//! feed while one is in flight, so batches grow with load, and on a quiet link a report
//! leaves at once. A busy link waits a little between batches, since many small pushes
//! cost more than their reports.
//!
//! A link is up from a successful push until a call fails with all its quick retries, or
//! is rejected more than twice in a row. A link that is down tries again with backoff,
//! and at once when its neighbour greets as a new incarnation.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Code, Status};
use tower::{Service, ServiceExt};
use tracing::{debug, info, warn};

use crate::gateway::{Gateway, LinkTraffic};
use crate::line_protocol::reply;
use crate::log::{Log, ReasonThrottle, Transcript};
use crate::model::name::Name;
use crate::model::report::Report;
use crate::proto::{GreetResponse, PushFrame};
use crate::replication::replica::{PushHeader, VERSION};
use crate::replication::send_cursor::{BatchBuilder, SendCursor, Span};
use crate::replication::{Incarnation, NeighbourId};

use super::PeerSettings;
use super::backoff::Backoff;
use super::policy::{CallError, Caller, PeerRequest, PeerResponse};
use super::wire::{self, MAX_PUSH_BYTES, PushWriter};

/// Number of rejections in a row, with a greeting after each, that leave the link up.
const MAX_CONSECUTIVE_REJECTIONS: u32 = 2;

/// Number of reports from which on a batch counts as one of a busy link. A push of fewer
/// costs both sides more than its reports.
const BUSY_BATCH_REPORTS: usize = 32;

/// Size from which on a batch may have been cut by the size limit, in bytes. The limit
/// is the length of a report above it.
const LARGE_BATCH_BYTES: usize = MAX_PUSH_BYTES / 2;

/// Minimum time between two log lines about a link that is down for changing reasons.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The link to one neighbour. [`run`](Self::run) is its task.
#[derive(Debug)]
pub struct Link {
    gateway: Arc<Gateway>,
    neighbour: NeighbourId,
    name: Name,
    caller: Caller,
    settings: PeerSettings,
    cursor: SendCursor,
    transcript: Transcript,
    /// Size of the last batch, in bytes: the expected size of the next.
    batch_bytes: usize,
    /// Shortest time of a call since the last greeting, that one included: the time of a
    /// call of any size.
    round_trip: Duration,
    /// The neighbour's `expire_after` in its last response to a greeting.
    expiry: Option<Option<Duration>>,
    /// True if a push has succeeded since the link was last down.
    has_progressed: bool,
    down_log: ReasonThrottle,
}

/// Why a link stopped pushing.
enum PushEnd {
    /// The server shuts down, and the neighbour has all changes.
    Finished,
    /// The neighbour has restarted and must be greeted.
    Restarted,
    /// The neighbour rejected a push and must be greeted.
    Rejected(Status),
    /// The link is down, for this reason.
    Down(String),
}

impl Link {
    /// Creates a link, which greets when it runs.
    pub fn new(
        gateway: Arc<Gateway>,
        neighbour: NeighbourId,
        caller: Caller,
        settings: &PeerSettings,
        log: &Log,
    ) -> Self {
        let name = gateway.replica().name_of(neighbour).clone();
        Self {
            neighbour,
            caller,
            cursor: SendCursor::new(neighbour, settings.batch_reports),
            transcript: Transcript::neighbour(log, name.as_str()),
            name,
            settings: settings.clone(),
            batch_bytes: 0,
            round_trip: Duration::ZERO,
            expiry: None,
            has_progressed: false,
            down_log: ReasonThrottle::new(LOG_INTERVAL),
            gateway,
        }
    }

    /// Keeps the neighbour up to date until the server finishes, and then until it has
    /// all changes or the link is down.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(self.settings.backoff_cap);
        let finish = self.gateway.shutdown().finish().clone();
        while let Err(reason) = self.greet_and_push().await {
            self.note_down(&reason);
            // A greeting alone is no progress: a neighbour that then rejects every
            // push is retried more slowly too.
            if std::mem::take(&mut self.has_progressed) {
                backoff.reset();
            }
            tokio::select! {
                () = sleep(backoff.next_delay()) => {}
                () = self.new_incarnation() => {}
                () = finish.cancelled() => return,
            }
        }
    }

    /// Greets and pushes until all is done.
    ///
    /// # Errors
    ///
    /// The reason why the link is down.
    async fn greet_and_push(&mut self) -> Result<(), String> {
        let mut rejections = 0;
        loop {
            self.greet().await.map_err(|error| error.to_string())?;
            match self.push_changes(&mut rejections).await {
                PushEnd::Finished => return Ok(()),
                PushEnd::Restarted => {}
                PushEnd::Rejected(status) if rejections < MAX_CONSECUTIVE_REJECTIONS => {
                    debug!("greets {} again: {}", self.name, status.message());
                }
                PushEnd::Rejected(status) => return Err(CallError::Rejected(status).to_string()),
                PushEnd::Down(reason) => return Err(reason),
            }
        }
    }

    /// Resolves when the neighbour greets as another incarnation than this link greeted.
    fn new_incarnation(&self) -> impl Future<Output = ()> + use<> {
        let (gateway, neighbour, greeted) =
            (self.gateway.clone(), self.neighbour, self.cursor.greeted());
        async move { gateway.links().new_incarnation(neighbour, greeted).await }
    }

    async fn greet(&mut self) -> Result<(), CallError> {
        let greeting = self.gateway.replica().greeting(self.neighbour);
        let call = PeerRequest::Greet(Arc::new(wire::greet_request(&greeting)));
        let sent = Instant::now();
        let PeerResponse::Greet(response) = self.call(call).await? else {
            unreachable!("a greeting has the response of one");
        };
        let incarnation = self
            .check_neighbour(&response)
            .map_err(CallError::NoResponse)?;
        let replica = self.gateway.replica();
        self.cursor
            .start_at(replica, incarnation, response.applied_sequence);
        self.round_trip = sent.elapsed();
        self.note_cursor();
        self.compare_expiry(wire::expire_after(&response));
        Ok(())
    }

    /// Warns if the neighbour's `expire_after` differs: then servers answer differently.
    fn compare_expiry(&mut self, theirs: Option<Duration>) {
        let ours = self.gateway.replica().expire_after();
        if self.expiry.replace(theirs) == Some(theirs) || theirs == ours {
            return;
        }
        let text = |after: Option<Duration>| {
            after.map_or("off".to_owned(), |after| format_duration(after).to_string())
        };
        warn!(
            "{} has expire_after at {}, this server at {}: set it alike on all servers; otherwise \
             they show clients different positions",
            self.name,
            text(theirs),
            text(ours)
        );
    }

    /// Checks that the neighbour responded, and returns its incarnation.
    ///
    /// # Errors
    ///
    /// Returns the reason why the response is invalid.
    fn check_neighbour(&self, response: &GreetResponse) -> Result<Incarnation, String> {
        let herd = self.gateway.replica().identity().herd.as_str();
        if response.receiver != self.name.as_str() || response.herd != herd {
            let other = wire::name_of(response);
            return Err(format!("{other} answered in its place: check its address"));
        }
        let (major, minor) = (response.version_major, response.version_minor);
        if major != VERSION.major {
            return Err(format!(
                "its protocol version {major}.{minor} is incompatible with version {}.{} of this \
                 server: major versions must be equal",
                VERSION.major, VERSION.minor
            ));
        }
        Incarnation::new(response.receiver_incarnation).ok_or("it named no incarnation".to_owned())
    }

    /// Pushes until something ends it. Counts `rejections` in a row: a successful push
    /// resets the number to 0.
    async fn push_changes(&mut self, rejections: &mut u32) -> PushEnd {
        // The first push leaves at once, if only as a heartbeat: it shows that the link
        // is up.
        let mut heartbeat = Instant::now();
        loop {
            let (span, frame) = self.next_batch();
            if span.reports == 0 {
                if !self.cursor.is_at_end(self.gateway.replica()) {
                    tokio::task::yield_now().await;
                    continue;
                }
                match self.wait(heartbeat).await {
                    Wakeup::Changes => continue,
                    Wakeup::Restart => return PushEnd::Restarted,
                    Wakeup::Finish => return PushEnd::Finished,
                    Wakeup::Heartbeat => {}
                }
            }
            let worth_waiting = self.is_worth_waiting(span, &frame);
            let sent = Instant::now();
            if let Err(end) = self.push_unless_greeted(span, frame).await {
                *rejections += u32::from(matches!(end, PushEnd::Rejected(_)));
                return end;
            }
            *rejections = 0;
            heartbeat = Instant::now() + self.settings.heartbeat;
            if worth_waiting && !self.gather(sent).await {
                return PushEnd::Restarted;
            }
        }
    }

    /// Returns true if reports should gather before the next push: if they come by the
    /// dozen, since a push costs both sides as much as many reports, and if the batch was
    /// not cut, since then more reports wait already.
    fn is_worth_waiting(&self, span: Span, frame: &PushFrame) -> bool {
        let is_cut = self.cursor.is_full(span) || frame.0.len() > LARGE_BATCH_BYTES;
        span.reports >= BUSY_BATCH_REPORTS && !is_cut
    }

    /// Waits until [`linger`](PeerSettings::linger) after the last push, or until the
    /// server shuts down. Returns `false` if the neighbour must be greeted instead.
    async fn gather(&self, last: Instant) -> bool {
        tokio::select! {
            biased;
            () = self.new_incarnation() => false,
            () = self.gateway.shutdown().finish().cancelled() => true,
            () = sleep_until(last + self.settings.linger) => true,
        }
    }

    /// Waits until there is something to do. Changes come before the end of the server,
    /// which finishes only when there are none left.
    async fn wait(&self, heartbeat: Instant) -> Wakeup {
        tokio::select! {
            biased;
            () = self.new_incarnation() => Wakeup::Restart,
            () = self.gateway.links().changed(self.neighbour) => Wakeup::Changes,
            () = sleep_until(heartbeat) => Wakeup::Heartbeat,
            () = self.gateway.shutdown().finish().cancelled() => Wakeup::Finish,
        }
    }

    /// Returns the next batch, encoded: all changes after the cursor that fit.
    fn next_batch(&mut self) -> (Span, PushFrame) {
        let replica = self.gateway.replica();
        let now = self.gateway.clock().now();
        self.transcript.set_time(now.0);
        let mut batch = RecordedBatch {
            push: PushWriter::with_capacity(self.batch_bytes),
            transcript: &mut self.transcript,
            line: Vec::new(),
        };
        let span = self.cursor.fill(replica, now, &mut batch);
        let incarnation = self.cursor.greeted().map_or(0, Incarnation::get);
        let me = replica.identity();
        let frame = batch.push.finish(&PushHeader {
            herd: me.herd.as_str(),
            sender: me.name.as_str(),
            sender_incarnation: me.incarnation.get(),
            receiver_incarnation: incarnation,
            from: span.from,
            to: span.to,
        });
        self.transcript.append_page();
        if span.reports > 0 {
            self.batch_bytes = frame.0.len();
        }
        (span, frame)
    }

    /// Pushes, and gives up if the neighbour greets as a new incarnation meanwhile: the
    /// old one may never respond.
    async fn push_unless_greeted(&mut self, span: Span, frame: PushFrame) -> Result<(), PushEnd> {
        let restarted = self.new_incarnation();
        tokio::select! {
            biased;
            pushed = self.push(span, frame) => pushed,
            () = restarted => Err(PushEnd::Restarted),
        }
    }

    async fn push(&mut self, span: Span, frame: PushFrame) -> Result<(), PushEnd> {
        let sent = Instant::now();
        let applied = match self.call(PeerRequest::Push(frame)).await {
            Ok(PeerResponse::Push(response)) => response.applied_sequence,
            Ok(PeerResponse::Greet(_)) => unreachable!("a push has the response of one"),
            Err(error) => return Err(self.failed(span, error)),
        };
        if applied < span.to {
            let to = span.to;
            return Err(PushEnd::Down(format!(
                "it acknowledged sequence number {applied} instead of {to}"
            )));
        }
        self.cursor
            .acknowledged(self.gateway.replica(), span, applied);
        self.has_progressed = true;
        self.note_up();
        let took = sent.elapsed();
        self.traffic().record_sent(span.reports, took);
        self.note_speed(span, took);
        self.note_cursor();
        Ok(())
    }

    /// Lets batches grow while their size adds little to the time of a call. So a slow
    /// link settles at a size that it can carry, and a distant neighbour does not count
    /// as slow.
    fn note_speed(&mut self, span: Span, took: Duration) {
        self.round_trip = self.round_trip.min(took);
        if took - self.round_trip < self.settings.attempt / 4 {
            self.cursor.grow(span);
        }
    }

    fn failed(&mut self, span: Span, error: CallError) -> PushEnd {
        self.traffic().counters.calls_failed.add(1);
        match error {
            CallError::Rejected(status) if status.code() == Code::FailedPrecondition => {
                PushEnd::Rejected(status)
            }
            CallError::Rejected(_) => PushEnd::Down(error.to_string()),
            CallError::NoResponse(_) => {
                self.cursor.shrink(span);
                PushEnd::Down(error.to_string())
            }
        }
    }

    async fn call(&mut self, call: PeerRequest) -> Result<PeerResponse, CallError> {
        self.caller.ready().await?.call(call).await
    }

    fn traffic(&self) -> &LinkTraffic {
        self.gateway.links().traffic(self.neighbour)
    }

    fn note_up(&self) {
        let now = self.gateway.clock().now();
        if self.gateway.links().set_up(self.neighbour, now) {
            info!("link to {} is up", self.name);
        }
    }

    fn note_down(&mut self, reason: &str) {
        let now = self.gateway.clock().now();
        let links = self.gateway.links();
        let before = links.set_down(self.neighbour, now, reason);
        if self.gateway.shutdown().has_begun() || !self.down_log.admit(before.is_up, reason) {
            debug!("link to {} is down: {reason}", self.name);
            return;
        }
        warn!("link to {} is down: {reason}", self.name);
    }

    fn note_cursor(&self) {
        let links = self.gateway.links();
        links.set_cursor(self.neighbour, self.cursor.cursor());
    }
}

/// Why a waiting link woke.
enum Wakeup {
    Changes,
    Restart,
    Heartbeat,
    Finish,
}

/// A batch whose reports are written to the transcript too.
struct RecordedBatch<'a> {
    push: PushWriter,
    transcript: &'a mut Transcript,
    line: Vec<u8>,
}

impl BatchBuilder for RecordedBatch<'_> {
    fn add(&mut self, report: &Report<'_>) -> bool {
        let added = self.push.add(report);
        if added && self.transcript.is_on() {
            self.line.clear();
            reply::at(&mut self.line, report);
            self.transcript.sent(&self.line);
        }
        added
    }
}
