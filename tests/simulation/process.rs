//! One process: one life of one server, with its links.

use proxyherd::model::name::Name;
use proxyherd::replication::replica::{Replica, ServerIdentity};
use proxyherd::replication::send_cursor::{SendCursor, Span};
use proxyherd::replication::{Incarnation, NeighbourId};

use crate::expiry::{ExpirySetup, ServerExpiry};
use crate::model::{Model, Pid};
use crate::setup::Setup;
use crate::topology::{self, NAMES};

pub(crate) const HERD: &str = "classic";

pub(crate) struct Process {
    pub(crate) pid: Pid,
    /// The server's place in the list of names.
    pub(crate) server: usize,
    /// Which life of the server this is, for people to read.
    pub(crate) run: usize,
    /// `None` when the process has ended.
    pub(crate) replica: Option<Replica>,
    pub(crate) model: Model,
    pub(crate) links: Vec<Link>,
    /// Stands still before this moment.
    pub(crate) paused_until: u64,
}

/// The most reports of a link's first batches.
const INITIAL_BATCH_REPORTS: usize = 1024;

/// The part of a process that pushes to one neighbour.
pub(crate) struct Link {
    /// The neighbour's place in the list of names.
    pub(crate) to: usize,
    /// Is it a neighbour now? Else it was one.
    pub(crate) is_linked: bool,
    pub(crate) cursor: SendCursor,
    /// Must the neighbour be greeted before anything else?
    pub(crate) must_greet: bool,
    pub(crate) waiting: Option<Waiting>,
    /// How many requests there were.
    pub(crate) requests: u32,
    /// When the link means to look again whether there is anything to do.
    pub(crate) next_step: u64,
    /// When it last sent something.
    pub(crate) sent_at: u64,
    /// Most reports of the next batch, after a push without an response.
    pub(crate) at_most: usize,
}

/// The request that a link waits for: a push of a span, or a greeting.
#[derive(Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) number: u32,
    pub(crate) span: Option<Span>,
}

impl Process {
    pub(crate) fn new(
        pid: Pid,
        (server, expiry): (usize, Option<ServerExpiry>),
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
            model: Model::new(setup.clients, neighbours.len(), expiry),
            links: neighbours.iter().enumerate().map(link).collect(),
            paused_until: 0,
        }
    }

    /// The place of a server among this one's neighbours; `None` where it is
    /// none now.
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

    /// Begins anew, as a link that knows nothing of what it did before.
    pub(crate) fn reset(&mut self, batch: usize) {
        *self = Self {
            // What is under way is an response to another link.
            requests: self.requests,
            ..Self::new(self.cursor.neighbour(), self.to, batch)
        };
    }

    /// Ends, whatever it waits for.
    pub(crate) fn end(&mut self) {
        self.is_linked = false;
        self.waiting = None;
        self.next_step = u64::MAX;
    }

    /// The process that was greeted last.
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
