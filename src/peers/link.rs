//! A link: the task that keeps one neighbour up to date.
//!
//! It repeats one step for ever: take what stands behind the neighbour's
//! cursor, push it as one batch, move the cursor on the acknowledgement. While
//! one batch is on its way the next gathers in the feed, so batches grow with
//! load by themselves, and on a quiet link a report leaves at once. A busy link
//! lingers a little between batches: many small calls cost more than they carry.
//!
//! A link is up from a push that succeeded until a call gets no answer for all
//! its quick retries, or is refused for good. A link that is down tries
//! again for ever, with backoff, and at once when its neighbour greets as a new
//! incarnation.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use tokio::sync::watch;
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
use super::progress::LagTracker;
use super::wire::{self, MAX_PUSH_BYTES, PushWriter};

/// A neighbour may refuse to go on this often in a row, each time greeted again
/// between, before the link counts as down.
const MOST_REFUSALS: u32 = 2;

/// Pushes of this many reports are those of a busy link: there a call costs
/// both sides more than what it carries.
const BUSY_BATCH: usize = 32;

/// A batch of more bytes than this may have been cut for its size: of which the
/// limit is a report's length more.
const LARGE_BATCH: usize = MAX_PUSH_BYTES / 2;

/// That a link is down for yet another reason is told once in this time: some
/// troubles have many faces.
const TELL_PAUSE: Duration = Duration::from_secs(10);

/// While a busy link's push is under way, the server looks so often whether it is
/// short of time,
const ALARM: Duration = Duration::from_millis(4);

/// which it is where that look comes later by this. Timers are as coarse as a
/// millisecond.
const LATE: Duration = Duration::from_millis(3);

/// One neighbour's link. [`run`](Self::run) it as a task.
#[derive(Debug)]
pub struct Link {
    gateway: Arc<Gateway>,
    neighbour: NeighbourId,
    name: Name,
    caller: Caller,
    settings: PeerSettings,
    outbox: SendCursor,
    transcript: Transcript,
    /// How large the last batch was, in bytes: a guess at the next.
    batch_bytes: usize,
    /// The quickest answer since the last greeting, and with it: what a call
    /// takes whatever its size.
    round_trip: Duration,
    progress: LagTracker,
    /// When the neighbour forgets reports, by its last answer to a greeting.
    expiry: Option<Option<Duration>>,
    /// Has a push succeeded since the link was down last?
    has_progressed: bool,
    /// Why it was told to be down.
    told_down: ReasonThrottle,
}

/// Why a link stopped pushing.
enum End {
    /// The server shuts down, and the neighbour has all that it needs.
    Finished,
    /// The neighbour has restarted: greet it, then go on.
    GreetAgain,
    /// The neighbour asks to be greeted, for this reason.
    Rejected(Status),
    /// Nothing will come of it for now.
    Down(String),
}

impl Link {
    /// A link that has not greeted yet.
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
            outbox: SendCursor::new(neighbour, settings.batch_reports),
            transcript: Transcript::neighbour(log, name.as_str()),
            name,
            settings: settings.clone(),
            batch_bytes: 0,
            round_trip: Duration::ZERO,
            progress: LagTracker::default(),
            expiry: None,
            has_progressed: false,
            told_down: ReasonThrottle::new(TELL_PAUSE),
            gateway,
        }
    }

    /// Keeps the neighbour up to date until `finish` becomes true, and then
    /// until it has all that it needs or the link is down.
    pub async fn run(mut self, mut finish: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(self.settings.backoff_cap);
        while let Err(reason) = self.talk(&mut finish).await {
            self.note_down(&reason);
            // A greeting alone is no progress: a neighbour that then refuses
            // every push is tried ever more slowly too.
            if std::mem::take(&mut self.has_progressed) {
                backoff.reset();
            }
            tokio::select! {
                () = sleep(backoff.pause()) => {}
                () = self.new_incarnation() => {}
                () = finished(&mut finish) => return,
            }
        }
    }

    /// Greets and pushes until all is done, or the link is down for a reason.
    async fn talk(&mut self, finish: &mut watch::Receiver<bool>) -> Result<(), String> {
        let mut refusals = 0;
        loop {
            self.greet().await.map_err(|failure| failure.to_string())?;
            match self.push_on(finish, &mut refusals).await {
                End::Finished => return Ok(()),
                End::GreetAgain => {}
                End::Rejected(status) if refusals < MOST_REFUSALS => {
                    debug!("greets {} again: {}", self.name, status.message());
                }
                End::Rejected(status) => return Err(CallError::Rejected(status).to_string()),
                End::Down(reason) => return Err(reason),
            }
        }
    }

    /// Resolves when another incarnation of the neighbour greets than the one
    /// that this link greeted.
    fn new_incarnation(&self) -> impl Future<Output = ()> + use<> {
        let (gateway, neighbour, greeted) =
            (self.gateway.clone(), self.neighbour, self.outbox.greeted());
        async move { gateway.board().new_incarnation(neighbour, greeted).await }
    }

    async fn greet(&mut self) -> Result<(), CallError> {
        let greeting = self.gateway.replica().greeting(self.neighbour);
        let call = PeerRequest::Greet(Arc::new(wire::greet_request(&greeting)));
        let sent = Instant::now();
        let PeerResponse::Greet(answer) = self.call(call).await? else {
            unreachable!("a greeting is answered as one");
        };
        let incarnation = self.judge(&answer).map_err(CallError::NoResponse)?;
        let replica = self.gateway.replica();
        self.outbox
            .start_at(replica, incarnation, answer.applied_sequence);
        self.round_trip = sent.elapsed();
        self.progress = LagTracker::default();
        self.note_progress();
        self.note_cursor();
        self.compare_expiry(wire::expire_after(&answer));
        Ok(())
    }

    /// Servers that forget at different times answer differently for ever.
    fn compare_expiry(&mut self, theirs: Option<Duration>) {
        let ours = self.gateway.replica().expire_after();
        if self.expiry.replace(theirs) == Some(theirs) || theirs == ours {
            return;
        }
        let words = |after: Option<Duration>| {
            after.map_or("off".to_owned(), |after| format_duration(after).to_string())
        };
        warn!(
            "{} has expire_after at {}, this server at {}: set it alike on all servers, or they \
             show clients different positions",
            self.name,
            words(theirs),
            words(ours)
        );
    }

    /// Is it the neighbour that answered?
    fn judge(&self, answer: &GreetResponse) -> Result<Incarnation, String> {
        let herd = self.gateway.replica().identity().herd.as_str();
        if answer.receiver != self.name.as_str() || answer.herd != herd {
            let other = wire::name_of(answer);
            return Err(format!("{other} answered in its place: check its address"));
        }
        let (major, minor) = (answer.version_major, answer.version_minor);
        if major != VERSION.major {
            return Err(format!(
                "it speaks protocol version {major}.{minor}, this server {}.{}: major versions must be equal",
                VERSION.major, VERSION.minor
            ));
        }
        Incarnation::new(answer.receiver_incarnation).ok_or("it named no incarnation".to_owned())
    }

    /// Pushes until something ends it. `refusals` counts those in a row: every
    /// push that succeeds sets it to 0.
    async fn push_on(&mut self, finish: &mut watch::Receiver<bool>, refusals: &mut u32) -> End {
        // The first push comes at once, if only as a heartbeat: it is what shows
        // that the link is up.
        let mut heartbeat = Instant::now();
        loop {
            let last = self.gateway.replica().store().last();
            let (span, frame) = self.next_batch();
            if span.reports == 0 {
                if !self.outbox.is_at_end(self.gateway.replica()) {
                    tokio::task::yield_now().await;
                    continue;
                }
                self.progress.finished();
                self.note_progress();
                match self.rest(finish, heartbeat).await {
                    Woken::News => continue,
                    Woken::Greet => return End::GreetAgain,
                    Woken::Finish => return End::Finished,
                    Woken::Heartbeat => {}
                }
            }
            let worth_waiting = self.is_worth_waiting(span, &frame);
            let sent = Instant::now();
            if span.reports > 0 {
                self.progress.pushing(last, sent);
                self.note_progress();
            }
            if let Err(end) = self.push_unless_greeted(span, frame).await {
                *refusals += u32::from(matches!(end, End::Rejected(_)));
                return end;
            }
            *refusals = 0;
            heartbeat = Instant::now() + self.settings.heartbeat;
            if worth_waiting && !self.gather(finish, sent).await {
                return End::GreetAgain;
            }
        }
    }

    /// Is it better to let reports gather than to push at once? Where they come
    /// by the dozen, since a call takes both sides as long as many reports; but
    /// not where a batch was cut, since more than it holds is waiting.
    fn is_worth_waiting(&self, span: Span, frame: &PushFrame) -> bool {
        let is_cut = self.outbox.is_full(span) || frame.0.len() > LARGE_BATCH;
        is_busy(span) && !is_cut
    }

    /// Lets reports gather until [`linger`](PeerSettings::linger) after the last
    /// push, or until the server shuts down. Gives `false` where the neighbour
    /// has to be greeted instead.
    async fn gather(&self, finish: &mut watch::Receiver<bool>, last: Instant) -> bool {
        tokio::select! {
            biased;
            () = self.new_incarnation() => false,
            () = finished(finish) => true,
            () = sleep_until(last + self.settings.linger) => true,
        }
    }

    /// Waits until there is a reason not to. News come before the end of the
    /// server: it finishes only when there is none left.
    async fn rest(&self, finish: &mut watch::Receiver<bool>, heartbeat: Instant) -> Woken {
        tokio::select! {
            biased;
            () = self.new_incarnation() => Woken::Greet,
            () = self.gateway.board().news(self.neighbour) => Woken::News,
            () = sleep_until(heartbeat) => Woken::Heartbeat,
            () = finished(finish) => Woken::Finish,
        }
    }

    /// The next batch, encoded: all that stands behind the cursor and fits.
    fn next_batch(&mut self) -> (Span, PushFrame) {
        let replica = self.gateway.replica();
        self.transcript.at(self.gateway.clock().now().0);
        let mut batch = Writing {
            push: PushWriter::with_capacity(self.batch_bytes),
            transcript: &mut self.transcript,
            line: Vec::new(),
        };
        let span = self.outbox.fill(replica, &mut batch);
        let incarnation = self.outbox.greeted().map_or(0, Incarnation::get);
        let me = replica.identity();
        let frame = batch.push.finish(&PushHeader {
            herd: me.herd.as_str(),
            sender: me.name.as_str(),
            sender_incarnation: me.incarnation.get(),
            receiver_incarnation: incarnation,
            from: span.from,
            to: span.to,
        });
        self.transcript.hand_in();
        if span.reports > 0 {
            self.batch_bytes = frame.0.len();
        }
        (span, frame)
    }

    /// Pushes, but lets go when a new incarnation of the neighbour greets
    /// meanwhile: the one that the push is on its way to may never answer.
    async fn push_unless_greeted(&mut self, span: Span, frame: PushFrame) -> Result<(), End> {
        let greeted_anew = self.new_incarnation();
        // On a quiet link an alarm costs a twelfth of the time of a push, and
        // would tell nothing.
        let is_busy = is_busy(span);
        let mut watch = pin!(probe_scheduler_lag(self.gateway.clone()));
        tokio::select! {
            biased;
            pushed = self.push(span, frame) => pushed,
            () = greeted_anew => Err(End::GreetAgain),
            never = &mut watch, if is_busy => match never {},
        }
    }

    async fn push(&mut self, span: Span, frame: PushFrame) -> Result<(), End> {
        let sent = Instant::now();
        let applied = match self.call(PeerRequest::Push(frame)).await {
            Ok(PeerResponse::Push(answer)) => answer.applied_sequence,
            Ok(PeerResponse::Greet(_)) => unreachable!("a push is answered as one"),
            Err(failure) => return Err(self.failed(span, failure)),
        };
        if applied < span.to {
            let to = span.to;
            return Err(End::Down(format!(
                "it acknowledged number {applied} where {to} was due"
            )));
        }
        self.outbox
            .acknowledged(self.gateway.replica(), span, applied);
        self.has_progressed = true;
        self.note_up();
        let now = Instant::now();
        let took = now - sent;
        self.progress.acknowledged(self.outbox.cursor(), now);
        self.note_progress();
        self.traffic().sent(span.reports, took);
        self.note_speed(span, took);
        self.note_cursor();
        Ok(())
    }

    /// Lets batches grow while their size adds little to the time of a call, so
    /// that a slow link settles at a size that it bears, and a far one is not
    /// taken for slow.
    fn note_speed(&mut self, span: Span, took: Duration) {
        self.round_trip = self.round_trip.min(took);
        if took - self.round_trip < self.settings.attempt / 4 {
            self.outbox.grow(span);
        }
    }

    fn failed(&mut self, span: Span, failure: CallError) -> End {
        self.traffic().calls_failed.add(1);
        match failure {
            CallError::Rejected(status) if status.code() == Code::FailedPrecondition => {
                End::Rejected(status)
            }
            CallError::Rejected(_) => End::Down(failure.to_string()),
            CallError::NoResponse(_) => {
                self.outbox.shrink(span);
                End::Down(failure.to_string())
            }
        }
    }

    async fn call(&mut self, call: PeerRequest) -> Result<PeerResponse, CallError> {
        self.caller.ready().await?.call(call).await
    }

    fn traffic(&self) -> &LinkTraffic {
        self.gateway.board().traffic(self.neighbour)
    }

    fn note_up(&self) {
        let now = self.gateway.clock().now();
        if self.gateway.board().set_up(self.neighbour, now) {
            info!("link to {} is up", self.name);
        }
    }

    fn note_down(&mut self, reason: &str) {
        self.progress = LagTracker::default();
        self.note_progress();
        let now = self.gateway.clock().now();
        let board = self.gateway.board();
        let before = board.set_down(self.neighbour, now, reason);
        if board.is_closing() || !self.told_down.turn(before.is_up, reason) {
            debug!("link to {} is down: {reason}", self.name);
            return;
        }
        warn!("link to {} is down: {reason}", self.name);
    }

    fn note_progress(&self) {
        let most = self.settings.target_lag;
        let lags = most.and_then(|most| self.progress.lags(most + 2 * self.round_trip));
        self.gateway.board().set_lagging(self.neighbour, lags);
    }

    fn note_cursor(&self) {
        let board = self.gateway.board();
        board.set_cursor(self.neighbour, self.outbox.cursor());
    }
}

/// Why a resting link woke.
enum Woken {
    News,
    Greet,
    Heartbeat,
    Finish,
}

/// Is this batch one of a busy link?
fn is_busy(span: Span) -> bool {
    span.reports >= BUSY_BATCH
}

/// Resolves when the server shuts down; a server that is gone counts as such.
async fn finished(finish: &mut watch::Receiver<bool>) {
    let _ = finish.wait_for(|&finish| finish).await;
}

/// Notes when this server is short of time: where its own alarms ring late.
async fn probe_scheduler_lag(gateway: Arc<Gateway>) -> Infallible {
    let mut alarm = Instant::now() + ALARM;
    loop {
        sleep_until(alarm).await;
        let now = Instant::now();
        if now - alarm >= LATE {
            gateway.board().note_overloaded(now);
        }
        alarm = now + ALARM;
    }
}

/// A batch that is written down in the transcript as well.
struct Writing<'a> {
    push: PushWriter,
    transcript: &'a mut Transcript,
    line: Vec<u8>,
}

impl BatchBuilder for Writing<'_> {
    fn add(&mut self, report: &Report<'_>) -> bool {
        let added = self.push.add(report);
        if added && self.transcript.is_on() {
            self.line.clear();
            reply::at(&mut self.line, report);
            self.transcript.said(&self.line);
        }
        added
    }
}
