//! A herd of servers in this process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use proxyherd::gateway::{
    Clock, Gateway, LinkState, LinkTraffic, RejectedConnectionCounters, ServerCounters,
};
use proxyherd::line_protocol::reply;
use proxyherd::log::Log;
use proxyherd::model::address::Address;
use proxyherd::model::client::ClientId;
use proxyherd::model::name::Name;
use proxyherd::model::timestamp::UnixNanos;
use proxyherd::places::{Places, PlacesResponse};
use proxyherd::replication::{Incarnation, NeighbourId};
use proxyherd::server::{BoundServer, ProgressProbe, RunningServer, ServerPlan};
use proxyherd::{gateway, peers};
use tokio::runtime::{Builder, Runtime};

use super::{Client, Mode, Proxy, eventually};

/// Servers and the links between them.
pub type Topology<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

/// A herd of one server.
pub const ALONE: Topology<'static> = (&["Riley"], &[]);

/// A herd of two linked servers.
pub const PAIR: Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);

/// The herd of the shipped config.
pub const CLASSIC: Topology<'static> = (
    &["Riley", "Jaquez", "Juzang", "Campbell", "Bernard"],
    &[
        ("Riley", "Jaquez"),
        ("Riley", "Juzang"),
        ("Jaquez", "Bernard"),
        ("Juzang", "Bernard"),
        ("Juzang", "Campbell"),
        ("Campbell", "Bernard"),
    ],
);

/// A herd whose servers can be killed, restarted and disconnected.
pub struct Herd {
    name: String,
    members: Vec<String>,
    links: Vec<(String, String)>,
    /// The proxies for connections from the first server to the second.
    proxies: HashMap<(String, String), Proxy>,
    nodes: HashMap<String, Node>,
    places: Places,
    adjust: Box<dyn Fn(&mut ServerPlan) + Send>,
    // Last, so that the proxies outlive the servers.
    wires: Runtime,
}

/// One incarnation of a server.
struct Node {
    clients: SocketAddr,
    clients_tls: Option<SocketAddr>,
    peers: SocketAddr,
    web: Option<SocketAddr>,
    gateway: Arc<Gateway>,
    running: Option<RunningServer>,
    runtime: Option<Runtime>,
}

impl Herd {
    /// Creates a herd without a running server, and without places.
    pub fn new((members, links): Topology<'_>) -> Self {
        let wires = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let both_directions =
            |&(a, b): &(&str, &str)| [(a.to_owned(), b.to_owned()), (b.to_owned(), a.to_owned())];
        let directions = links.iter().flat_map(both_directions);
        Self {
            name: "test".to_owned(),
            members: members.iter().map(|&name| name.to_owned()).collect(),
            links: links
                .iter()
                .map(|&(a, b)| (a.to_owned(), b.to_owned()))
                .collect(),
            proxies: directions
                .map(|direction| (direction, Proxy::start(wires.handle())))
                .collect(),
            nodes: HashMap::new(),
            places: Places::new(|_| async { PlacesResponse::none() }, Duration::from_secs(5)),
            adjust: Box::new(|_| {}),
            wires,
        }
    }

    /// Starts a herd, and waits until every link is up.
    pub fn start(topology: Topology<'_>) -> Self {
        Self::new(topology).launch_all()
    }

    /// Starts every server, and waits until every link is up.
    pub fn launch_all(mut self) -> Self {
        for name in self.members.clone() {
            self.launch(&name);
        }
        self.await_links();
        self
    }

    /// Changes the plans of servers that are launched from now on.
    pub fn adjust(mut self, adjust: impl Fn(&mut ServerPlan) + Send + 'static) -> Self {
        self.adjust = Box::new(adjust);
        self
    }

    /// Changes the places of servers that are launched from now on.
    pub fn with_places(mut self, places: Places) -> Self {
        self.places = places;
        self
    }

    /// Starts Riley alone, with a clock that always shows `now`.
    pub fn alone_at(now: i64) -> Self {
        Self::new(ALONE).launched_at(now)
    }

    /// Starts every server with a clock that always shows `now`.
    pub fn launched_at(mut self, now: i64) -> Self {
        for name in self.members.clone() {
            self.launch_with(&name, Clock::new(move || UnixNanos(now)), Log::off());
        }
        self.await_links();
        self
    }

    /// Starts a server on free ports.
    pub fn launch(&mut self, name: &str) {
        self.launch_with(name, Clock::system(), Log::off());
    }

    pub fn launch_with(&mut self, name: &str, clock: Clock, log: Log) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut plan = self.plan(name);
        (self.adjust)(&mut plan);
        let places = self.places.clone();
        let node = runtime.block_on(async {
            let bound = BoundServer::open(plan).await.unwrap();
            let (clients, peers) = (
                bound.clients_address().unwrap(),
                bound.peers_address().unwrap(),
            );
            let clients_tls = bound.clients_tls_address().map(Result::unwrap);
            let web = bound.web_address().map(Result::unwrap);
            let running = bound.start(places, log, clock).unwrap();
            (clients, clients_tls, peers, web, running)
        });
        let (clients, clients_tls, peers, web, running) = node;
        let to_here = self.proxies.iter().filter(|((_, to), _)| to == name);
        to_here.for_each(|(_, proxy)| proxy.set_target(peers));
        let gateway = running.gateway().clone();
        self.nodes.insert(
            name.to_owned(),
            Node {
                clients,
                clients_tls,
                peers,
                web,
                gateway,
                running: Some(running),
                runtime: Some(runtime),
            },
        );
    }

    /// Ends a server as SIGKILL would: sockets close without further bytes.
    pub fn kill(&mut self, name: &str) {
        let mut node = self.nodes.remove(name).expect("it runs");
        node.end();
    }

    /// Ends a server as SIGTERM would. Returns the number of reports that no neighbour received.
    pub fn drain(&mut self, name: &str) -> usize {
        let mut node = self.nodes.remove(name).expect("it runs");
        let running = node.running.take().expect("it runs");
        let runtime = node.runtime.as_ref().expect("it runs");
        let lost = runtime.block_on(running.drain());
        node.end();
        lost
    }

    /// Applies `change` to the plan of a running server.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut ServerPlan)) {
        let mut plan = self.plan(name);
        (self.adjust)(&mut plan);
        change(&mut plan);
        let node = self.nodes.get_mut(name).expect("it runs");
        let running = node.running.as_mut().expect("it runs");
        let runtime = node.runtime.as_ref().expect("it runs");
        runtime.block_on(async {
            let change = running.prepare(plan).unwrap();
            running.change(change).await;
        });
    }

    /// Refers to a running server as `aside` from now on, so that another one of its name can be
    /// launched. The server itself keeps its name.
    pub fn step_aside(&mut self, name: &str, aside: &str) {
        let node = self.nodes.remove(name).expect("it runs");
        self.nodes.insert(aside.to_owned(), node);
    }

    pub fn kill_and_launch(&mut self, name: &str) {
        self.kill(name);
        self.launch(name);
    }

    /// Sets the mode of both directions between two servers.
    pub fn set_link(&self, a: &str, b: &str, mode: Mode) {
        self.set_connections(a, b, mode);
        self.set_connections(b, a, mode);
    }

    /// Carries bytes from `from` to `to`, on the connections of both, and none back.
    pub fn set_one_way(&self, from: &str, to: &str) {
        self.set_connections(from, to, Mode::OnlyForward);
        self.set_connections(to, from, Mode::OnlyBackward);
    }

    /// Sets the mode of the connections that `from` makes to `to`.
    pub fn set_connections(&self, from: &str, to: &str, mode: Mode) {
        self.proxies[&(from.to_owned(), to.to_owned())].set_mode(mode);
    }

    /// Directs the connections that `from` makes to `to` to another address.
    pub fn redirect(&self, from: &str, to: &str, address: SocketAddr) {
        self.proxies[&(from.to_owned(), to.to_owned())].set_target(address);
    }

    /// Returns the number of bytes that `from` has sent to `to` on connections that it made.
    pub fn bytes_sent(&self, from: &str, to: &str) -> u64 {
        self.proxies[&(from.to_owned(), to.to_owned())].bytes_sent()
    }

    /// Returns the number of connections that `from` has made to `to`.
    pub fn connections(&self, from: &str, to: &str) -> u64 {
        self.proxies[&(from.to_owned(), to.to_owned())].accepted()
    }

    /// Sets the mode of every link with exactly one end in `side`.
    pub fn set_border(&self, side: &[&str], mode: Mode) {
        for (a, b) in &self.links {
            if side.contains(&a.as_str()) != side.contains(&b.as_str()) {
                self.set_link(a, b, mode);
            }
        }
    }

    pub fn client(&self, name: &str) -> Client {
        Client::connect(self.nodes[name].clients)
    }

    pub fn clients_address(&self, name: &str) -> SocketAddr {
        self.nodes[name].clients
    }

    /// Returns the address of a server's TLS port for clients.
    pub fn clients_tls_address(&self, name: &str) -> SocketAddr {
        self.nodes[name].clients_tls.expect("a port for TLS")
    }

    pub fn peers_address(&self, name: &str) -> SocketAddr {
        self.nodes[name].peers
    }

    /// Returns the address of a server's web port, which requires a plan with one.
    pub fn web_address(&self, name: &str) -> SocketAddr {
        self.nodes[name].web.expect("a web port")
    }

    pub fn gateway(&self, name: &str) -> &Arc<Gateway> {
        &self.nodes[name].gateway
    }

    /// Returns the probe of a server's progress.
    pub fn progress_probe(&self, name: &str) -> ProgressProbe {
        let running = self.nodes[name].running.as_ref();
        running.expect("it runs").progress_probe()
    }

    /// Blocks the only thread of a server's runtime until the sender of `released` is dropped.
    pub fn occupy_thread(&self, name: &str, released: Receiver<()>) {
        let runtime = self.nodes[name].runtime.as_ref().expect("it runs");
        let (began, begun) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            began.send(()).unwrap();
            let _ = released.recv();
        });
        begun.recv().unwrap();
    }

    /// Returns the counters of a server.
    pub fn counters(&self, name: &str) -> &ServerCounters {
        self.gateway(name).counters()
    }

    /// Returns the counters of rejected client connections of a server.
    pub fn rejected_clients(&self, name: &str) -> &RejectedConnectionCounters {
        &self.counters(name).client_connections_rejected
    }

    fn neighbour(&self, from: &str, to: &str) -> NeighbourId {
        let mut neighbours = self.gateway(from).replica().neighbours();
        let found = neighbours.find(|(_, name)| name.as_str() == to);
        found.expect("a neighbour").0
    }

    /// Returns the current incarnation of a server.
    pub fn incarnation(&self, name: &str) -> Incarnation {
        self.gateway(name).replica().incarnation()
    }

    pub fn running(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// Returns true if `from` considers its link to `to` up.
    pub fn is_up(&self, from: &str, to: &str) -> bool {
        self.link(from, to).is_up
    }

    /// Returns the state of the link from `from` to `to` at `from`.
    pub fn link(&self, from: &str, to: &str) -> LinkState {
        let links = self.gateway(from).links();
        links.state(self.neighbour(from, to))
    }

    /// Returns the traffic of the link between `from` and `to` at `from`.
    pub fn traffic(&self, from: &str, to: &str) -> &LinkTraffic {
        self.gateway(from).links().traffic(self.neighbour(from, to))
    }

    /// Waits until every link between running servers is up at both ends.
    #[track_caller]
    pub fn await_links(&self) {
        let up = |(a, b): &(String, String)| {
            let run = self.nodes.contains_key(a) && self.nodes.contains_key(b);
            !run || (self.is_up(a, b) && self.is_up(b, a))
        };
        eventually("all links are up", || {
            self.links.iter().all(up).then_some(())
        });
    }

    /// Waits until every neighbour has acknowledged all changes, on links without faults.
    #[track_caller]
    pub fn await_pushes(&self) {
        let last = |server| self.gateway(server).replica().store().last();
        let ends = || -> Vec<u64> { self.nodes.keys().map(|server| last(server)).collect() };
        eventually("all changes are acknowledged", || {
            let before = ends();
            let mut links = self.links.iter();
            let is_done = links.all(|(a, b)| {
                self.link(a, b).cursor == last(a) && self.link(b, a).cursor == last(b)
            });
            // A change that a server receives meanwhile is pushed on.
            (is_done && ends() == before).then_some(())
        });
    }

    /// Returns the position that a server has of a client.
    pub fn position(&self, server: &str, client: &str) -> Option<String> {
        let client = ClientId::parse(client.as_bytes()).expect("a client ID");
        self.gateway(server)
            .locate(client, |report| report.position.text().to_owned())
    }

    /// Returns the report that a server has of a client, as its AT line with its LF.
    pub fn at_line(&self, server: &str, client: &str) -> Option<String> {
        let client = ClientId::parse(client.as_bytes()).expect("a client ID");
        let mut line = Vec::new();
        self.gateway(server)
            .locate(client, |report| reply::at(&mut line, &report))?;
        Some(String::from_utf8(line).expect("a report is UTF-8"))
    }

    /// Ends the connections that `from` has made to `to`, so that it reconnects.
    pub fn redial(&self, from: &str, to: &str) {
        self.set_connections(from, to, Mode::Cut);
        self.set_connections(from, to, Mode::Pass);
    }

    /// Waits until every running server has this position of the client.
    #[track_caller]
    pub fn await_everywhere(&self, client: &str, position: &str) {
        for server in self.nodes.keys() {
            eventually(&format!("{server} has {client} at {position}"), || {
                (self.position(server, client).as_deref() == Some(position)).then_some(())
            });
        }
    }

    /// Waits until every running server has this number of clients.
    #[track_caller]
    pub fn await_clients(&self, clients: usize) {
        for server in self.nodes.keys() {
            eventually(&format!("{server} has {clients} clients"), || {
                (self.gateway(server).replica().store().clients() == clients).then_some(())
            });
        }
    }

    fn plan(&self, name: &str) -> ServerPlan {
        let parse = |name: &str| Name::parse(name).unwrap();
        let anywhere = Address::parse("127.0.0.1:0").unwrap();
        let mut neighbours = Vec::new();
        for other in &self.members {
            if let Some(proxy) = self.proxies.get(&(name.to_owned(), other.clone())) {
                neighbours.push((parse(other), proxy.address().into()));
            }
        }
        ServerPlan {
            herd: parse(&self.name),
            name: parse(name),
            members: self.members.iter().map(|name| member(name)).collect(),
            neighbours,
            bind_clients: anywhere.clone(),
            bind_peers: anywhere,
            tls: None,
            clients_tls: None,
            clients_tls_host: None,
            files: proxyherd::net::FileBudget::default(),
            bind_web: None,
            web_address: None,
            web_tls: None,
            clients: gateway::ClientSettings::default(),
            web: gateway::WebSettings::default(),
            gateway: gateway::GatewaySettings::default(),
            peers: quick(),
            storage: proxyherd::storage::StorageSettings::default(),
        }
    }
}

/// Returns a member whose peer address is of no server.
pub fn member(name: &str) -> gateway::Member {
    gateway::Member {
        name: Name::parse(name).unwrap(),
        peers: Address::parse("127.0.0.1:9").unwrap(),
        neighbours: Vec::new(),
    }
}

impl Node {
    fn end(&mut self) {
        // Tasks and sockets end with the runtime.
        if let Some(runtime) = self.runtime.take() {
            let entered = runtime.enter();
            drop(self.running.take());
            drop(entered);
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

/// Returns settings for loopback, with which a silent neighbour is detected sooner.
fn quick() -> peers::PeerSettings {
    peers::PeerSettings {
        heartbeat: Duration::from_millis(100),
        keep_alive: Duration::from_millis(300),
        keep_alive_timeout: Duration::from_millis(500),
        attempt: Duration::from_secs(1),
        ..peers::PeerSettings::default()
    }
}
