//! One process: one run of one server, with its links.

use std::collections::VecDeque;
use std::time::Duration;

use proxyherd::model::name::Name;
use proxyherd::replication::lineage::Lineage;
use proxyherd::replication::link::{LinkMachine, LinkRules};
use proxyherd::replication::replica::{Replica, ServerIdentity};
use proxyherd::replication::send_cursor::{SendCursor, Span};
use proxyherd::replication::{Incarnation, NeighbourId};
use proxyherd::storage::journal::Journal;
use proxyherd::storage::recovery::RecoveryReport;

use crate::answers::Answers;
use crate::anti_entropy;
use crate::clients::ReportId;
use crate::disk::Disk;
use crate::expiry::ExpirySetup;
use crate::model::{Model, Pid};
use crate::setup::Setup;
use crate::storage;
use crate::topology::{self, NAMES};
use crate::world::HEARTBEAT_INTERVAL;

pub(crate) const HERD: &str = "classic";

/// Ticks that a link waits for a response: longer than any request takes in both directions without
/// faults, including a merge in pieces.
pub(crate) const REQUEST_TIMEOUT: u64 = 60;

/// Maximum ticks until a link retries after a failure.
const MAX_BACKOFF: u64 = 30;

pub(crate) struct Process {
    pub(crate) pid: Pid,
    /// Index of the server in the list of names.
    pub(crate) server: usize,
    /// Its incarnation: its [own](Pid::incarnation), except in an image that has not found that
    /// its former self used the incarnation.
    pub(crate) incarnation: u64,
    /// Number of events before it began.
    pub(crate) born: u64,
    /// Number of this run of the server, for messages.
    pub(crate) run: usize,
    /// `None` after the process has ended.
    pub(crate) replica: Option<Replica>,
    pub(crate) model: Model,
    pub(crate) links: Vec<Link>,
    /// The process does nothing before this tick.
    pub(crate) paused_until: u64,
    /// The earlier incarnations whose feed the process restored.
    pub(crate) lineage: Lineage,
    /// The writer of its storage, while it runs and has storage.
    pub(crate) journal: Option<Journal<Disk>>,
    /// What it found there, until that is checked.
    pub(crate) recovery: Option<RecoveryReport>,
    pub(crate) answers: Answers,
}

/// The rules of all links. A tick is a millisecond.
fn rules(setup: &Setup) -> LinkRules {
    LinkRules {
        heartbeat: Duration::from_millis(HEARTBEAT_INTERVAL),
        attempt: Duration::from_millis(REQUEST_TIMEOUT),
        backoff_cap: Duration::from_millis(MAX_BACKOFF),
        linger: Duration::from_millis(5),
        batch_reports: setup.batch,
        min_load: setup.min_load,
        anti_entropy: setup.anti_entropy.map(Duration::from_millis),
    }
}

/// The part of a process that pushes to one neighbour.
pub(crate) struct Link {
    /// Index of the neighbour in the list of names.
    pub(crate) to: usize,
    /// Whether the server is a neighbour now; otherwise it was one before.
    pub(crate) is_linked: bool,
    pub(crate) machine: LinkMachine,
    pub(crate) waiting: Option<Waiting>,
    /// Batches to be pushed again, in order.
    pub(crate) collected: VecDeque<Vec<ReportId>>,
    /// Number of requests up to the last greeting.
    pub(crate) greeting: u32,
    /// Number of requests so far.
    pub(crate) requests: u32,
    /// Tick of the next step.
    pub(crate) next_step: u64,
    /// Tick of the last request.
    pub(crate) sent_at: u64,
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
        disk: Option<Disk>,
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
        let rule = rule.or(setup.anti_entropy.map(|_| anti_entropy::unused_rule()));
        let mut replica = replica.with_expiry(rule);
        let recovered = disk.map(|disk| storage::recover(disk, &mut replica, setup));
        let (journal, recovery) = recovered.map(|it| (it.journal, it.report)).unzip();
        let link = |(place, &to)| Link::new(NeighbourId(place), to, setup);
        Self {
            pid,
            server,
            incarnation: pid.incarnation(),
            born: 0,
            run,
            lineage: replica.lineage(),
            journal,
            recovery,
            answers: Answers::default(),
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
    pub(crate) fn new(neighbour: NeighbourId, to: usize, setup: &Setup) -> Self {
        Self {
            to,
            is_linked: true,
            machine: LinkMachine::new(neighbour, rules(setup), 0),
            waiting: None,
            collected: VecDeque::new(),
            greeting: 0,
            requests: 0,
            next_step: u64::MAX,
            sent_at: 0,
        }
    }

    /// Starts over, as a link without any state.
    pub(crate) fn reset(&mut self, setup: &Setup) {
        *self = Self {
            // A pending response belongs to the link before.
            requests: self.requests,
            ..Self::new(self.cursor().neighbour(), self.to, setup)
        };
    }

    /// Ends the link and its pending request.
    pub(crate) fn end(&mut self) {
        self.is_linked = false;
        self.waiting = None;
        self.next_step = u64::MAX;
    }

    pub(crate) fn cursor(&self) -> &SendCursor {
        self.machine.cursor()
    }

    /// Returns the process that was greeted last.
    pub(crate) fn greeted(&self) -> Option<Pid> {
        let incarnation = self.cursor().greeted()?;
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
