//! One running server: opens its sockets, connects its parts, runs and drains them.
//!
//! | file | contents |
//! |---|---|
//! | `credentials` | certificates |
//! | `links` | links, which begin and end while the server runs |
//! | `change` | changes of the plan at run time |
//! | `progress` | the proof that a server does not hang |
//! | `drain` | the end: last answers, last pushes, and what may be lost |
//! | `stored` | the stored state of a server that does not run |

mod change;
mod credentials;
mod drain;
mod links;
mod progress;
mod stored;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::InvalidUri;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, Span, info, info_span, warn};

use crate::clients::{self, ClientPort};
use crate::format::list;
use crate::gateway::{self, Clock, Gateway, ServerSettings, StatusSource, Token, TokenError};
use crate::log::Log;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::net::{self, Acceptor, FileBudget, Resolver};
use crate::operators::Operators;
use crate::peers::{self, Inbound, Port, PortHealth};
use crate::places::Places;
use crate::random;
use crate::replication::expiry::Expiry;
use crate::replication::replica::{Replica, ServerIdentity};
use crate::storage::{Folder, FolderError, Storage, StorageSettings, Stored};
use crate::tls::{self, Credentials};
use crate::web::{self, WebServer};

pub use change::PreparedChange;
pub use credentials::ServerCredentials;
use links::{LinkFactory, Links};
pub use progress::ProgressProbe;
pub use stored::{StoredState, read_stored};

/// The number of the error EMFILE of Unix systems: the process has opened as many files as
/// it may.
const EMFILE: i32 = 24;

/// The settings of one server.
#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// The herd's name.
    pub herd: Name,
    /// The server's name.
    pub name: Name,
    /// All servers of the herd.
    pub members: Vec<gateway::Member>,
    /// The servers it has links with, and their addresses.
    pub neighbours: Vec<(Name, Address)>,
    /// The listening address for clients.
    pub bind_clients: Address,
    /// The listening address for neighbours.
    pub bind_peers: Address,
    /// The files for TLS between servers, if they use it.
    pub tls: Option<tls::Files>,
    /// The listening address for clients with TLS and the certificate there, if it has one.
    pub clients_tls: Option<(Address, tls::Pair)>,
    /// The address that clients dial with TLS, whose host they may look for in the certificate.
    pub clients_tls_host: Option<Address>,
    /// The listening address of the web port, if it has one.
    pub bind_web: Option<Address>,
    /// The address of the web port that others use, if it has one.
    pub web_address: Option<Address>,
    /// The certificate of the web port, if it uses TLS.
    pub web_tls: Option<tls::Pair>,
    /// The maximum number of connections of each kind. It does not change at run time.
    pub files: FileBudget,
    /// Limits on client connections.
    pub clients: gateway::ClientSettings,
    /// Settings of the web port.
    pub web: gateway::WebSettings,
    /// Limits on clients' reports.
    pub gateway: gateway::GatewaySettings,
    /// Settings of the links.
    pub peers: peers::PeerSettings,
    /// The directory of the storage, in which the server has a folder.
    pub storage: StorageSettings,
}

impl ServerPlan {
    /// Returns the settings that change at run time. Reads the token of the web port.
    ///
    /// # Errors
    /// [`StartError::WebToken`].
    pub(crate) fn settings(&self) -> Result<ServerSettings, StartError> {
        Ok(ServerSettings {
            clients: self.clients.clone(),
            web: self.web.clone(),
            web_token: self.web_token()?,
            gateway: self.gateway,
            members: self.members.clone(),
        })
    }

    fn web_token(&self) -> Result<Option<Token>, StartError> {
        let has_api = self.bind_web.is_some() && self.web.api;
        let file = self.web.token_file.as_deref().filter(|_| has_api);
        let read = file.map(Token::read).transpose();
        read.map_err(|error| StartError::WebToken {
            server: self.name.clone(),
            error,
        })
    }

    /// Returns the names of all servers of the herd.
    fn member_names(&self) -> Vec<Name> {
        let members = self.members.iter();
        members.map(|member| member.name.clone()).collect()
    }
}

/// The reason why a server did not start or change. Nothing was started or changed.
#[derive(Debug)]
pub enum StartError {
    /// The server cannot listen.
    Bind {
        /// The server.
        server: Name,
        /// The key of the address in the config, without `bind_`.
        key: &'static str,
        /// The address.
        address: Address,
        /// The errors of the system.
        error: net::BindError,
    },
    /// A certificate, key or CA file is invalid.
    Tls {
        /// The server.
        server: Name,
        /// The file and its error.
        error: tls::FileError,
    },
    /// The folder of the storage is in use.
    Storage {
        /// The server.
        server: Name,
        /// The folder.
        error: FolderError,
    },
    /// The address of a neighbour is invalid.
    Dial {
        /// The neighbour.
        neighbour: Name,
        /// The address.
        address: Address,
        /// The error of the address.
        error: InvalidUri,
    },
    /// The token of the web port cannot be used.
    WebToken {
        /// The server.
        server: Name,
        /// The file and its error.
        error: TokenError,
    },
    /// Too many different servers were neighbours during one incarnation.
    TooManyNeighbours,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind {
                server,
                key,
                address,
                error,
            } => {
                let remedy = bind_remedy(server, key, error);
                write!(f, "cannot bind {address}: {error}; {remedy}")
            }
            Self::Tls { server, error } => {
                write!(
                    f,
                    "cannot use the [security] files of server {server}: {error}"
                )
            }
            Self::Storage { server, error } => {
                write!(f, "cannot start server {server}: {error}")
            }
            Self::Dial {
                neighbour,
                address,
                error,
            } => {
                write!(
                    f,
                    "cannot dial {neighbour} at {address}: {error}; correct \"peers\" of server \
                     {neighbour}"
                )
            }
            Self::WebToken { server, error } => {
                write!(
                    f,
                    "cannot use the [web] token_file of server {server}: {error}"
                )
            }
            Self::TooManyNeighbours => f.write_str(
                "too many servers were neighbours of this server since it started; restart it",
            ),
        }
    }
}

impl std::error::Error for StartError {}

/// Returns what to do about an address that cannot be bound.
fn bind_remedy(server: &Name, key: &str, error: &net::BindError) -> String {
    let cause = error.cause();
    match cause.map_or(io::ErrorKind::Other, io::Error::kind) {
        io::ErrorKind::AddrInUse => format!(
            "stop the other process (is the herd running already?) or change \"{key}\" of server \
             {server}"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "run server {server} on the machine with this address, or set its \"bind_{key}\""
        ),
        io::ErrorKind::PermissionDenied => {
            format!("choose a port above 1023 for \"{key}\" of server {server}")
        }
        _ if cause.and_then(io::Error::raw_os_error) == Some(EMFILE) => {
            "raise the limit on open files (ulimit -n)".to_owned()
        }
        _ => format!("correct \"{key}\" of server {server}"),
    }
}

/// A server with open sockets that has not started yet.
#[derive(Debug)]
pub struct BoundServer {
    plan: ServerPlan,
    settings: ServerSettings,
    clients: Acceptor,
    clients_tls: Option<(Acceptor, Arc<Credentials>)>,
    peers: Acceptor,
    web: Option<(Acceptor, Option<Arc<Credentials>>)>,
    tls: Option<Arc<Credentials>>,
    resolver: Resolver,
    folder: Option<Folder>,
    recovered: Option<(Replica, Option<Stored>)>,
}

/// The addresses on which a server listens, for people: those of its plan, each name with what it
/// stands for.
#[derive(Clone, Debug)]
pub struct ListeningAddresses {
    /// For clients.
    pub clients: String,
    /// For clients with TLS.
    pub clients_tls: Option<String>,
    /// For neighbours.
    pub peers: String,
    /// For monitoring.
    pub web: Option<String>,
}

impl BoundServer {
    /// Reads the certificates and the token of a server, opens its TCP sockets, and locks the
    /// folder of its storage. Looks a name that is not resolved yet up again for a while.
    ///
    /// # Errors
    /// [`StartError::Bind`], [`StartError::Tls`], [`StartError::WebToken`] and
    /// [`StartError::Storage`].
    pub async fn open(plan: ServerPlan) -> Result<Self, StartError> {
        let name = &plan.name;
        let resolver = Resolver::system();
        let bind = |key, address, send_buffer| bind(name, key, address, &resolver, send_buffer);
        let for_clients = |key, address| bind(key, address, Some(clients::SEND_BUFFER_BYTES));
        let credentials = ServerCredentials::load(&plan)?;
        let settings = plan.settings()?;
        let clients = for_clients("clients", &plan.bind_clients).await?;
        let clients_tls = match plan.clients_tls.iter().zip(credentials.clients).next() {
            Some(((address, _), credentials)) => {
                Some((for_clients("clients_tls", address).await?, credentials))
            }
            None => None,
        };
        let peers = bind("peers", &plan.bind_peers, None).await?;
        let web = match &plan.bind_web {
            Some(address) => Some((bind("web", address, None).await?, credentials.web)),
            None => None,
        };
        let folder = plan.storage.folder(name).map(Folder::open);
        let folder = folder.transpose().map_err(|error| StartError::Storage {
            server: name.clone(),
            error,
        })?;
        Ok(Self {
            plan,
            settings,
            clients,
            clients_tls,
            peers,
            web,
            tls: credentials.links,
            resolver,
            folder,
            recovered: None,
        })
    }

    /// Recovers the server's reports from its storage, if it has one. This may take seconds;
    /// [`start`](Self::start) does it otherwise.
    pub fn recover(&mut self, clock: &Clock) {
        if self.recovered.is_none() {
            let mut replica = replica_of(&self.plan);
            let recover = |folder| Stored::recover(folder, &mut replica, clock.now());
            let stored = self.folder.take().map(recover);
            self.recovered = Some((replica, stored));
        }
    }

    /// Returns the addresses on which it listens, for people.
    pub fn addresses(&self) -> ListeningAddresses {
        let clients_tls = self.clients_tls.as_ref();
        ListeningAddresses {
            clients: self.clients.to_string(),
            clients_tls: clients_tls.map(|(acceptor, _)| acceptor.to_string()),
            peers: self.peers.to_string(),
            web: self.web.as_ref().map(|(acceptor, _)| acceptor.to_string()),
        }
    }

    /// Returns the acceptors of all ports.
    fn acceptors(&self) -> impl Iterator<Item = &Acceptor> {
        let clients_tls = self.clients_tls.as_ref().map(|(acceptor, _)| acceptor);
        let web = self.web.as_ref().map(|(acceptor, _)| acceptor);
        let optional = clients_tls.into_iter().chain(web);
        [&self.clients, &self.peers].into_iter().chain(optional)
    }

    /// Warns of names that others cannot dial, as the hosts file of Debian has them.
    fn warn_of_loopback(&self) {
        let clients_tls = self.clients_tls.as_ref().map(|(acceptor, _)| acceptor);
        let ports = [
            ("clients", Some(&self.clients)),
            ("clients_tls", clients_tls),
            ("peers", Some(&self.peers)),
            ("web", self.web.as_ref().map(|(acceptor, _)| acceptor)),
        ];
        for (key, acceptor) in ports {
            if let Some(acceptor) = acceptor
                && let Some(loopback) = acceptor.unexpected_loopback()
            {
                warn!(
                    "other machines cannot reach {acceptor}: the name stands for {loopback} here, \
                     by the hosts file or DNS; correct it there, or set bind_{key} to an address \
                     of this machine"
                );
            }
        }
    }

    /// Returns the listening address for clients with TLS, if it has one.
    pub fn clients_tls_address(&self) -> Option<io::Result<SocketAddr>> {
        let listener = self.clients_tls.as_ref();
        listener.map(|(listener, _)| listener.local_address())
    }

    /// Returns the listening address for clients.
    pub fn clients_address(&self) -> io::Result<SocketAddr> {
        self.clients.local_address()
    }

    /// Returns the listening address for neighbours.
    pub fn peers_address(&self) -> io::Result<SocketAddr> {
        self.peers.local_address()
    }

    /// Returns the listening address of the web port, if it has one.
    pub fn web_address(&self) -> Option<io::Result<SocketAddr>> {
        let web = self.web.as_ref();
        web.map(|(acceptor, _)| acceptor.local_address())
    }

    /// Replaces the plan by one that differs only in the ports of addresses: those that the system
    /// picked, of this server and of others, take the place of port 0.
    pub fn set_addresses(&mut self, plan: ServerPlan) {
        self.plan = plan;
    }

    /// Returns the plan.
    pub fn plan(&self) -> &ServerPlan {
        &self.plan
    }

    /// Starts the server. Call it within a runtime. Tracing events have a span named
    /// `server`; the transcript goes to `log`.
    ///
    /// # Errors
    /// [`StartError::Dial`] and [`StartError::TooManyNeighbours`].
    pub fn start(
        mut self,
        places: Places,
        log: Log,
        clock: Clock,
    ) -> Result<RunningServer, StartError> {
        let span = info_span!("server", server = %self.plan.name);
        let _entered = span.enter();
        self.warn_of_loopback();
        let addresses = self.addresses();
        let ports = self.acceptors().map(Acceptor::turn_probe).collect();
        let resolver = self.resolver.clone();
        self.recover(&clock);
        let (replica, stored) = self.recovered.take().expect("it was recovered above");
        let gateway = Gateway::new(replica, clock, self.settings);
        let gateway = gateway.with_storage(stored.as_ref().map(Stored::progress));
        let gateway = Arc::new(gateway);

        let factory = LinkFactory {
            gateway: gateway.clone(),
            log: log.clone(),
            herd: self.plan.herd.clone(),
            tls: self.tls.clone(),
            resolver: resolver.clone(),
            settings: self.plan.peers.clone(),
        };
        let mut links = Links::new(factory);
        let neighbours = links.prepare(&self.plan.neighbours)?;

        let inbound = Inbound::new(gateway.clone(), &log);
        let places = places.with_own_counters();
        let status = StatusSource::new(gateway.clone(), places.clone(), log.clone());
        let operators = Operators::service(status.clone());
        let port = Port::new(inbound, &self.plan.peers, self.plan.files).beside(operators);
        let health = port.health();
        let mut edges = JoinSet::new();
        let peers = serve_peers(
            port,
            self.peers,
            self.tls.clone(),
            gateway.shutdown().stop().clone(),
        );
        edges.spawn(peers.in_current_span());
        let mut upkeep = JoinSet::new();
        let mut shown = Vec::new();
        if let Some((acceptor, credentials)) = self.web {
            shown.extend(credentials.clone());
            let dialling = web::Dialling {
                resolver: resolver.clone(),
                credentials: self.tls.clone(),
            };
            let hosts = [&self.plan.web_address, &self.plan.bind_web];
            let hosts = hosts.into_iter().flatten().cloned().collect();
            let server = WebServer::new(status, dialling, hosts);
            let web = web::serve(server, acceptor, credentials, self.plan.files.web);
            upkeep.spawn(web.in_current_span());
        }
        let client_port = ClientPort::new(
            gateway.clone(),
            places,
            &log,
            self.plan.files.client_handshakes,
        );
        let mut clients_edge = JoinSet::new();
        let plain = client_port.clone().serve(self.clients);
        clients_edge.spawn(plain.in_current_span());
        if let Some((acceptor, credentials)) = self.clients_tls {
            shown.push(credentials.clone());
            let with_tls = client_port.serve_tls(acceptor, credentials);
            clients_edge.spawn(with_tls.in_current_span());
        }

        let start = |stored| {
            let sync = self.plan.storage.sync;
            Storage::start(stored, gateway.clone(), sync, span.clone())
        };
        let storage = stored.map(start);
        links.begin_all(neighbours);
        if self.plan.gateway.expire_after.is_some() {
            upkeep.spawn(gateway::purge_expired_forever(gateway.clone()).in_current_span());
        }
        for credentials in self.tls.into_iter().chain(shown) {
            upkeep.spawn(tls::keep_current(credentials).in_current_span());
        }
        info!("connections at most: {}", self.plan.files);
        info!("started: {}", summary(&self.plan, &addresses));
        Ok(RunningServer {
            drain_time: self.plan.peers.drain,
            _stop_on_drop: gateway.shutdown().stop_on_drop(),
            progress: ProgressProbe::new(gateway.clone(), ports),
            gateway,
            log,
            health,
            clients: clients_edge,
            peers: edges,
            links,
            storage,
            _upkeep: upkeep,
            span: span.clone(),
        })
    }
}

async fn bind(
    server: &Name,
    key: &'static str,
    address: &Address,
    resolver: &Resolver,
    send_buffer: Option<u32>,
) -> Result<Acceptor, StartError> {
    let bound = net::bind(address, resolver, send_buffer).await;
    bound.map_err(|error| StartError::Bind {
        server: server.clone(),
        key,
        address: address.clone(),
        error,
    })
}

fn replica_of(plan: &ServerPlan) -> Replica {
    let identity = ServerIdentity {
        herd: plan.herd.clone(),
        name: plan.name.clone(),
        incarnation: gateway::draw_incarnation(),
    };
    let neighbours = plan
        .neighbours
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let keys = std::array::from_fn(|_| random::u64());
    let replica = Replica::new(identity, plan.member_names(), neighbours, keys);
    let expiry = |after| Expiry::new(after, plan.gateway.purge_delay);
    replica.with_expiry(plan.gateway.expire_after.map(expiry))
}

async fn serve_peers(
    port: Port,
    acceptor: Acceptor,
    tls: Option<Arc<Credentials>>,
    stop: CancellationToken,
) {
    port.health().set(true).await;
    port.serve(acceptor, tls, stop.cancelled_owned()).await;
}

fn summary(plan: &ServerPlan, addresses: &ListeningAddresses) -> String {
    let neighbours: Vec<_> = plan
        .neighbours
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let neighbours = match &neighbours[..] {
        [] => "no neighbours".to_owned(),
        names => format!("links to {}", list(names, "and")),
    };
    let clients_tls = addresses.clients_tls.as_ref();
    let clients_tls = clients_tls.map(|address| format!(" and with TLS on {address}"));
    let with_tls = if plan.tls.is_some() { " with TLS" } else { "" };
    let web = addresses.web.as_ref();
    let web_tls = if plan.web_tls.is_some() {
        " with TLS"
    } else {
        ""
    };
    let web = web.map_or(String::new(), |address| {
        format!("web{web_tls} on {address}, ")
    });
    format!(
        "clients on {}{}, neighbours{with_tls} on {}, {web}{neighbours}",
        addresses.clients,
        clients_tls.unwrap_or_default(),
        addresses.peers
    )
}

/// A running server. [`drain`](Self::drain) stops it without losing reports; dropping it
/// stops it at once.
#[derive(Debug)]
pub struct RunningServer {
    gateway: Arc<Gateway>,
    progress: ProgressProbe,
    log: Log,
    health: PortHealth,
    clients: JoinSet<()>,
    peers: JoinSet<()>,
    links: Links,
    storage: Option<Storage>,
    /// Tasks that end with the server.
    _upkeep: JoinSet<Infallible>,
    drain_time: Duration,
    span: Span,
    _stop_on_drop: DropGuard,
}

impl RunningServer {
    /// Returns the shared state of the server.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Waits for an edge of the server to end by itself, which only a bug can cause, and
    /// returns how it ended. Cancel safe.
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
}
