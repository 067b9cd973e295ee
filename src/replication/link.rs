//! The decisions of a link to one neighbour, without its network: when to greet, what to push,
//! when to wait, and when to give up.
//!
//! A link repeats one step: take the changes after the neighbour's cursor, push them as one batch,
//! and advance the cursor on the acknowledgement. The next batch gathers in the feed while one is
//! in flight, so batches grow with load, and on a quiet link a report leaves at once. A busy link
//! waits a little between batches, since many small pushes cost more than their reports. One that
//! carries many duplicates [waits longer](super::lazy_push).
//!
//! A push that reaches the end of the feed carries the server's
//! [version vector](super::version_vector). Each answer carries the neighbour's, and batches omit
//! what it covers.
//!
//! The link is up from an acknowledged push until a call fails with all its quick retries, or is
//! rejected more than twice in a row. A link that is down tries again with backoff, and at once
//! when its neighbour greets as a new incarnation.
//!
//! Whoever drives a [`LinkMachine`] asks for the [next action](LinkMachine::next), carries it out,
//! and records its outcome. A server's task does that with calls and timers, and the simulation
//! with a seeded schedule. The split is that of quinn-proto and quinn.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::timestamp::UnixNanos;

use super::anti_entropy::{AntiEntropy, AntiEntropyStep, CollectedSize, ComparedRange};
use super::backoff::Backoff;
use super::batch_size::BatchSize;
use super::lazy_push::LazyPush;
use super::messages::PushAnswer;
use super::replica::Replica;
use super::send_cursor::{BatchBuilder, SendCursor, Span};
use super::sent_pushes::{LinkEnds, PushMark, PushProgress};
use super::version_vector::OriginNumber;
use super::{Incarnation, NeighbourId};

/// Number of rejections in a row, with a greeting after each, that leave the link up.
const MAX_CONSECUTIVE_REJECTIONS: u32 = 2;

/// Number of reports from which on a batch counts as one of a busy link. A push of fewer costs both
/// sides more than its reports.
const BUSY_BATCH_REPORTS: usize = 32;

/// The usual value of [`LinkRules::min_load`]. Measured with a herd of five at 1,000 and 2,000
/// reports a second: 0.84 of the CPU time that 64 takes, and reports are not later.
pub const MIN_LOAD: usize = 16;

/// The settings of a link's decisions.
#[derive(Clone, Copy, Debug)]
pub struct LinkRules {
    /// Interval of empty pushes on a quiet link.
    pub heartbeat: Duration,
    /// Time limit of an attempt of a call. Batches grow while their size adds less than a quarter
    /// of it to the time of a call.
    pub attempt: Duration,
    /// Maximum delay between two attempts of a link that is down.
    pub backoff_cap: Duration,
    /// Minimum time between two pushes of a busy link.
    pub linger: Duration,
    /// Maximum number of reports in a batch, clamped to 1 to
    /// [`MAX_BATCH_REPORTS`](super::send_cursor::MAX_BATCH_REPORTS).
    pub batch_reports: usize,
    /// Number of reports in 20 ms from which on the link may hold changes back, if its neighbour
    /// gets them over a quicker way.
    pub min_load: usize,
    /// Maximum interval of comparisons with the neighbour; `None` for none.
    pub anti_entropy: Option<Duration>,
}

/// What a link does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkAction {
    /// It greets the neighbour. [`LinkMachine::greeted`] or [`LinkMachine::failed`] records the
    /// outcome.
    Greet,
    /// It pushes the batch that was filled. [`LinkMachine::sent`] records it before, and
    /// [`LinkMachine::acknowledged`] or [`LinkMachine::failed`] the outcome.
    Push(Span),
    /// It pushes the next of the batches that were collected, as [`Push`](Self::Push).
    PushAgain(Span),
    /// It compares what both servers hold, beside its other actions. [`LinkMachine::compared`]
    /// records the outcome.
    Compare,
    /// It collects all reports of these ranges in batches, beside its other actions.
    /// [`LinkMachine::collected`] records the outcome. [`LinkAction::Greet`] voids this, and a
    /// comparison.
    Collect(Vec<usize>),
    /// It lets other tasks run: the neighbour needs none of the changes that were considered, and
    /// there are more.
    Yield,
    /// It waits for a time, or for an event.
    Wait {
        /// The time of the next action. `None` while a call is in flight.
        until: Option<Duration>,
        /// Whether a change of the feed ends the wait.
        for_changes: bool,
    },
    /// It ends.
    End,
}

/// Why a call failed, with all its quick retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The neighbour rejected the push, and a greeting may mend that: it has restarted, or has
    /// applied less than the push begins after.
    OutOfStep(String),
    /// The neighbour has applied what this process did not send: another process has used this
    /// incarnation of this server, such as the former self of a restored image of a virtual
    /// machine. The server must draw a new incarnation, with which the link greets.
    IncarnationUsed(Incarnation),
    /// The neighbour rejected the call, or what answered is not the neighbour.
    Rejected(String),
    /// There was no response. The neighbour may have applied the request.
    NoResponse(String),
}

impl CallFailure {
    /// Returns the reason, for people.
    pub fn reason(&self) -> &str {
        match self {
            Self::OutOfStep(reason) | Self::Rejected(reason) | Self::NoResponse(reason) => reason,
            Self::IncarnationUsed(_) => {
                "it holds changes of this server's incarnation that this process did not send"
            }
        }
    }
}

/// The state of one link. Times are since any fixed moment, by a clock that does not go back.
///
/// Invariants: at most one call is in flight; a push is addressed to the incarnation that was
/// greeted last, by the incarnation that greeted; only answers that pushes of this process account
/// for move the cursor; a link that is finishing ends only with nothing left to push, or down.
#[derive(Debug)]
pub struct LinkMachine {
    rules: LinkRules,
    cursor: SendCursor,
    sizes: BatchSize,
    backoff: Backoff,
    phase: LinkPhase,
    anti_entropy: AntiEntropy,
    lazy_push: LazyPush,
    /// The number of changes of this server's version vector that the neighbour has received.
    vector_changes: u64,
    /// What the push of the last action carries of the vector, and the number of changes then.
    vector: (u64, Vec<OriginNumber>),
    /// The incarnation of this server that greeted last.
    own: Option<Incarnation>,
    /// An incarnation of the neighbour that greeted while a greeting was in flight.
    greeter: Option<Incarnation>,
    /// Shortest time of a call since the last greeting, that one included: the time of a call of
    /// any size.
    round_trip: Duration,
    /// The end of the feed to which the batch was filled that was acknowledged last, if it was.
    caught_up: Option<u64>,
    /// Rejections in a row.
    rejections: u32,
    /// Whether a push has succeeded since the link was last down.
    is_up: bool,
    is_finishing: bool,
}

#[derive(Clone, Copy, Debug)]
enum LinkPhase {
    /// The neighbour must be greeted.
    Ungreeted,
    /// A greeting is in flight.
    Greeting { sent: Duration },
    /// Nothing is in flight.
    Ready {
        /// The time of the next batch at the earliest.
        not_before: Duration,
        /// The time of the next heartbeat.
        heartbeat: Duration,
    },
    /// A push is in flight: of changes, or of what the neighbour should have and lacks.
    Pushing {
        sent: Duration,
        span: Span,
        is_again: bool,
    },
    /// The link is down until it tries again.
    Down { until: Duration },
}

impl LinkMachine {
    /// Creates a link, which greets first. `random` is any number, drawn for this call.
    pub fn new(neighbour: NeighbourId, rules: LinkRules, random: u64) -> Self {
        Self {
            cursor: SendCursor::new(neighbour, rules.batch_reports),
            sizes: BatchSize::new(),
            backoff: Backoff::new(rules.backoff_cap),
            phase: LinkPhase::Ungreeted,
            anti_entropy: AntiEntropy::new(rules.anti_entropy, random),
            lazy_push: LazyPush::new(rules.min_load),
            vector_changes: 0,
            vector: (0, Vec::new()),
            own: None,
            greeter: None,
            round_trip: Duration::ZERO,
            caught_up: None,
            rejections: 0,
            is_up: false,
            is_finishing: false,
            rules,
        }
    }

    /// Returns the neighbour's cursor.
    pub fn cursor(&self) -> &SendCursor {
        &self.cursor
    }

    /// Returns the incarnation of this server that greets, greeted last, and sends pushes.
    pub fn own_incarnation(&self) -> Option<Incarnation> {
        self.own
    }

    /// Returns the position in the feed through which the neighbour has every report, or what had
    /// replaced it; `None` if the push that was acknowledged last left changes for the next one.
    ///
    /// The cursor is no such position: a report before it may have been replaced by one after it.
    pub fn caught_up(&self) -> Option<u64> {
        self.caught_up
    }

    /// Returns the maximum size of the next batch, in bytes. A single report may exceed it.
    pub fn max_batch_bytes(&self) -> usize {
        self.sizes.limit()
    }

    /// Returns the entries of this server's version vector that the push of the last action
    /// carries.
    pub fn vector(&self) -> &[OriginNumber] {
        &self.vector.1
    }

    /// Returns whether the link holds changes back, since its neighbour had many of its reports.
    pub fn is_lazy(&self) -> bool {
        self.lazy_push.interval().is_some()
    }

    /// Returns whether a push has succeeded since the link was last down.
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// Returns whether the neighbour must be greeted, or is being greeted, before the next push.
    pub fn must_greet(&self) -> bool {
        !matches!(
            self.phase,
            LinkPhase::Ready { .. } | LinkPhase::Pushing { .. }
        )
    }

    /// Returns whether the link is down, and waits before it tries again.
    pub fn is_down(&self) -> bool {
        matches!(self.phase, LinkPhase::Down { .. })
    }

    /// Returns the next action at `now`. Fills `batch`, which must be empty, with the reports of a
    /// push. `clock` is the earlier of the clocks of both servers (see [`SendCursor::fill`]).
    pub fn next(
        &mut self,
        replica: &Replica,
        (now, clock): (Duration, UnixNanos),
        batch: &mut impl BatchBuilder,
    ) -> LinkAction {
        if matches!(self.phase, LinkPhase::Ready { .. }) && self.own != Some(replica.incarnation())
        {
            self.phase = LinkPhase::Ungreeted;
        }
        match self.phase {
            LinkPhase::Greeting { .. } | LinkPhase::Pushing { .. } => wait(None),
            LinkPhase::Down { .. } if self.is_finishing => LinkAction::End,
            LinkPhase::Down { until } if now < until => {
                replica.set_position(self.cursor.neighbour(), None);
                wait(Some(until))
            }
            LinkPhase::Down { .. } | LinkPhase::Ungreeted => {
                self.anti_entropy.abandon(now);
                self.own = Some(replica.incarnation());
                self.phase = LinkPhase::Greeting { sent: now };
                LinkAction::Greet
            }
            LinkPhase::Ready { not_before, .. } if now < not_before && !self.is_finishing => {
                wait(Some(not_before))
            }
            LinkPhase::Ready { heartbeat, .. } => {
                let horizon = self.horizon(replica, now);
                let span = self.fill(replica, clock, horizon, batch);
                if horizon.is_some() {
                    // If only to get the neighbour's vector.
                    return self.push(now, span);
                }
                self.next_push(replica, now, heartbeat, span)
            }
        }
    }

    /// Returns the sequence number through which a lazy link pushes changes now; `None` on an
    /// eager link.
    fn horizon(&mut self, replica: &Replica, now: Duration) -> Option<u64> {
        self.lazy_push.interval()?;
        if self.is_finishing || replica.is_tree_link(self.cursor.neighbour()) {
            self.lazy_push.end(now);
        }
        let horizon = self.lazy_push.horizon(now, replica.store().last());
        horizon.map(|horizon| horizon.max(self.cursor.scanned()))
    }

    /// Fills a batch, and the vector that goes with it.
    fn fill(
        &mut self,
        replica: &Replica,
        clock: UnixNanos,
        horizon: Option<u64>,
        batch: &mut impl BatchBuilder,
    ) -> Span {
        // It is read before the end of the feed is, so that the batch brings all that it claims.
        let (changes, mut vector) = replica.vector_since(self.vector_changes);
        let limits = (self.sizes.limit(), horizon.unwrap_or(u64::MAX));
        let span = self.cursor.fill(replica, clock, limits, batch);
        self.vector = match self.own {
            Some(origin) if span.is_end => {
                let number = span.to;
                vector.push(OriginNumber { origin, number });
                (changes, vector)
            }
            _ => (self.vector_changes, Vec::new()),
        };
        span
    }

    fn push(&mut self, now: Duration, span: Span) -> LinkAction {
        self.phase = LinkPhase::Pushing {
            sent: now,
            span,
            is_again: false,
        };
        LinkAction::Push(span)
    }

    fn next_push(
        &mut self,
        replica: &Replica,
        now: Duration,
        heartbeat: Duration,
        span: Span,
    ) -> LinkAction {
        if span.reports == 0 {
            if !self.cursor.is_at_end(replica) {
                return LinkAction::Yield;
            }
            if self.is_finishing {
                return LinkAction::End;
            }
            if now < heartbeat {
                return self.next_comparison(now, heartbeat);
            }
        }
        self.push(now, span)
    }

    /// Returns the next action of a link that is caught up.
    fn next_comparison(&mut self, now: Duration, heartbeat: Duration) -> LinkAction {
        match self.anti_entropy.next(now) {
            AntiEntropyStep::Wait(until) => LinkAction::Wait {
                until: Some(until.map_or(heartbeat, |until| until.min(heartbeat))),
                for_changes: true,
            },
            AntiEntropyStep::Compare => LinkAction::Compare,
            AntiEntropyStep::Collect(ranges) => LinkAction::Collect(ranges),
            AntiEntropyStep::Push(size) => {
                // It covers no change, so it moves neither the cursor nor the watermark.
                let cursor = self.cursor.cursor();
                let span = Span {
                    from: cursor,
                    to: cursor,
                    reports: size.reports,
                    bytes: size.bytes,
                    is_cut: false,
                    is_end: false,
                };
                self.vector = (self.vector_changes, Vec::new());
                self.phase = LinkPhase::Pushing {
                    sent: now,
                    span,
                    is_again: true,
                };
                LinkAction::PushAgain(span)
            }
        }
    }

    /// Records the response to a greeting: the neighbour's incarnation, and what it has applied of
    /// this server's.
    ///
    /// # Errors
    ///
    /// Returns the failure of the greeting if pushes of this process do not account for that.
    /// Nothing is recorded then.
    pub fn greeted(
        &mut self,
        replica: &Replica,
        now: Duration,
        incarnation: Incarnation,
        progress: &PushProgress,
    ) -> Result<(), CallFailure> {
        let LinkPhase::Greeting { sent } = self.phase else {
            return Ok(());
        };
        self.accept(replica, Some(incarnation), progress)?;
        self.cursor.start_at(incarnation, progress.applied);
        self.caught_up = None;
        self.vector_changes = 0;
        self.lazy_push.end(now);
        replica.set_position(self.cursor.neighbour(), None);
        self.round_trip = now.saturating_sub(sent);
        let is_other = |greeter: Incarnation| greeter != incarnation;
        self.phase = if self.greeter.take().is_some_and(is_other) {
            LinkPhase::Ungreeted
        } else {
            // The first push leaves at once, if only as a heartbeat: it shows that the link is up.
            LinkPhase::Ready {
                not_before: now,
                heartbeat: now,
            }
        };
        Ok(())
    }

    /// Records that the push of the last action has this checksum, before it is sent.
    pub fn sent(&self, replica: &Replica, span: Span, check: u32) {
        if let Some(ends) = self.ends(self.cursor.greeted())
            && span.from < span.to
        {
            let to = span.to;
            replica.record_sent(self.cursor.neighbour(), ends, PushMark { to, check });
        }
    }

    fn accept(
        &self,
        replica: &Replica,
        theirs: Option<Incarnation>,
        progress: &PushProgress,
    ) -> Result<(), CallFailure> {
        let neighbour = self.cursor.neighbour();
        match self.ends(theirs) {
            Some(ends) if !replica.accept_progress(neighbour, ends, progress) => {
                Err(CallFailure::IncarnationUsed(ends.own))
            }
            _ => Ok(()),
        }
    }

    /// Returns both ends; `None` before the first greeting.
    fn ends(&self, theirs: Option<Incarnation>) -> Option<LinkEnds> {
        let (own, theirs) = self.own.zip(theirs)?;
        Some(LinkEnds { own, theirs })
    }

    /// Records the answer to a push: what the neighbour has applied, and what it has.
    ///
    /// # Errors
    ///
    /// Returns the failure of the push if that does not cover it, or pushes of this process do not
    /// account for it. Nothing is recorded then.
    pub fn acknowledged(
        &mut self,
        replica: &Replica,
        now: Duration,
        answer: &PushAnswer,
    ) -> Result<(), CallFailure> {
        let progress = &answer.progress;
        let LinkPhase::Pushing {
            sent,
            span,
            is_again,
        } = self.phase
        else {
            return Ok(());
        };
        let applied = progress.applied;
        if applied < span.to {
            let to = span.to;
            return Err(CallFailure::Rejected(format!(
                "it acknowledged sequence number {applied} instead of {to}"
            )));
        }
        self.check_vector(replica, &answer.vector)?;
        self.accept(replica, self.cursor.greeted(), progress)?;
        self.cursor.learn(replica, &answer.vector);
        self.cursor.acknowledged(applied);
        replica.record_delivered(span.to);
        self.caught_up = span.is_end.then_some(span.to);
        self.vector_changes = self.vector.0;
        let position = self.cursor.greeted().zip(answer.position);
        replica.set_position(self.cursor.neighbour(), position);
        self.note_speed(span, now, now.saturating_sub(sent));
        self.is_up = true;
        self.rejections = 0;
        if is_again {
            self.anti_entropy.pushed(now);
        }
        if !is_again && !replica.is_tree_link(self.cursor.neighbour()) {
            let counts = (span.reports, answer.redundant);
            self.lazy_push.acknowledged(now, span.to, counts);
        }
        self.phase = LinkPhase::Ready {
            not_before: self.next_batch(sent, now, span),
            heartbeat: now + self.rules.heartbeat,
        };
        Ok(())
    }

    /// Returns the time of the next batch at the earliest.
    fn next_batch(&self, sent: Duration, now: Duration, span: Span) -> Duration {
        if span.is_cut {
            // More wait already.
            now
        } else if let Some(interval) = self.lazy_push.interval() {
            sent + interval
        } else if span.reports >= BUSY_BATCH_REPORTS {
            // Reports come by the dozen, and gather.
            sent + self.rules.linger
        } else {
            now
        }
    }

    /// Checks that a vector of the neighbour claims no more of this incarnation than this process
    /// has.
    fn check_vector(&self, replica: &Replica, vector: &[OriginNumber]) -> Result<(), CallFailure> {
        let last = replica.store().last();
        let is_foreign = |it: &&OriginNumber| Some(it.origin) == self.own && it.number > last;
        let foreign = vector.iter().find(is_foreign);
        foreign.map_or(Ok(()), |it| Err(CallFailure::IncarnationUsed(it.origin)))
    }

    /// Lets batches grow while their size adds little to the time of a call. So a lazy link settles
    /// at a size that it can carry, and a distant neighbour does not count as slow.
    fn note_speed(&mut self, span: Span, now: Duration, took: Duration) {
        self.round_trip = self.round_trip.min(took);
        if took - self.round_trip < self.rules.attempt / 4 {
            self.sizes.acknowledged(span, now);
        }
    }

    /// Records that the call in flight failed. `random` is any number, drawn for this call.
    pub fn failed(&mut self, now: Duration, failure: &CallFailure, random: u64) {
        match (failure, &self.phase) {
            (CallFailure::NoResponse(_), LinkPhase::Pushing { span, .. }) => {
                self.sizes.failed(*span, now);
            }
            (CallFailure::OutOfStep(_) | CallFailure::IncarnationUsed(_), _)
                if self.rejections < MAX_CONSECUTIVE_REJECTIONS =>
            {
                self.rejections += 1;
                self.phase = LinkPhase::Ungreeted;
                return;
            }
            _ => {}
        }
        self.go_down(now, random);
    }

    fn go_down(&mut self, now: Duration, random: u64) {
        // A greeting alone is no progress: a neighbour that then rejects every push is retried more
        // slowly too.
        if std::mem::take(&mut self.is_up) {
            self.backoff.reset();
        }
        self.rejections = 0;
        let delay = self.backoff.next_delay(random);
        let greeted = self.cursor.greeted();
        let is_new = |greeter: Incarnation| greeted != Some(greeter);
        let until = if self.greeter.take().is_some_and(is_new) {
            now
        } else {
            now + delay
        };
        self.phase = LinkPhase::Down { until };
    }

    /// Records that an incarnation of the neighbour has greeted this server. If it is another than
    /// the one that was greeted last, it is greeted next, and a push in flight is void: the earlier
    /// incarnation may never respond. Returns whether the link must not wait any longer.
    pub fn neighbour_greeted(&mut self, incarnation: Incarnation) -> bool {
        if let LinkPhase::Greeting { .. } = self.phase {
            self.greeter = Some(incarnation);
            return false;
        }
        let is_other = self.cursor.greeted() != Some(incarnation);
        if is_other {
            self.phase = LinkPhase::Ungreeted;
        }
        is_other
    }

    /// Sets whether the neighbour should hold the same as this server: both expire reports alike.
    pub fn set_comparable(&mut self, is_comparable: bool) {
        self.anti_entropy.set_comparable(is_comparable);
    }

    /// Records a comparison of all ranges, in order; `None` if it failed. Returns the number of
    /// ranges that are pushed again. `random` is any number, drawn for this call.
    pub fn compared(
        &mut self,
        now: Duration,
        ranges: Option<&[ComparedRange]>,
        random: u64,
    ) -> usize {
        self.anti_entropy.compared(now, ranges, random)
    }

    /// Records that the reports of some ranges were collected into batches of these sizes, in the
    /// order in which they are pushed.
    pub fn collected(&mut self, now: Duration, batches: VecDeque<CollectedSize>) {
        self.anti_entropy.collected(now, batches);
    }

    /// Lets the link end when the neighbour has all changes or the link is down: the server shuts
    /// down.
    pub fn finish(&mut self) {
        self.is_finishing = true;
    }
}

fn wait(until: Option<Duration>) -> LinkAction {
    LinkAction::Wait {
        until,
        for_changes: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name::Name;
    use crate::model::report::Report;
    use crate::replication::replica::ServerIdentity;
    use crate::replication::tag::Tag;

    const RULES: LinkRules = LinkRules {
        heartbeat: Duration::from_millis(500),
        attempt: Duration::from_secs(2),
        backoff_cap: Duration::from_secs(1),
        linger: Duration::from_millis(5),
        batch_reports: 100,
        min_load: MIN_LOAD,
        anti_entropy: None,
    };

    /// A batch of no reports.
    struct NoReports;

    impl BatchBuilder for NoReports {
        fn add(&mut self, _: &Report<'_>, _: Tag, _: usize) -> bool {
            panic!("the store is empty")
        }

        fn bytes(&self) -> usize {
            0
        }
    }

    /// A link of an empty server to its neighbour, and the time.
    struct Tested {
        replica: Replica,
        link: LinkMachine,
        now: Duration,
    }

    impl Tested {
        fn new() -> Self {
            let name = |text| Name::parse(text).unwrap();
            let identity = ServerIdentity {
                herd: name("test"),
                name: name("Riley"),
                incarnation: incarnation(9),
            };
            let neighbours = vec![name("Jaquez")];
            Self {
                replica: Replica::new(identity, neighbours.clone(), neighbours, [1, 2, 3, 4]),
                link: LinkMachine::new(NeighbourId(0), RULES, 0),
                now: Duration::ZERO,
            }
        }

        fn next(&mut self) -> LinkAction {
            let times = (self.now, UnixNanos(0));
            self.link.next(&self.replica, times, &mut NoReports)
        }

        /// Returns the time until the next action.
        fn pause(&mut self) -> Duration {
            match self.next() {
                LinkAction::Wait { until, .. } => until.expect("no call is in flight") - self.now,
                other => panic!("{other:?} comes at once"),
            }
        }

        fn greeted(&mut self, number: u64) {
            assert_eq!(self.next(), LinkAction::Greet);
            let greeted = self.greeted_through(number, 0);
            greeted.unwrap();
        }

        fn greeted_through(&mut self, number: u64, applied: u64) -> Result<(), CallFailure> {
            let progress = through(applied);
            self.link
                .greeted(&self.replica, self.now, incarnation(number), &progress)
        }

        fn pushes(&mut self) {
            assert!(matches!(self.next(), LinkAction::Push(_)));
        }

        fn acknowledged(&mut self) {
            let acknowledged = self.link.acknowledged(&self.replica, self.now, &answer(0));
            acknowledged.unwrap();
        }

        fn failed(&mut self, failure: &CallFailure) {
            self.link.failed(self.now, failure, u64::MAX);
        }
    }

    fn incarnation(number: u64) -> Incarnation {
        Incarnation::new(number).unwrap()
    }

    fn through(applied: u64) -> PushProgress {
        PushProgress {
            applied,
            others: Vec::new(),
        }
    }

    fn answer(applied: u64) -> PushAnswer {
        PushAnswer {
            progress: through(applied),
            vector: Vec::new(),
            redundant: 0,
            position: None,
        }
    }

    fn no_response() -> CallFailure {
        CallFailure::NoResponse("silence".to_owned())
    }

    fn out_of_step() -> CallFailure {
        CallFailure::OutOfStep("greet first".to_owned())
    }

    #[test]
    fn a_link_is_up_from_its_first_push_and_sends_a_heartbeat_when_it_was_quiet() {
        let mut it = Tested::new();
        it.greeted(1);
        assert!(!it.link.is_up());
        it.pushes();
        it.acknowledged();
        assert!(it.link.is_up());
        assert_eq!(it.pause(), RULES.heartbeat);
        it.now += RULES.heartbeat;
        it.pushes();
    }

    #[test]
    fn only_a_push_that_succeeded_shortens_the_delay_between_attempts() {
        let mut it = Tested::new();
        let mut last = Duration::ZERO;
        for _ in 0..8 {
            it.greeted(1);
            it.pushes();
            it.failed(&no_response());
            assert!(it.link.is_down() && !it.link.is_up());
            let pause = it.pause();
            assert!(pause > last || pause == RULES.backoff_cap, "{pause:?}");
            last = pause;
            it.now += pause;
        }
        assert_eq!(last, RULES.backoff_cap);
        it.greeted(1);
        it.pushes();
        it.acknowledged();
        it.now += RULES.heartbeat;
        it.pushes();
        it.failed(&no_response());
        assert!(it.pause() <= Duration::from_millis(50));
    }

    #[test]
    fn two_rejections_in_a_row_leave_the_link_up_and_the_third_takes_it_down() {
        let mut it = Tested::new();
        it.greeted(1);
        it.pushes();
        it.acknowledged();
        for is_last in [false, false, true] {
            it.now += RULES.heartbeat;
            it.pushes();
            it.failed(&out_of_step());
            assert_eq!(it.link.is_down(), is_last);
            if !is_last {
                it.greeted(1);
            }
        }
    }

    #[test]
    fn a_new_incarnation_is_greeted_at_once_and_one_that_was_greeted_is_not() {
        let mut it = Tested::new();
        it.greeted(1);
        it.pushes();
        assert!(!it.link.neighbour_greeted(incarnation(1)));
        assert!(
            it.link.neighbour_greeted(incarnation(2)),
            "the push is void"
        );
        assert_eq!(it.next(), LinkAction::Greet);
        // An earlier incarnation answers, after the new one has greeted.
        assert!(!it.link.neighbour_greeted(incarnation(3)));
        it.greeted_through(2, 0).unwrap();
        it.greeted(3);
        it.pushes();
        it.failed(&no_response());
        assert!(it.pause() > Duration::ZERO);
        assert!(it.link.neighbour_greeted(incarnation(4)));
        it.greeted(4);
    }

    #[test]
    fn a_finishing_link_ends_when_it_is_down_or_has_nothing_to_push() {
        let mut it = Tested::new();
        it.link.finish();
        it.greeted(1);
        assert_eq!(it.next(), LinkAction::End);
        let mut it = Tested::new();
        assert_eq!(it.next(), LinkAction::Greet);
        it.failed(&no_response());
        it.link.finish();
        assert_eq!(it.next(), LinkAction::End);
    }

    #[test]
    fn an_acknowledgement_that_does_not_cover_the_push_is_a_failure() {
        let mut it = Tested::new();
        it.link.cursor.start_at(incarnation(1), 0);
        let span = Span {
            from: 0,
            to: 7,
            reports: 1,
            bytes: 100,
            is_cut: false,
            is_end: true,
        };
        let sent = it.now;
        it.link.phase = LinkPhase::Pushing {
            sent,
            span,
            is_again: false,
        };
        let acknowledged = it.link.acknowledged(&it.replica, it.now, &answer(6));
        let failure = acknowledged.unwrap_err();
        it.failed(&failure);
        assert!(it.link.is_down());
        assert_eq!(it.link.cursor().cursor(), 0);
    }

    #[test]
    fn an_answer_that_no_push_accounts_for_asks_for_a_new_incarnation_and_moves_no_cursor() {
        let mut it = Tested::new();
        assert_eq!(it.next(), LinkAction::Greet);
        let failure = it.greeted_through(1, 3).unwrap_err();
        assert_eq!(failure, CallFailure::IncarnationUsed(incarnation(9)));
        assert!(
            it.replica
                .renew_incarnation(incarnation(9), incarnation(10))
        );
        let is_again = it
            .replica
            .renew_incarnation(incarnation(9), incarnation(11));
        assert!(!is_again, "two links found it at one time");
        it.failed(&failure);
        it.greeted(1);
        assert_eq!(it.link.own_incarnation(), Some(incarnation(10)));
        it.pushes();
        it.acknowledged();
        // Another link has found it: this one greets at once, and not at its next push.
        assert!(
            it.replica
                .renew_incarnation(incarnation(10), incarnation(12))
        );
        assert_eq!(it.next(), LinkAction::Greet);
        it.greeted_through(1, 0).unwrap();
        it.pushes();
        // A neighbour without sense takes only its own link down.
        for is_last in [false, false, true] {
            let acknowledged = it.link.acknowledged(&it.replica, it.now, &answer(7));
            it.failed(&acknowledged.unwrap_err());
            assert_eq!(it.link.is_down(), is_last);
            if !is_last {
                it.greeted(1);
                it.pushes();
            }
        }
        assert_eq!(it.link.cursor().cursor(), 0);
    }
}
