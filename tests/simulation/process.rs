//! One process: one run of one server, with its links.

use proxyherd::model::name::Name;
use proxyherd::replication::replica::{Replica, ServerIdentity};
use proxyherd::replication::send_cursor::{SendCursor, Span};
use proxyherd::replication::{Incarnation, NeighbourId};

use crate::expiry::ExpirySetup;
use crate::model::{Model, Pid};
use crate::setup::Setup;
use crate::topology::{self, NAMES};

pub(crate) const HERD: &str = "classic";

pub(crate) struct Process {
    pub(crate) pid: Pid,
    /// Index of the server in the list of names.
    pub(crate) server: usize,
    /// Number of this run of the server, for messages.
    pub(crate) run: usize,
    /// `None` after the process has ended.
    pub(crate) replica: Option<Replica>,
    pub(crate) model: Model,
    pub(crate) links: Vec<Link>,
    /// The process does nothing before this tick.
    pub(crate) paused_until: u64,
}

/// Maximum number of reports in a link's first batches.
const INITIAL_BATCH_REPORTS: usize = 1024;

/// The part of a process that pushes to one neighbour.
pub(crate) struct Link {
    /// Index of the neighbour in the list of names.
    pub(crate) to: usize,
    /// Whether the server is a neighbour now; otherwise it was one before.
    pub(crate) is_linked: bool,
    pub(crate) cursor: SendCursor,
    /// Whether the neighbour must be greeted before anything else.
    pub(crate) must_greet: bool,
    pub(crate) waiting: Option<Waiting>,
    /// Number of requests so far.
    pub(crate) requests: u32,
    /// Tick of the next step.
    pub(crate) next_step: u64,
    /// Tick of the last request.
    pub(crate) sent_at: u64,
    /// Maximum number of reports in the next batch.
    pub(crate) at_most: usize,
}

/// The pending request of a link: a push of a span, or a greeting.
#[derive(Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) number: u32,
    pub(crate) span: Option<Span>,
}

impl Process {
    pub(crate) fn new(
        pid: Pid,
        server: usize,
        run: usize,
        (setup, config): (&Setup, &[topology::Link]),
    ) -> Self {
        let neighbours = neighbours(config, server);
        let identity = ServerIdentity {
            herd: name(HERD),
            name: name(NAMES[server]),
            incarnation: Incarnation::new(pid.incarnation()).expect("is not 0"),
        };
        let members = NAMES[..setup.servers].iter().map(|text| name(text));
        let names = neighbours.iter().map(|&server| name(NAMES[server]));
        let replica = Replica::with_senders(
            identity,
            members.collect(),
            names.collect(),
            [1, 2, 3, pid.incarnation()],
            setup.senders,
        );
        let rule = setup.expiry.as_ref().map(ExpirySetup::rule);
        let replica = replica.with_expiry(rule);
        let link = |(place, &to)| Link::new(NeighbourId(place), to, setup.batch);
        Self {
            pid,
            server,
            run,
            replica: Some(replica),
            model: Model::new(setup.clients, neighbours.len()),
            links: neighbours.iter().enumerate().map(link).collect(),
            paused_until: 0,
        }
    }

    /// Returns the index of a server among this one's neighbours; `None` if it is not a neighbour
    /// now.
    pub(crate) fn neighbour(&self, server: usize) -> Option<usize> {
        let mut links = self.links.iter();
        links.position(|link| link.to == server && link.is_linked)
    }
}

impl Link {
    pub(crate) fn new(neighbour: NeighbourId, to: usize, batch: usize) -> Self {
        Self {
            to,
            is_linked: true,
            cursor: SendCursor::new(neighbour, batch),
            must_greet: true,
            waiting: None,
            requests: 0,
            next_step: u64::MAX,
            sent_at: 0,
            at_most: batch.min(INITIAL_BATCH_REPORTS),
        }
    }

    /// Starts over, as a link without any state.
    pub(crate) fn reset(&mut self, batch: usize) {
        *self = Self {
            // A pending response belongs to the link before.
            requests: self.requests,
            ..Self::new(self.cursor.neighbour(), self.to, batch)
        };
    }

    /// Ends the link and its pending request.
    pub(crate) fn end(&mut self) {
        self.is_linked = false;
        self.waiting = None;
        self.next_step = u64::MAX;
    }

    /// Returns the process that was greeted last.
    pub(crate) fn greeted(&self) -> Option<Pid> {
        let incarnation = self.cursor.greeted()?;
        Some(Pid::of_incarnation(incarnation.get()))
    }
}

pub(crate) fn neighbours(links: &[topology::Link], server: usize) -> Vec<usize> {
    let other = |&(one, other): &(usize, usize)| match server {
        _ if one == server => Some(other),
        _ if other == server => Some(one),
        _ => None,
    };
    links.iter().filter_map(other).collect()
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("is a name")
}
