//! A link: the task that keeps one neighbour up to date.
//!
//! The decisions are those of [`LinkMachine`]. This file gives it a network: it makes the
//! calls, waits, writes the transcript and counts.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use tower::{Service, ServiceExt};
use tracing::{Instrument, debug, info, warn};

use crate::gateway::{Gateway, LinkTraffic, draw_incarnation};
use crate::log::{Log, ReasonThrottle, Transcript};
use crate::model::name::Name;
use crate::model::timestamp::UnixNanos;
use crate::proto::{GreetResponse, PushFrame, PushResponse};
use crate::random;
use crate::replication::anti_entropy::ComparedRange;
use crate::replication::link::{CallFailure, LinkAction, LinkMachine, LinkRules, MIN_LOAD};
use crate::replication::messages::{PushHeader, VERSION};
use crate::replication::send_cursor::Span;
use crate::replication::{Incarnation, NeighbourId};

use super::PeerSettings;
use super::batch::RecordedBatch;
use super::clock_check::ClockCheck;
use super::comparison::{self, CollectedBatch};
use super::policy::{CallError, Caller, PeerRequest, PeerResponse};
use crate::wire::{self, PushWriter};

/// Minimum time between two log lines about a link that is down for changing reasons.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Size that the buffer of transcript lines keeps between two batches, in bytes.
const MAX_IDLE_LINE_BYTES: usize = 16 * 1024;

/// The link to one neighbour. [`run`](Self::run) is its task.
#[derive(Debug)]
pub struct Link {
    gateway: Arc<Gateway>,
    neighbour: NeighbourId,
    name: Name,
    caller: Caller,
    machine: LinkMachine,
    max_reports: usize,
    /// The machine's times are since then.
    start: Instant,
    transcript: Transcript,
    /// The lines of the batch in flight. They are written once it is acknowledged, so that
    /// a batch that is pushed again is written once.
    lines: Vec<u8>,
    /// Size of the last batch, in bytes: the expected size of the next.
    batch_bytes: usize,
    /// A comparison with the neighbour, or a collection of reports, that is under way.
    comparison: Option<AbortOnDropHandle<ComparisonOutcome>>,
    /// The batches that were collected, in the order in which they are pushed.
    collected: VecDeque<CollectedBatch>,
    /// The neighbour's `expire_after` in its last response to a greeting.
    expiry: Option<Option<Duration>>,
    clock_check: ClockCheck,
    down_log: ReasonThrottle,
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
        let rules = LinkRules {
            heartbeat: settings.heartbeat,
            attempt: settings.attempt,
            backoff_cap: settings.backoff_cap,
            linger: settings.linger,
            batch_reports: settings.batch_reports,
            min_load: MIN_LOAD,
            anti_entropy: settings.anti_entropy,
        };
        Self {
            neighbour,
            caller,
            machine: LinkMachine::new(neighbour, rules, random::u64()),
            max_reports: settings.batch_reports,
            start: Instant::now(),
            transcript: Transcript::neighbour(log, name.as_str()),
            lines: Vec::new(),
            clock_check: ClockCheck::new(name.clone()),
            name,
            batch_bytes: 0,
            comparison: None,
            collected: VecDeque::new(),
            expiry: None,
            down_log: ReasonThrottle::new(LOG_INTERVAL),
            gateway,
        }
    }

    /// Keeps the neighbour up to date until the server finishes, and then until it has
    /// all changes or the link is down.
    pub async fn run(mut self) {
        loop {
            let (action, push) = self.next();
            match action {
                LinkAction::Greet => self.greet().await,
                LinkAction::Push(span) => {
                    self.push(span, push).await;
                }
                LinkAction::PushAgain(span) => self.push_again(span).await,
                LinkAction::Compare => self.compare(),
                LinkAction::Collect(ranges) => self.collect(ranges),
                LinkAction::Yield => tokio::task::yield_now().await,
                LinkAction::Wait { until, for_changes } => self.wait(until, for_changes).await,
                LinkAction::End => return,
            }
        }
    }

    /// Returns the next action, and the batch of a push.
    fn next(&mut self) -> (LinkAction, PushWriter) {
        let clock = self.gateway.clock().now();
        self.transcript.set_time(clock.0);
        self.lines.clear();
        let earlier = self.clock_check.earlier(clock);
        let now = self.now();
        let lines = std::mem::take(&mut self.lines);
        let mut batch = RecordedBatch::new(self.batch_bytes, lines, self.transcript.is_on());
        let action = self
            .machine
            .next(self.gateway.replica(), (now, earlier), &mut batch);
        self.lines = batch.lines;
        (action, batch.push)
    }

    async fn greet(&mut self) {
        self.comparison = None;
        self.collected.clear();
        let replica = self.gateway.replica();
        let own = self.machine.own_incarnation();
        let own = own.expect("the machine has chosen it for this greeting");
        let greeting = replica.greeting(self.neighbour, own);
        let call = PeerRequest::Greet(Arc::new(wire::greet_request(&greeting)));
        let sent = Instant::now();
        match self.call(call).await {
            Some(Ok(PeerResponse::Greet(response))) => self.greeted(&response, sent),
            Some(Ok(_)) => unreachable!("a greeting has the response of one"),
            Some(Err(error)) => self.failed(failure(error)),
            None => {}
        }
    }

    fn greeted(&mut self, response: &GreetResponse, sent: Instant) {
        let incarnation = match self.check_neighbour(response) {
            Ok(incarnation) => incarnation,
            Err(reason) => return self.failed(CallFailure::Rejected(reason)),
        };
        let now = self.now();
        let replica = self.gateway.replica();
        let progress = wire::progress(response.applied_sequence, &response.pushes);
        let greeted = self.machine.greeted(replica, now, incarnation, &progress);
        if let Err(failure) = greeted {
            return self.failed(failure);
        }
        let cursor = self.machine.cursor().cursor();
        self.gateway.links().set_cursor(self.neighbour, cursor);
        self.clock_check.restart();
        let now = self.gateway.clock().now();
        let theirs = UnixNanos(response.clock_nanos);
        let offset = self.clock_check.record(sent, theirs, now);
        let links = self.gateway.links();
        links.set_clock_offset(self.neighbour, offset);
        self.compare_expiry(wire::expire_after(response));
    }

    /// Warns if the neighbour's `expire_after` differs: then servers answer differently.
    fn compare_expiry(&mut self, theirs: Option<Duration>) {
        let ours = self.gateway.replica().expire_after();
        self.machine.set_comparable(theirs == ours);
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
        let herd = self.gateway.replica().herd().as_str();
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

    /// Pushes a batch. Returns whether it was acknowledged.
    async fn push(&mut self, span: Span, push: PushWriter) -> bool {
        let frame = self.frame(span, push);
        if span.reports > 0 {
            self.batch_bytes = frame.0.len();
        }
        let sent = Instant::now();
        match self.call(PeerRequest::Push(frame)).await {
            Some(Ok(PeerResponse::Push(response))) => {
                return self.acknowledged(span, sent, &response);
            }
            Some(Ok(_)) => unreachable!("a push has the response of one"),
            Some(Err(error)) => self.failed(failure(error)),
            None => {}
        }
        false
    }

    async fn push_again(&mut self, span: Span) {
        let Some(CollectedBatch { batch, .. }) = self.collected.pop_front() else {
            unreachable!("the machine has the sizes of these batches");
        };
        self.lines = batch.lines;
        if self.push(span, batch.push).await {
            let counters = &self.traffic().counters;
            counters.reports_pushed_again.add(span.reports as u64);
        }
    }

    fn compare(&mut self) {
        let (gateway, caller) = (self.gateway.clone(), self.caller.clone());
        let greeted = self.machine.cursor().greeted();
        let work = async move {
            let compared = comparison::compare(gateway, caller, greeted).await;
            ComparisonOutcome::Compared(compared)
        };
        self.comparison = Some(AbortOnDropHandle::new(tokio::spawn(work.in_current_span())));
    }

    fn collect(&mut self, ranges: Vec<usize>) {
        let gateway = self.gateway.clone();
        let limits = (self.machine.max_batch_bytes(), self.max_reports);
        let is_recorded = self.transcript.is_on();
        let work = async move {
            let batches = comparison::collect(gateway, ranges, limits, is_recorded).await;
            ComparisonOutcome::Collected(batches)
        };
        self.comparison = Some(AbortOnDropHandle::new(tokio::spawn(work.in_current_span())));
    }

    fn note_comparison(&mut self, outcome: ComparisonOutcome) {
        let now = self.now();
        match outcome {
            ComparisonOutcome::Collected(batches) => {
                let sizes = batches.iter().map(CollectedBatch::size).collect();
                self.machine.collected(now, sizes);
                self.collected = batches;
            }
            ComparisonOutcome::Compared(Ok(ranges)) => {
                let differ = self.machine.compared(now, Some(&ranges), random::u64());
                let counters = &self.traffic().counters;
                counters.comparisons.add(1);
                counters.ranges_differed.add(differ as u64);
                if differ > 0 {
                    warn!(
                        "{} and this server hold different reports in {differ} of {} ranges of \
                         clients, though the link has caught up: pushes the reports of these \
                         ranges again",
                        self.name,
                        ranges.len()
                    );
                }
            }
            ComparisonOutcome::Compared(Err(reason)) => {
                debug!("no comparison with {}: {reason}", self.name);
                self.machine.compared(now, None, random::u64());
            }
        }
    }

    fn frame(&self, span: Span, push: PushWriter) -> PushFrame {
        let replica = self.gateway.replica();
        let greeted = self.machine.cursor().greeted();
        let number = |incarnation: Option<Incarnation>| incarnation.map_or(0, Incarnation::get);
        let check = push.check((span.from, span.to));
        if let Some(check) = check {
            self.machine.sent(replica, span, check);
        }
        let header = PushHeader {
            herd: replica.herd().as_str(),
            sender: replica.name().as_str(),
            sender_incarnation: number(self.machine.own_incarnation()),
            receiver_incarnation: number(greeted),
            from: span.from,
            to: span.to,
            check,
        };
        push.finish_tagged(&header, self.machine.vector(), replica)
    }

    /// Returns whether the acknowledgement covers the push.
    fn acknowledged(&mut self, span: Span, sent: Instant, response: &PushResponse) -> bool {
        let (took, clock) = (sent.elapsed(), self.gateway.clock().now());
        let theirs = UnixNanos(response.clock_nanos);
        let offset = self.clock_check.record(sent, theirs, clock);
        let now = self.now();
        let replica = self.gateway.replica();
        let answer = wire::push_answer(response).map_err(CallFailure::Rejected);
        let acknowledged = answer.and_then(|it| self.machine.acknowledged(replica, now, &it));
        if let Err(failure) = acknowledged {
            self.failed(failure);
            return false;
        }
        self.write_lines();
        self.traffic().record_sent(span.reports, took);
        let (links, cursor) = (self.gateway.links(), self.machine.cursor().cursor());
        if let Some(position) = self.machine.caught_up() {
            links.note_acknowledged(position);
        }
        if links.set_up(self.neighbour, clock, cursor, span.reports, offset) {
            info!("link to {} is up", self.name);
        }
        true
    }

    fn write_lines(&mut self) {
        for line in self.lines.split_inclusive(|&byte| byte == b'\n') {
            self.transcript.sent(line);
        }
        self.transcript.append_page();
        self.lines.clear();
        self.lines.shrink_to(MAX_IDLE_LINE_BYTES);
    }

    fn failed(&mut self, failure: CallFailure) {
        self.traffic().counters.calls_failed.add(1);
        if let CallFailure::IncarnationUsed(used) = &failure {
            let fresh = draw_incarnation();
            self.gateway.renew_incarnation(*used, fresh, &self.name);
        }
        self.machine.failed(self.now(), &failure, random::u64());
        if self.machine.is_down() {
            self.note_down(failure.reason());
        } else {
            debug!("greets {} again: {}", self.name, failure.reason());
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

    /// Makes a call. Returns `None` if it was given up, since the neighbour has greeted as
    /// a new incarnation meanwhile.
    async fn call(&mut self, call: PeerRequest) -> Option<Result<PeerResponse, CallError>> {
        let (caller, machine) = (&mut self.caller, &mut self.machine);
        let (links, neighbour) = (self.gateway.links(), self.neighbour);
        let mut call = std::pin::pin!(async { caller.ready().await?.call(call).await });
        loop {
            tokio::select! {
                biased;
                response = &mut call => return Some(response),
                incarnation = links.greeting(neighbour) => {
                    if machine.neighbour_greeted(incarnation) {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits for a time, or until something happens.
    async fn wait(&mut self, until: Option<Duration>, for_changes: bool) {
        let links = self.gateway.links();
        let finish = self.gateway.shutdown().finish();
        let until = self.start + until.expect("no call is in flight");
        let outcome = tokio::select! {
            biased;
            incarnation = links.greeting(self.neighbour) => {
                self.machine.neighbour_greeted(incarnation);
                return;
            }
            () = links.changed(self.neighbour), if for_changes => return,
            outcome = finished(&mut self.comparison) => outcome,
            () = sleep_until(until) => return,
            () = finish.cancelled() => return self.machine.finish(),
        };
        self.comparison = None;
        self.note_comparison(outcome);
    }

    /// Returns the time for the machine.
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn traffic(&self) -> &LinkTraffic {
        self.gateway.links().traffic(self.neighbour)
    }
}

/// The outcome of work beside the pushes of a link.
#[derive(Debug)]
enum ComparisonOutcome {
    Compared(Result<Vec<ComparedRange>, String>),
    Collected(VecDeque<CollectedBatch>),
}

/// Resolves when the work is finished; never if there is none.
async fn finished(work: &mut Option<AbortOnDropHandle<ComparisonOutcome>>) -> ComparisonOutcome {
    match work {
        Some(work) => work.await.unwrap_or_else(|error| {
            // The panic itself is logged.
            ComparisonOutcome::Compared(Err(error.to_string()))
        }),
        None => pending().await,
    }
}

fn failure(error: CallError) -> CallFailure {
    let reason = error.to_string();
    match error {
        CallError::Rejected(status) if status.code() == Code::FailedPrecondition => {
            CallFailure::OutOfStep(reason)
        }
        CallError::Rejected(_) => CallFailure::Rejected(reason),
        CallError::NoResponse(_) => CallFailure::NoResponse(reason),
    }
}
