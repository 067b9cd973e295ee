//! What will happen, in the order of virtual time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use proxyherd::replication::replica::{GreetReply, PendingPush, Rejection};
use proxyherd::replication::send_cursor::Span;

use crate::clients::ReportId;
use crate::model::Pid;

pub(crate) enum Event {
    /// A server of this place in the list starts.
    Start(usize),
    /// A client reports.
    Report,
    /// Many clients report to one server.
    Burst,
    /// Something may fail.
    Fail,
    /// A process reads the config again.
    Reload(Pid),
    /// A link steps whether there is anything to do.
    Step(Pid, usize),
    /// A link has waited long enough for its request of this number.
    TimeOut(Pid, usize, u32),
    Arrive(Request),
    /// More of a push is merged.
    Merge(Box<IncomingPush>),
    Response(Response),
}

/// One link's request to a server.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) from: Pid,
    /// The server that it is sent to: whatever process of it.
    pub(crate) to: usize,
    /// The sender's link.
    pub(crate) link: usize,
    pub(crate) number: u32,
    pub(crate) body: Body,
}

#[derive(Clone)]
pub(crate) enum Body {
    Greeting,
    Push(Push),
}

#[derive(Clone)]
pub(crate) struct Push {
    /// The process that the sender greeted.
    pub(crate) greeted: Pid,
    pub(crate) span: Span,
    pub(crate) reports: Rc<[ReportId]>,
}

/// A push that was let in, and how much of it was merged.
pub(crate) struct IncomingPush {
    pub(crate) by: Pid,
    pub(crate) request: Request,
    pub(crate) push: Push,
    pub(crate) pending: PendingPush,
    /// How many of its reports.
    pub(crate) merged: usize,
    /// In how many pieces so far.
    pub(crate) pieces: usize,
}

/// What a server answers to one request of a link.
pub(crate) struct Response {
    pub(crate) to: Pid,
    pub(crate) link: usize,
    pub(crate) number: u32,
    pub(crate) body: ResponseBody,
}

#[derive(Debug)]
pub(crate) enum ResponseBody {
    GreetReply(GreetReply),
    Applied(u64),
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

    /// Takes out what comes next, if it comes before or at `end`.
    pub(crate) fn pop(&mut self, end: u64) -> Option<(u64, Event)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        let Due { at, event, .. } = self.heap.pop()?;
        self.busy -= usize::from(event.is_busy());
        Some((at, event))
    }

    /// Is any message under way but heartbeats?
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
    pub(crate) fn is_heartbeat(&self) -> bool {
        matches!(&self.body, Body::Push(push) if push.reports.is_empty())
    }
}

// The heap gives the greatest first, which must be the earliest.
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
