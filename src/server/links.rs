//! The links of one server: one task for each neighbour. Links begin and end while the server
//! runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{Instrument, error};

use crate::gateway::Gateway;
use crate::log::Log;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::net::{Dialer, Resolver, TcpDialer};
use crate::peers::{self, Caller, Link};
use crate::replication::NeighbourId;
use crate::tls::{Credentials, Subject};

use super::StartError;

/// Time after which a task that panicked starts again.
const RESTART_DELAY: Duration = Duration::from_millis(100);

/// The links of one server.
#[derive(Debug)]
pub(super) struct Links {
    factory: LinkFactory,
    running: HashMap<NeighbourId, RunningLink>,
}

/// The parts that all links of a server share.
#[derive(Debug)]
pub(super) struct LinkFactory {
    pub(super) gateway: Arc<Gateway>,
    pub(super) log: Log,
    pub(super) herd: Name,
    pub(super) tls: Option<Arc<Credentials>>,
    pub(super) resolver: Resolver,
    pub(super) settings: peers::PeerSettings,
}

/// A link whose task runs.
#[derive(Debug)]
struct RunningLink {
    address: Address,
    end: CancellationToken,
    tasks: TaskTracker,
}

/// Links that can begin: the neighbours of a new plan, with valid addresses.
#[derive(Debug)]
pub(super) struct PreparedLinks(Vec<(NeighbourId, Address, Caller)>);

impl Links {
    /// Creates an empty set of links. They end in the phases of the server's shutdown.
    pub(super) fn new(factory: LinkFactory) -> Self {
        Self {
            factory,
            running: HashMap::new(),
        }
    }

    /// Prepares links with these neighbours without changing any. Call it within a runtime.
    ///
    /// # Errors
    /// [`StartError::Dial`] and [`StartError::TooManyNeighbours`].
    pub(super) fn prepare(
        &self,
        neighbours: &[(Name, Address)],
    ) -> Result<PreparedLinks, StartError> {
        let prepare = |(name, address): &(Name, Address)| {
            let caller = self.factory.dial(name, address)?;
            let neighbour = self.factory.gateway.register(name);
            let neighbour = neighbour.ok_or(StartError::TooManyNeighbours)?;
            Ok((neighbour, address.clone(), caller))
        };
        neighbours
            .iter()
            .map(prepare)
            .collect::<Result<_, _>>()
            .map(PreparedLinks)
    }

    /// Accepts greetings of new neighbours, so that servers that change one after the other do
    /// not reject each other meanwhile.
    pub(super) fn expect(&self, PreparedLinks(wanted): &PreparedLinks) {
        for (neighbour, ..) in wanted {
            if !self.running.contains_key(neighbour) {
                self.factory.gateway.link(*neighbour);
            }
        }
    }

    /// Replaces the neighbours. Links with removed ones end, links with new ones begin, and
    /// a link whose neighbour has a new address begins again. Call it as
    /// [`begin_all`](Self::begin_all).
    pub(super) async fn change(&mut self, PreparedLinks(wanted): PreparedLinks) {
        let stays = |neighbour: &NeighbourId, link: &RunningLink| {
            let mut wanted = wanted.iter();
            wanted.any(|(other, address, _)| other == neighbour && *address == link.address)
        };
        let ended = self.running.extract_if(|id, link| !stays(id, link));
        let ended: Vec<(NeighbourId, RunningLink)> = ended.collect();
        for (neighbour, link) in ended {
            if wanted.iter().all(|(other, ..)| *other != neighbour) {
                self.factory.gateway.unlink(neighbour);
            }
            link.end().await;
        }
        self.begin_all(PreparedLinks(wanted));
    }

    /// Begins the links that do not run yet. Call it within a runtime and the server's span.
    pub(super) fn begin_all(&mut self, PreparedLinks(wanted): PreparedLinks) {
        for (neighbour, address, caller) in wanted {
            if !self.running.contains_key(&neighbour) {
                self.begin(neighbour, address, caller);
            }
        }
    }

    /// Waits until all links have ended, and ends those that have not by `deadline`.
    pub(super) async fn finish(&mut self, deadline: Instant) {
        for (_, link) in self.running.drain() {
            if timeout_at(deadline, link.tasks.wait()).await.is_err() {
                link.end().await;
            }
        }
    }

    fn begin(&mut self, neighbour: NeighbourId, address: Address, caller: Caller) {
        self.factory.gateway.link(neighbour);
        let make = self.factory.link_maker(neighbour, caller);
        let end = self.factory.gateway.shutdown().stop().child_token();
        let tasks = TaskTracker::new();
        let run = end.clone().run_until_cancelled_owned(keep_running(make));
        tasks.spawn(run.in_current_span());
        tasks.close();
        let link = RunningLink {
            address,
            end,
            tasks,
        };
        self.running.insert(neighbour, link);
    }
}

impl RunningLink {
    /// Ends the link's task and waits for that.
    async fn end(self) {
        self.end.cancel();
        self.tasks.wait().await;
    }
}

/// Makes a link, again after each panic.
type MakeLink = Box<dyn Fn() -> Link + Send>;

impl LinkFactory {
    fn dial(&self, name: &Name, address: &Address) -> Result<Caller, StartError> {
        let tcp = TcpDialer::new(address, &self.resolver);
        let dialer = match &self.tls {
            Some(credentials) => {
                let subject = Subject::server(name, &self.herd);
                Dialer::tls(tcp, credentials, &subject)
            }
            None => Dialer::tcp(tcp),
        };
        peers::dial(dialer, &self.settings).map_err(|error| StartError::Dial {
            neighbour: name.clone(),
            address: address.clone(),
            error,
        })
    }

    fn link_maker(&self, neighbour: NeighbourId, caller: Caller) -> MakeLink {
        let (gateway, log) = (self.gateway.clone(), self.log.clone());
        let settings = self.settings.clone();
        Box::new(move || {
            let (gateway, caller) = (gateway.clone(), caller.clone());
            Link::new(gateway, neighbour, caller, &settings, &log)
        })
    }
}

/// Runs a link until it finishes. A link that panics is made again.
async fn keep_running(make: MakeLink) {
    loop {
        // A separate task contains a panic.
        let run = tokio::spawn(make().run().in_current_span());
        match AbortOnDropHandle::new(run).await {
            Err(panic) => error!("a link panicked and starts again: {panic}"),
            Ok(()) => return,
        }
        sleep(RESTART_DELAY).await;
    }
}
