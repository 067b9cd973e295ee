//! One herd server: opens its sockets, puts its parts together, runs them and
//! drains them.
//!
//! | file | holds |
//! |---|---|
//! | `credentials` | its certificates |
//! | `links` | its links, which begin and end while it runs |
//! | `change` | what becomes of it when its plan changes |

mod change;
mod credentials;
mod links;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::InvalidUri;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span, info, info_span, warn};

use crate::clients::{self, Listener};
use crate::gateway::{self, Clock, Gateway};
use crate::log::Log;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::net::{self, Acceptor, Listen, TlsListener};
use crate::operators::Operators;
use crate::peers::{self, Connect, Health, Inbound, Port};
use crate::places::Places;
use crate::random;
use crate::replication::Incarnation;
use crate::replication::expiry::Expiry;
use crate::replication::replica::{Replica, ServerIdentity};
use crate::tls::{self, Credentials};
use crate::web::{self, WebServer};

pub use change::PreparedChange;
use links::{Links, Maker};

/// Connections to the peer port that were accepted and not yet taken up.
const ACCEPTED: usize = 16;

/// How long a server that has nothing left to do waits for the calls under way:
/// they are answered at once, but a caller may never read its answer.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// What Unix systems call EMFILE: this process has opened as many files as it
/// may.
const NO_MORE_FILES: i32 = 24;

/// What makes one server of a herd.
#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// The herd's name.
    pub herd: Name,
    /// The server's name.
    pub name: Name,
    /// All servers of the herd.
    pub members: Vec<Name>,
    /// The servers it has links with, and where to reach them.
    pub neighbours: Vec<(Name, Address)>,
    /// Where it listens for clients.
    pub bind_clients: Address,
    /// Where it listens for its neighbours.
    pub bind_peers: Address,
    /// Its part in TLS between servers, if they use it.
    pub tls: Option<tls::Files>,
    /// Where it listens for clients with TLS besides, and what it shows them.
    pub clients_tls: Option<(Address, tls::Pair)>,
    /// Where it tells how it is, if anywhere.
    pub bind_web: Option<Address>,
    /// Limits of the text edge.
    pub clients: clients::ClientSettings,
    /// Limits of the web port.
    pub web: web::WebSettings,
    /// What it asks of its own clients' reports.
    pub gateway: gateway::GatewaySettings,
    /// How its links behave.
    pub peers: peers::PeerSettings,
}

/// Why a server did not start. Nothing of it runs.
#[derive(Debug)]
pub enum StartError {
    /// It can not listen.
    Bind {
        /// Which server.
        server: Name,
        /// For whom it was to listen: clients, neighbours or web.
        whom: &'static str,
        /// Where.
        address: Address,
        /// What the system says.
        error: io::Error,
    },
    /// A certificate, or what belongs to it, can not be used.
    Tls {
        /// Which server.
        server: Name,
        /// The file, and what is wrong with it.
        error: tls::FileError,
    },
    /// A neighbour's address can not be dialled.
    Dial {
        /// Which neighbour.
        neighbour: Name,
        /// Where.
        address: Address,
        /// What is wrong with it.
        error: InvalidUri,
    },
    /// Too many other servers were neighbours before, in one life of this one.
    NeighboursBefore,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind {
                server,
                whom,
                address,
                error,
            } => {
                write!(
                    f,
                    "{server} can not listen for {whom} on {address}: {error}; {}",
                    way_out(error)
                )
            }
            Self::Tls { server, error } => {
                write!(f, "{server} can not use its part of [security]: {error}")
            }
            Self::Dial {
                neighbour,
                address,
                error,
            } => {
                write!(
                    f,
                    "{neighbour} can not be dialled at {address}: {error}; correct its address in the config"
                )
            }
            Self::NeighboursBefore => f.write_str(
                "too many servers were neighbours of this one since it started: restart it",
            ),
        }
    }
}

impl std::error::Error for StartError {}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "stop the program that has the port (is a herd running already?), or change the port in the config"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: run this server where it has, or set bind_clients, bind_peers and bind_web"
        }
        io::ErrorKind::PermissionDenied => "choose a port above 1023",
        _ if error.raw_os_error() == Some(NO_MORE_FILES) => {
            "raise the limit on open files (ulimit -n)"
        }
        _ => "correct the address in the config",
    }
}

/// A server whose sockets are open, and that does nothing yet.
#[derive(Debug)]
pub struct BoundServer<L = Acceptor> {
    plan: ServerPlan,
    clients: L,
    clients_tls: Option<(L, Arc<Credentials>)>,
    peers: L,
    web: Option<L>,
    connect: Connect,
    tls: Option<Arc<Credentials>>,
}

impl BoundServer {
    /// Reads the certificates of a server and opens its TCP sockets.
    pub async fn open(plan: ServerPlan) -> Result<Self, StartError> {
        let name = &plan.name;
        let for_clients = |address| bind(name, "clients", address, Some(clients::SEND_BUFFER));
        let tls = credentials::of_server(&plan)?;
        let clients = for_clients(&plan.bind_clients).await?;
        let clients_tls = match &plan.clients_tls {
            Some((address, pair)) => {
                let shown = credentials::for_clients(name, pair.clone())?;
                Some((for_clients(address).await?, shown))
            }
            None => None,
        };
        let peers = bind(name, "neighbours", &plan.bind_peers, None).await?;
        let web = match &plan.bind_web {
            Some(address) => Some(bind(name, "web", address, None).await?),
            None => None,
        };
        Ok(Self {
            web,
            clients_tls,
            tls,
            ..Self::on(plan, clients, peers, peers::tcp)
        })
    }

    /// Where it listens for clients with TLS, if it does.
    pub fn clients_tls_address(&self) -> Option<io::Result<SocketAddr>> {
        let listener = self.clients_tls.as_ref();
        listener.map(|(listener, _)| listener.local_address())
    }

    /// Where it listens for clients.
    pub fn clients_address(&self) -> io::Result<SocketAddr> {
        self.clients.local_address()
    }

    /// Where it listens for its neighbours.
    pub fn peers_address(&self) -> io::Result<SocketAddr> {
        self.peers.local_address()
    }

    /// Where it tells how it is; `None` where nowhere.
    pub fn web_address(&self) -> Option<io::Result<SocketAddr>> {
        self.web.as_ref().map(Acceptor::local_address)
    }
}

impl<L: Listen> BoundServer<L> {
    /// A server on sockets of the caller's making, which need not be TCP's:
    /// where its clients come in, where its neighbours do, and its way to them.
    /// All of it without TLS, whatever the plan says, and it tells nobody how it
    /// is.
    pub fn on(plan: ServerPlan, clients: L, peers: L, connect: Connect) -> Self {
        Self {
            plan,
            clients,
            clients_tls: None,
            peers,
            web: None,
            connect,
            tls: None,
        }
    }

    /// Its plan.
    pub fn plan(&self) -> &ServerPlan {
        &self.plan
    }

    /// Starts the server, which must be within a runtime. Its tracing events go
    /// under a span named `server`, its transcript to `log`.
    pub fn start(
        self,
        places: Places,
        log: Log,
        clock: Clock,
    ) -> Result<RunningServer, StartError> {
        let span = info_span!("server", server = %self.plan.name);
        let _entered = span.enter();
        let gateway = Arc::new(gateway_of(&self.plan, clock));

        let (drain, draining) = watch::channel(false);
        let (finish, finishing) = watch::channel(false);
        let (stop, stopping) = watch::channel(false);
        let most_connections = watch::Sender::new(self.plan.clients.max_connections);
        let maker = Maker {
            gateway: gateway.clone(),
            log: log.clone(),
            herd: self.plan.herd.clone(),
            tls: self.tls.clone(),
            connect: self.connect,
            settings: self.plan.peers.clone(),
        };
        let mut links = Links::new(maker, finishing);
        let neighbours = links.prepare(&self.plan.neighbours)?;

        let inbound = Inbound::new(gateway.clone(), &log);
        let places = places.with_own_counters();
        let operators = Operators::service(gateway.clone(), places.clone());
        let port = Port::new(inbound, &self.plan.peers).beside(operators);
        let health = port.health();
        let mut edges = JoinSet::new();
        let incoming = (self.peers, self.tls.clone(), gateway.clone());
        let peers = serve_peers(port, health.clone(), incoming, stopping);
        edges.spawn(peers.in_current_span());
        let mut upkeep = JoinSet::new();
        let web = self.web.map(|socket| {
            let (gateway, places, log) = (gateway.clone(), places.clone(), log.clone());
            let most = most_connections.subscribe();
            let web = WebServer::new(gateway, places, log, most, &self.plan.web);
            upkeep.spawn(web::serve(web.clone(), socket).in_current_span());
            web
        });
        let listener = Listener::new(gateway.clone(), places, &self.plan.clients, &log);
        let mut clients_edge = JoinSet::new();
        let in_clear = listener.guard(self.clients);
        let in_clear = clients::serve(listener.clone(), in_clear, draining.clone());
        clients_edge.spawn(in_clear.in_current_span());
        let mut shown = None;
        if let Some((socket, credentials)) = self.clients_tls {
            shown = Some(credentials.clone());
            let (gateway, held_to) = (gateway.clone(), listener.clone());
            let door =
                move || credentials::door(credentials.clone(), &held_to.settings(), &gateway);
            let socket = TlsListener::new(listener.guard(socket), door);
            let with_tls = clients::serve(listener.clone(), socket, draining);
            clients_edge.spawn(with_tls.in_current_span());
        }

        links.begin_all(neighbours);
        if self.plan.gateway.expire_after.is_some() {
            upkeep.spawn(gateway::purge_expired_forever(gateway.clone()).in_current_span());
        }
        for credentials in self.tls.into_iter().chain(shown) {
            upkeep.spawn(tls::keep_current(credentials).in_current_span());
        }
        info!("started: {}", summary(&self.plan));
        Ok(RunningServer {
            drain_time: self.plan.peers.drain,
            gateway,
            log,
            health,
            drain,
            finish,
            stop,
            clients: clients_edge,
            peers: edges,
            links,
            most_connections,
            listener,
            web,
            _upkeep: upkeep,
            span: span.clone(),
        })
    }
}

async fn bind(
    server: &Name,
    whom: &'static str,
    address: &Address,
    send_buffer: Option<u32>,
) -> Result<Acceptor, StartError> {
    let bound = net::bind(address, send_buffer).await;
    bound.map(Acceptor::new).map_err(|error| StartError::Bind {
        server: server.clone(),
        whom,
        address: address.clone(),
        error,
    })
}

fn gateway_of(plan: &ServerPlan, clock: Clock) -> Gateway {
    let identity = ServerIdentity {
        herd: plan.herd.clone(),
        name: plan.name.clone(),
        incarnation: draw_incarnation(),
    };
    let neighbours = plan
        .neighbours
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let keys = std::array::from_fn(|_| random::u64());
    let replica = Replica::new(identity, plan.members.clone(), neighbours, keys);
    let replica = replica.with_expiry(plan.gateway.expire_after.map(Expiry::new));
    Gateway::new(replica, clock, &plan.gateway)
}

/// A number that no other life of any server had.
fn draw_incarnation() -> Incarnation {
    std::iter::repeat_with(random::u64)
        .find_map(Incarnation::new)
        .expect("the draws do not end")
}

async fn serve_peers(
    port: Port,
    health: Health,
    (listener, tls, gateway): (impl Listen, Option<Arc<Credentials>>, Arc<Gateway>),
    mut stop: watch::Receiver<bool>,
) {
    health.set(true).await;
    let first_byte = port.first_byte();
    let (ready, incoming) = mpsc::channel(ACCEPTED);
    let stopped = async move { drop(stop.wait_for(|&stop| stop).await) };
    tokio::select! {
        () = port.serve(incoming, stopped) => {}
        never = peers::accept(listener, first_byte, tls, gateway, ready) => match never {},
    }
}

fn summary(plan: &ServerPlan) -> String {
    let neighbours: Vec<_> = plan
        .neighbours
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let talks_to = match &neighbours[..] {
        [] => "nobody".to_owned(),
        names => names.join(", "),
    };
    let clients_tls = plan.clients_tls.as_ref();
    let clients_tls = clients_tls.map(|(address, _)| format!(" and with TLS on {address}"));
    let with_tls = if plan.tls.is_some() { " with TLS" } else { "" };
    let web = plan.bind_web.as_ref();
    let web = web.map_or(String::new(), |address| format!("web on {address}, "));
    format!(
        "clients on {}{}, neighbours{with_tls} on {}, {web}talks to {talks_to}",
        plan.bind_clients,
        clients_tls.unwrap_or_default(),
        plan.bind_peers
    )
}

/// A server that runs. [`drain`](Self::drain) ends it well; dropping it ends it
/// without waiting for anything.
#[derive(Debug)]
pub struct RunningServer {
    gateway: Arc<Gateway>,
    log: Log,
    health: Health,
    drain: watch::Sender<bool>,
    finish: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
    peers: JoinSet<()>,
    links: Links,
    /// Who lets clients in,
    listener: Listener,
    /// and those who monitor,
    web: Option<WebServer>,
    /// and tell how many clients there may be.
    most_connections: watch::Sender<usize>,
    /// Ends with the server.
    _upkeep: JoinSet<Infallible>,
    drain_time: Duration,
    span: Span,
}

impl RunningServer {
    /// The server's insides, for whoever watches it.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Resolves if an edge of the server ended by itself, which only a mistake
    /// of this program can cause, and says how. May be dropped at any time.
    pub async fn failed(&mut self) -> String {
        let ended = tokio::select! {
            Some(ended) = self.clients.join_next() => ended,
            Some(ended) = self.peers.join_next() => ended,
            else => return "it has ended".to_owned(),
        };
        match ended {
            Ok(()) => "an edge of the server ended".to_owned(),
            Err(panic) => panic.to_string(),
        }
    }

    /// Ends the server: takes no more of clients and neighbours, answers what
    /// was read, pushes until every neighbour that is up has all of it or the
    /// drain time has passed. Gives how many reports of this server's own
    /// clients no neighbour got.
    pub async fn drain(mut self) -> usize {
        let span = self.span.clone();
        async {
            let deadline = Instant::now() + self.drain_time;
            self.gateway.board().close();
            self.health.set(false).await;
            self.drain.send_replace(true);
            wait_for(&mut self.clients, deadline).await;
            self.finish.send_replace(true);
            self.links.finish(deadline).await;
            self.stop.send_replace(true);
            wait_for(&mut self.peers, deadline.min(Instant::now() + LAST_ANSWERS)).await;
            let lost = self.count_unshared();
            match lost {
                0 => info!("stopped"),
                _ if self.gateway.replica().neighbours().next().is_none() => info!("stopped"),
                1 => warn!("stopped; 1 report reached no neighbour"),
                _ => warn!("stopped; {lost} reports reached no neighbour"),
            }
            self.log.flush();
            lost
        }
        .instrument(span)
        .await
    }

    fn count_unshared(&self) -> usize {
        let (replica, board) = (self.gateway.replica(), self.gateway.board());
        let cursors = replica.neighbours().map(|(id, _)| board.link(id).cursor);
        replica.count_own_after(cursors.max().unwrap_or(0))
    }
}

/// Waits for tasks to end by themselves, and ends those that do not in time.
async fn wait_for<T: 'static>(tasks: &mut JoinSet<T>, deadline: Instant) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if timeout_at(deadline, all).await.is_err() {
        tasks.abort_all();
    }
}
