//! The event queue, in the order of virtual time.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use proxyherd::queries::digest::BucketSum;
use proxyherd::replication::lineage::Acknowledged;
use proxyherd::replication::messages::{GreetReply, PushAnswer, Rejection};
use proxyherd::replication::replica::PendingPush;
use proxyherd::replication::send_cursor::Span;
use proxyherd::replication::version_vector::OriginNumber;

use crate::clients::ReportId;
use crate::model::Pid;

pub(crate) enum Event {
    /// A server starts.
    Start(usize),
    /// A client reports.
    Report,
    /// Many clients report to one server.
    Burst,
    /// Something may fail.
    Fail,
    /// A process reads the config again.
    Reload(Pid),
    /// A process writes to its storage.
    Sync(Pid),
    /// A link checks whether it has anything to send.
    Step(Pid, usize),
    /// The request of a link with this number times out.
    TimeOut(Pid, usize, u32),
    /// A comparison or a collection of a link is done, unless the link has greeted since this
    /// number of requests.
    Compare(Pid, usize, u32, Comparison),
    Arrive(Request),
    /// More of a push is merged.
    Merge(Box<IncomingPush>),
    Response(Response),
}

/// Work of a link beside its pushes.
pub(crate) enum Comparison {
    /// The digests of all ranges of the link's own server are computed; those of the neighbour are
    /// now.
    Digests(Vec<BucketSum>),
    /// The reports of some ranges are collected into batches.
    Batches(VecDeque<Vec<ReportId>>),
}

/// One link's request to a server.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) from: Pid,
    /// The incarnation by which the sender sends it.
    pub(crate) incarnation: u64,
    /// The server; any of its processes may receive the request.
    pub(crate) to: usize,
    /// Index of the sender's link.
    pub(crate) link: usize,
    pub(crate) number: u32,
    pub(crate) body: Body,
}

#[derive(Clone)]
pub(crate) enum Body {
    Greeting(Option<Acknowledged>),
    Push(Push),
}

#[derive(Clone)]
pub(crate) struct Push {
    /// The process that the sender greeted.
    pub(crate) greeted: Pid,
    pub(crate) span: Span,
    pub(crate) reports: Rc<[ReportId]>,
    /// The tags of the reports.
    pub(crate) tags: Rc<[Option<OriginNumber>]>,
    /// Entries of the sender's version vector.
    pub(crate) vector: Rc<[OriginNumber]>,
}

impl Push {
    /// Returns the checksum of the push, if it covers a change.
    pub(crate) fn check(&self) -> Option<u32> {
        let Span { from, to, .. } = self.span;
        let reports = self.reports.iter().map(|report| report.number());
        let numbers = [from as u32, to as u32].into_iter().chain(reports);
        let mix = |sum: u32, number: u32| (sum ^ number).wrapping_mul(16_777_619);
        (from < to).then(|| numbers.fold(2_166_136_261, mix))
    }
}

/// An accepted push, and how much of it was merged.
pub(crate) struct IncomingPush {
    pub(crate) by: Pid,
    pub(crate) request: Request,
    pub(crate) push: Push,
    pub(crate) pending: PendingPush,
    /// Number of merged reports.
    pub(crate) merged: usize,
    /// Number of pieces so far.
    pub(crate) pieces: usize,
    /// The receiver's incarnation when it accepted the push.
    pub(crate) own: u64,
    /// Whether all that the push covers was applied before.
    pub(crate) is_late: bool,
}

/// A server's response to one request of a link.
pub(crate) struct Response {
    pub(crate) to: Pid,
    pub(crate) link: usize,
    pub(crate) number: u32,
    pub(crate) body: ResponseBody,
}

#[derive(Debug)]
pub(crate) enum ResponseBody {
    GreetReply(GreetReply),
    Applied(PushAnswer),
    Rejected(Rejection),
}

#[derive(Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Due>,
    pushed: u64,
    busy: usize,
}

struct Due {
    at: u64,
    order: u64,
    event: Event,
}

impl Queue {
    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.busy += usize::from(event.is_busy());
        let order = self.pushed;
        self.pushed += 1;
        self.heap.push(Due { at, order, event });
    }

    /// Removes and returns the next event, if it is due at or before `end`.
    pub(crate) fn pop(&mut self, end: u64) -> Option<(u64, Event)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        let Due { at, event, .. } = self.heap.pop()?;
        self.busy -= usize::from(event.is_busy());
        Some((at, event))
    }

    /// Returns the pushes that a process is merging, each with the time of its next piece.
    pub(crate) fn into_merges(self, pid: Pid) -> Vec<(u64, Box<IncomingPush>)> {
        let merge = |due: Due| match due.event {
            Event::Merge(incoming) if incoming.by == pid => Some((due.at, incoming)),
            _ => None,
        };
        self.heap
            .into_sorted_vec()
            .into_iter()
            .rev()
            .filter_map(merge)
            .collect()
    }

    /// Returns whether any message except heartbeats is pending.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy > 0
    }
}

impl Event {
    fn is_busy(&self) -> bool {
        match self {
            Self::Arrive(request) => !request.is_heartbeat(),
            Self::Merge(incoming) => !incoming.request.is_heartbeat(),
            Self::Response(response) => !matches!(response.body, ResponseBody::Applied(_)),
            _ => false,
        }
    }
}

impl Request {
    /// Returns the process that first had the incarnation by which this was sent.
    pub(crate) fn sender(&self) -> Pid {
        Pid::of_incarnation(self.incarnation)
    }

    pub(crate) fn is_heartbeat(&self) -> bool {
        matches!(&self.body, Body::Push(push) if push.reports.is_empty())
    }
}

// The heap returns the greatest event first, which must be the earliest.
impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}
