//! A herd of servers in this process, and its faults.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::format::list;
use crate::gateway::{self, Clock, Gateway};
use crate::log::{Log, LogSettings};
use crate::model::address::Address;
use crate::model::name::Name;
use crate::model::timestamp::UnixNanos;
use crate::net::FileBudget;
use crate::peers::PeerSettings;
use crate::places::{Places, PlacesResponse};
use crate::server::{BoundServer, RunningServer, ServerPlan};
use crate::storage::StorageSettings;

use super::error::{TestkitError, done};
use super::folder::HerdFolder;
use super::line_client::LineClient;
use super::link_proxy::{LinkMode, LinkProxy};
use super::own_runtime::OwnRuntime;
use super::topology::Topology;

/// Time limit of a query of places. The kit's own places answer at once.
const PLACES_LIMIT: Duration = Duration::from_secs(5);

/// Time between two syncs of storage, the shortest that a config may have.
const SYNC: Duration = Duration::from_millis(10);

/// A herd whose servers can be killed, restarted and disconnected.
///
/// Methods that take the name of a server panic if the herd has no such server, or if it does not
/// run where it must. Methods that take two ends of a link panic if they have none.
pub struct Herd {
    pub(super) topology: Topology,
    /// The proxies for connections from the first server to the second.
    proxies: HashMap<(String, String), LinkProxy>,
    pub(super) launched: BTreeMap<String, LaunchedServer>,
    launches: usize,
    places: Places,
    is_stored: bool,
    adjust: Box<dyn Fn(&mut ServerPlan) + Send>,
    // These two last: proxies and logs outlive the servers.
    _wires: OwnRuntime,
    folder: HerdFolder,
}

/// One incarnation of a server.
pub(super) struct LaunchedServer {
    pub(super) gateway: Arc<Gateway>,
    clients: SocketAddr,
    clients_tls: Option<SocketAddr>,
    peers: SocketAddr,
    web: Option<SocketAddr>,
    /// Both are there until the server ends.
    pub(super) running: Option<RunningServer>,
    pub(super) runtime: Option<OwnRuntime>,
}

/// Beginnings: which servers run, and how.
impl Herd {
    /// Creates a herd without a running server, and without places.
    #[track_caller]
    pub fn new(topology: impl Into<Topology>) -> Self {
        done(Self::try_new(topology.into()))
    }

    fn try_new(topology: Topology) -> Result<Self, TestkitError> {
        let folder = HerdFolder::create();
        let folder = folder.map_err(|(path, error)| TestkitError::Folder { path, error })?;
        let wires = OwnRuntime::start().map_err(TestkitError::Resources)?;
        let both = |(a, b): &(String, String)| [(a.clone(), b.clone()), (b.clone(), a.clone())];
        let directions = topology.links.iter().flat_map(both);
        let start = |direction| Ok((direction, LinkProxy::try_start(wires.handle())?));
        let proxies: io::Result<_> = directions.map(start).collect();
        Ok(Self {
            proxies: proxies.map_err(TestkitError::Resources)?,
            topology,
            launched: BTreeMap::new(),
            launches: 0,
            places: Places::new(|_| async { PlacesResponse::none() }, PLACES_LIMIT),
            is_stored: false,
            adjust: Box::new(|_| {}),
            _wires: wires,
            folder,
        })
    }

    /// Starts a herd, and waits until every link is up.
    #[track_caller]
    pub fn start(topology: impl Into<Topology>) -> Self {
        Self::new(topology).launch_all()
    }

    /// Changes the plans of servers that are launched from now on: limits, certificates, web port.
    /// Links have settings for loopback, with which a silent neighbour is detected in a second.
    #[must_use]
    pub fn adjust(mut self, adjust: impl Fn(&mut ServerPlan) + Send + 'static) -> Self {
        self.adjust = Box::new(adjust);
        self
    }

    /// Changes the places of servers that are launched from now on.
    #[must_use]
    pub fn with_places(mut self, places: Places) -> Self {
        self.places = places;
        self
    }

    /// Gives servers that are launched from now on storage in the herd's folder, so that one that
    /// starts again has what it had on its disk. It syncs every 10 ms.
    #[must_use]
    pub fn with_storage(mut self) -> Self {
        self.is_stored = true;
        self
    }

    /// Starts every server, and waits until every link is up.
    #[track_caller]
    pub fn launch_all(mut self) -> Self {
        for name in self.topology.servers.clone() {
            self.launch(&name);
        }
        self.await_links();
        self
    }

    /// Starts every server with a clock that always shows `now`, nanoseconds since 1970, and waits
    /// until every link is up.
    #[track_caller]
    pub fn launched_at(mut self, now: i64) -> Self {
        for name in self.topology.servers.clone() {
            self.launch_with(&name, Clock::new(move || UnixNanos(now)), Log::off());
        }
        self.await_links();
        self
    }

    /// Starts a server, again if it was killed or drained, on free ports.
    #[track_caller]
    pub fn launch(&mut self, name: &str) {
        done(self.try_launch(name));
    }

    /// Does the same as [`launch`](Self::launch) with a plan that may not work.
    ///
    /// # Errors
    /// [`TestkitError::Resources`], [`TestkitError::Log`] and [`TestkitError::Start`]. The server
    /// does not run.
    #[track_caller]
    pub fn try_launch(&mut self, name: &str) -> Result<(), TestkitError> {
        self.check_stopped(name);
        let settings = LogSettings {
            dir: self.folder.path().join(name),
            ..LogSettings::default()
        };
        let log = Log::open(&settings, &(self.launches + 1).to_string());
        let log = log.map_err(|error| TestkitError::Log {
            server: name.to_owned(),
            error,
        })?;
        self.try_launch_with(name, Clock::system(), log)
    }

    /// Starts a server with another clock, and another log in place of one in the herd's folder.
    #[track_caller]
    pub fn launch_with(&mut self, name: &str, clock: Clock, log: Log) {
        done(self.try_launch_with(name, clock, log));
    }

    #[track_caller]
    fn try_launch_with(&mut self, name: &str, clock: Clock, log: Log) -> Result<(), TestkitError> {
        self.check_stopped(name);
        let plan = self.plan(name);
        let runtime = OwnRuntime::start().map_err(TestkitError::Resources)?;
        let places = self.places.clone();
        let start = async {
            let bound = BoundServer::open(plan).await?;
            let addresses = BoundAddresses::of(&bound);
            Ok((addresses, bound.start(places, log, clock)?))
        };
        let (addresses, running) = runtime.run(start).map_err(|error| TestkitError::Start {
            server: name.to_owned(),
            error,
        })?;
        let BoundAddresses {
            clients,
            clients_tls,
            peers,
            web,
        } = addresses.map_err(TestkitError::Resources)?;
        let to_here = self.proxies.iter().filter(|((_, to), _)| to == name);
        to_here.for_each(|(_, proxy)| proxy.set_target(peers));
        let launched = LaunchedServer {
            gateway: running.gateway().clone(),
            clients,
            clients_tls,
            peers,
            web,
            running: Some(running),
            runtime: Some(runtime),
        };
        self.launched.insert(name.to_owned(), launched);
        self.launches += 1;
        Ok(())
    }
}

/// Faults, and their ends.
impl Herd {
    /// Ends a server as SIGKILL would: nothing more is written, pushed or answered, and its sockets
    /// close.
    #[track_caller]
    pub fn kill(&mut self, name: &str) {
        self.remove(name).end();
    }

    /// Ends a server as SIGTERM would. Returns the number of reports that may be lost: those that
    /// neither a neighbour nor the disk has.
    #[track_caller]
    pub fn drain(&mut self, name: &str) -> usize {
        let mut server = self.remove(name);
        let (running, runtime) = server
            .running
            .take()
            .zip(server.runtime.as_ref())
            .expect(RUNS);
        let lost = runtime.run(running.drain());
        server.end();
        lost
    }

    /// Kills a server and launches it.
    #[track_caller]
    pub fn restart(&mut self, name: &str) {
        self.kill(name);
        self.launch(name);
    }

    /// Applies `change` to the plan of a running server, as a reload of the config does.
    #[track_caller]
    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut ServerPlan)) {
        let mut plan = self.plan(name);
        change(&mut plan);
        self.server(name);
        let server = self.launched.get_mut(name).expect(RUNS);
        let (running, runtime) = server
            .running
            .as_mut()
            .zip(server.runtime.as_ref())
            .expect(RUNS);
        let changed = runtime.run(async {
            let change = running.prepare(plan)?;
            running.change(change).await;
            Ok(())
        });
        done(changed.map_err(|error| TestkitError::Start {
            server: name.to_owned(),
            error,
        }));
    }

    /// Refers to a running server as `aside` from now on, so that another one of its name can be
    /// launched. The server itself keeps its name.
    #[track_caller]
    pub fn step_aside(&mut self, name: &str, aside: &str) {
        let server = self.remove(name);
        self.launched.insert(aside.to_owned(), server);
    }

    /// Cuts the link between two servers: its connections are closed when this returns, and new
    /// ones are closed at once.
    #[track_caller]
    pub fn cut(&self, a: &str, b: &str) {
        self.set_link(a, b, LinkMode::Cut);
    }

    /// Removes all faults of the link between two servers.
    #[track_caller]
    pub fn heal(&self, a: &str, b: &str) {
        self.set_link(a, b, LinkMode::Pass);
    }

    /// Removes the faults of all links.
    pub fn heal_all(&self) {
        for proxy in self.proxies.values() {
            proxy.set_mode(LinkMode::Pass);
        }
    }

    /// Cuts every link with exactly one end in `side`.
    #[track_caller]
    pub fn partition(&self, side: &[&str]) {
        self.set_border(side, LinkMode::Cut);
    }

    /// Sets the mode of every link with exactly one end in `side`.
    #[track_caller]
    pub fn set_border(&self, side: &[&str], mode: LinkMode) {
        for name in side {
            self.check_name(name);
        }
        for (a, b) in &self.topology.links {
            if side.contains(&a.as_str()) != side.contains(&b.as_str()) {
                self.set_link(a, b, mode);
            }
        }
    }

    /// Sets the mode of both directions between two servers.
    #[track_caller]
    pub fn set_link(&self, a: &str, b: &str, mode: LinkMode) {
        self.set_connections(a, b, mode);
        self.set_connections(b, a, mode);
    }

    /// Carries bytes from `from` to `to`, on the connections of both, and none back.
    #[track_caller]
    pub fn set_one_way(&self, from: &str, to: &str) {
        self.set_connections(from, to, LinkMode::OnlyForward);
        self.set_connections(to, from, LinkMode::OnlyBackward);
    }

    /// Sets the mode of the connections that `from` makes to `to`.
    #[track_caller]
    pub fn set_connections(&self, from: &str, to: &str, mode: LinkMode) {
        self.proxy(from, to).set_mode(mode);
    }

    /// Ends the connections that `from` has made to `to`, so that it makes new ones.
    #[track_caller]
    pub fn redial(&self, from: &str, to: &str) {
        self.set_connections(from, to, LinkMode::Cut);
        self.set_connections(from, to, LinkMode::Pass);
    }

    /// Directs the connections that `from` makes to `to` to another address, until `to` is
    /// launched.
    #[track_caller]
    pub fn redirect(&self, from: &str, to: &str, address: SocketAddr) {
        self.proxy(from, to).set_target(address);
    }
}

/// Ways to the servers.
impl Herd {
    /// Connects a client to a server.
    #[track_caller]
    pub fn client(&self, name: &str) -> LineClient {
        done(self.try_client(name))
    }

    /// Does the same as [`client`](Self::client) for a server that may be down.
    ///
    /// # Errors
    /// [`TestkitError::Connect`].
    #[track_caller]
    pub fn try_client(&self, name: &str) -> Result<LineClient, TestkitError> {
        self.check_name(name);
        let server = self.launched.get(name);
        let connected = server.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        let connected = connected.and_then(|server| LineClient::try_connect(server.clients));
        connected.map_err(|error| TestkitError::Connect {
            server: name.to_owned(),
            error,
        })
    }

    /// Returns the address of a server's port for clients.
    #[track_caller]
    pub fn clients_address(&self, name: &str) -> SocketAddr {
        self.server(name).clients
    }

    /// Returns the address of a server's TLS port for clients, which requires a plan with one.
    #[track_caller]
    pub fn clients_tls_address(&self, name: &str) -> SocketAddr {
        let address = self.server(name).clients_tls;
        address.expect("no TLS port; set plan.clients_tls in Herd::adjust")
    }

    /// Returns the address of a server's port for neighbours and operators.
    #[track_caller]
    pub fn peers_address(&self, name: &str) -> SocketAddr {
        self.server(name).peers
    }

    /// Returns the address of a server's web port, which requires a plan with one.
    #[track_caller]
    pub fn web_address(&self, name: &str) -> SocketAddr {
        let address = self.server(name).web;
        address.expect("no web port; set plan.bind_web in Herd::adjust")
    }

    /// Returns the herd's folder, which is removed with it: `NAME/N.log` has the transcript of a
    /// server, N counting the launches of the herd.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the proxy for the connections that `from` makes to `to`.
    #[track_caller]
    pub fn proxy(&self, from: &str, to: &str) -> &LinkProxy {
        let proxy = self.proxies.get(&(from.to_owned(), to.to_owned()));
        match proxy {
            Some(proxy) => proxy,
            None => panic!("{from} and {to} have no link; add it to the topology"),
        }
    }
}

/// The message of an invariant: both parts of a launched server are there until it ends.
pub(super) const RUNS: &str = "a launched server runs until it is removed";

impl Herd {
    #[track_caller]
    pub(super) fn server(&self, name: &str) -> &LaunchedServer {
        match self.launched.get(name) {
            Some(server) => server,
            None => panic!("{}", self.not_running(name)),
        }
    }

    #[track_caller]
    fn remove(&mut self, name: &str) -> LaunchedServer {
        match self.launched.remove(name) {
            Some(server) => server,
            None => panic!("{}", self.not_running(name)),
        }
    }

    #[track_caller]
    fn not_running(&self, name: &str) -> String {
        self.check_name(name);
        let running = list(self.launched.keys(), "and");
        format!("server {name} does not run; launch it first; the running ones are: {running}")
    }

    #[track_caller]
    fn check_stopped(&self, name: &str) {
        self.check_name(name);
        assert!(
            !self.launched.contains_key(name),
            "server {name} runs already; kill or drain it first"
        );
    }

    #[track_caller]
    fn check_name(&self, name: &str) {
        let servers = &self.topology.servers;
        assert!(
            servers.iter().any(|server| server == name) || self.launched.contains_key(name),
            "there is no server {name:?}; the servers are {}",
            list(servers, "and")
        );
    }

    #[track_caller]
    fn plan(&self, name: &str) -> ServerPlan {
        self.check_name(name);
        let parse = |name: &String| Name::parse(name).expect("a topology has valid names");
        let anywhere: Address = SocketAddr::from(([127, 0, 0, 1], 0)).into();
        let servers = self.topology.servers.iter();
        let neighbours = servers.clone().filter_map(|other| {
            let proxy = self.proxies.get(&(name.to_owned(), other.clone()))?;
            Some((parse(other), proxy.address().into()))
        });
        let mut plan = ServerPlan {
            herd: Name::parse("test").expect("a valid name"),
            name: parse(&name.to_owned()),
            members: servers.map(|name| member(parse(name))).collect(),
            neighbours: neighbours.collect(),
            bind_clients: anywhere.clone(),
            bind_peers: anywhere,
            tls: None,
            clients_tls: None,
            clients_tls_host: None,
            files: FileBudget::default(),
            bind_web: None,
            web_address: None,
            web_tls: None,
            clients: gateway::ClientSettings::default(),
            web: gateway::WebSettings::default(),
            gateway: gateway::GatewaySettings::default(),
            peers: peers_on_loopback(),
            storage: StorageSettings::default(),
        };
        if self.is_stored {
            plan.storage.dir = Some(self.folder.path().join("storage"));
            plan.storage.sync = SYNC;
        }
        (self.adjust)(&mut plan);
        plan
    }
}

impl fmt::Debug for Herd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Herd")
            .field("topology", &self.topology)
            .field("running", &self.launched.keys())
            .finish_non_exhaustive()
    }
}

/// The listening addresses of a server.
struct BoundAddresses {
    clients: SocketAddr,
    clients_tls: Option<SocketAddr>,
    peers: SocketAddr,
    web: Option<SocketAddr>,
}

impl BoundAddresses {
    fn of(bound: &BoundServer) -> io::Result<Self> {
        Ok(Self {
            clients: bound.clients_address()?,
            clients_tls: bound.clients_tls_address().transpose()?,
            peers: bound.peers_address()?,
            web: bound.web_address().transpose()?,
        })
    }
}

impl LaunchedServer {
    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.end_with(self.running.take());
        }
    }
}

impl Drop for LaunchedServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Returns a member with an address at which nothing listens: ports are chosen at the start of each
/// server. Links do not use it, only the web port's view of the herd does.
fn member(name: Name) -> gateway::Member {
    gateway::Member {
        name,
        peers: SocketAddr::from(([127, 0, 0, 1], 9)).into(),
        neighbours: Vec::new(),
    }
}

/// Returns settings for loopback, with which a silent neighbour is detected sooner.
fn peers_on_loopback() -> PeerSettings {
    PeerSettings {
        heartbeat: Duration::from_millis(100),
        keep_alive: Duration::from_millis(300),
        keep_alive_timeout: Duration::from_millis(500),
        attempt: Duration::from_secs(1),
        ..PeerSettings::default()
    }
}
