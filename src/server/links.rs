//! The links of one server: a task for each neighbour, which begin and end
//! while the server runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{Instrument, error};

use crate::gateway::Gateway;
use crate::log::Log;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::peers::{self, Caller, Connect, Link};
use crate::replication::NeighbourId;
use crate::tls::{Credentials, Subject};

use super::{StartError, wait_for};

/// A task that panicked is run again after this time.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// The links of one server.
#[derive(Debug)]
pub(super) struct Links {
    maker: Maker,
    finishing: watch::Receiver<bool>,
    standing: HashMap<NeighbourId, Standing>,
}

/// What all links of a server are made with.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) gateway: Arc<Gateway>,
    pub(super) log: Log,
    pub(super) herd: Name,
    pub(super) tls: Option<Arc<Credentials>>,
    pub(super) connect: Connect,
    pub(super) settings: peers::PeerSettings,
}

/// A link whose task runs.
#[derive(Debug)]
struct Standing {
    address: Address,
    /// Dropped, it ends the task.
    stay: oneshot::Sender<()>,
    task: JoinSet<()>,
}

/// Links that can be, and are not yet: where all of a server's neighbours can
/// be dialled.
#[derive(Debug)]
pub(super) struct Prepared(Vec<(NeighbourId, Address, Caller)>);

impl Links {
    /// No links yet. They end well when `finishing` becomes true, and at once
    /// when this is dropped.
    pub(super) fn new(maker: Maker, finishing: watch::Receiver<bool>) -> Self {
        Self {
            maker,
            finishing,
            standing: HashMap::new(),
        }
    }

    /// Finds out whether there can be links with these neighbours. Changes
    /// nothing. Must be called within a runtime.
    pub(super) fn prepare(&self, neighbours: &[(Name, Address)]) -> Result<Prepared, StartError> {
        let prepare = |(name, address): &(Name, Address)| {
            let caller = self.maker.dial(name, address)?;
            let neighbour = self.maker.gateway.register(name);
            let neighbour = neighbour.ok_or(StartError::NeighboursBefore)?;
            Ok((neighbour, address.clone(), caller))
        };
        neighbours
            .iter()
            .map(prepare)
            .collect::<Result<_, _>>()
            .map(Prepared)
    }

    /// Takes greetings of those that are new already, so that servers which change
    /// one after the other do not refuse each other meanwhile.
    pub(super) fn expect(&self, Prepared(wanted): &Prepared) {
        for (neighbour, ..) in wanted {
            if !self.standing.contains_key(neighbour) {
                self.maker.gateway.link(*neighbour);
            }
        }
    }

    /// From now on these are the neighbours. Links with others end, those with
    /// new ones begin, and one whose neighbour is elsewhere now begins anew. To be
    /// called as [`begin_all`](Self::begin_all) is.
    pub(super) async fn change(&mut self, Prepared(wanted): Prepared) {
        let stays = |neighbour: &NeighbourId, link: &Standing| {
            let mut wanted = wanted.iter();
            wanted.any(|(other, address, _)| other == neighbour && *address == link.address)
        };
        let gone = self.standing.extract_if(|id, link| !stays(id, link));
        let gone: Vec<(NeighbourId, Standing)> = gone.collect();
        for (neighbour, link) in gone {
            if wanted.iter().all(|(other, ..)| *other != neighbour) {
                self.maker.gateway.unlink(neighbour);
            }
            link.end().await;
        }
        self.begin_all(Prepared(wanted));
    }

    /// Begins those links that do not stand. Must be called within a runtime and
    /// in the server's span.
    pub(super) fn begin_all(&mut self, Prepared(wanted): Prepared) {
        for (neighbour, address, caller) in wanted {
            if !self.standing.contains_key(&neighbour) {
                self.begin(neighbour, address, caller);
            }
        }
    }

    /// Waits until all links have finished, and ends those that do not in time.
    pub(super) async fn finish(&mut self, deadline: Instant) {
        for link in self.standing.values_mut() {
            wait_for(&mut link.task, deadline).await;
        }
    }

    fn begin(&mut self, neighbour: NeighbourId, address: Address, caller: Caller) {
        self.maker.gateway.link(neighbour);
        let (stay, left) = oneshot::channel();
        let make = self.maker.maker_of(neighbour, caller);
        let mut task = JoinSet::new();
        let run = keep_running(make, self.finishing.clone(), left);
        task.spawn(run.in_current_span());
        let link = Standing {
            address,
            stay,
            task,
        };
        self.standing.insert(neighbour, link);
    }
}

impl Standing {
    /// Ends the link's task, and returns when it has ended.
    async fn end(mut self) {
        drop(self.stay);
        while self.task.join_next().await.is_some() {}
    }
}

/// A link as often as it takes: made anew if it should panic.
type MakeLink = Box<dyn Fn() -> Link + Send>;

impl Maker {
    fn dial(&self, name: &Name, address: &Address) -> Result<Caller, StartError> {
        let caller = match &self.tls {
            Some(credentials) => {
                let whom = Subject::server(name, &self.herd);
                peers::dial_secure(address, &self.settings, credentials, &whom)
            }
            None => peers::dial(address, &self.settings, self.connect),
        };
        caller.map_err(|error| StartError::Dial {
            neighbour: name.clone(),
            address: address.clone(),
            error,
        })
    }

    fn maker_of(&self, neighbour: NeighbourId, caller: Caller) -> MakeLink {
        let (gateway, log) = (self.gateway.clone(), self.log.clone());
        let settings = self.settings.clone();
        Box::new(move || {
            let (gateway, caller) = (gateway.clone(), caller.clone());
            Link::new(gateway, neighbour, caller, &settings, &log)
        })
    }
}

/// Runs a link until it has finished or `left` is closed, whatever it takes.
async fn keep_running(
    make: MakeLink,
    finish: watch::Receiver<bool>,
    mut left: oneshot::Receiver<()>,
) {
    loop {
        // A task of its own, so that a panic ends here; and in a set, so that it
        // ends with this one.
        let mut run = JoinSet::new();
        run.spawn(make().run(finish.clone()).in_current_span());
        tokio::select! {
            ended = run.join_next() => match ended {
                Some(Err(panic)) => error!("a link ended by a mistake of this program: {panic}"),
                Some(Ok(())) | None => return,
            },
            _ = &mut left => return run.shutdown().await,
        }
        tokio::select! {
            () = sleep(RESTART_PAUSE) => {}
            _ = &mut left => return,
        }
    }
}
