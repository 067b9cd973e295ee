//! Servers in this process, without a transcript.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proxyherd::gateway::{self, Clock, Gateway};
use proxyherd::log::Log;
use proxyherd::model::address::Address;
use proxyherd::model::name::Name;
use proxyherd::peers;
use proxyherd::places::{Places, PlacesResponse};
use proxyherd::server::{BoundServer, RunningServer, ServerPlan};
use tokio::runtime::{Builder, Runtime};

/// A server with its own thread, which stops when it is dropped.
pub(crate) struct Server {
    pub(crate) clients: SocketAddr,
    pub(crate) peers: SocketAddr,
    pub(crate) gateway: Arc<Gateway>,
    running: Option<RunningServer>,
    runtime: Runtime,
}

impl Server {
    pub(crate) fn start(name: &str, neighbours: &[(&str, SocketAddr)]) -> Self {
        Self::start_on(([127, 0, 0, 1], 0).into(), name, neighbours)
    }

    /// Starts a server that accepts its neighbours at `peers`.
    pub(crate) fn start_on(
        peers: SocketAddr,
        name: &str,
        neighbours: &[(&str, SocketAddr)],
    ) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let entered = runtime.enter();
        let bound = runtime
            .block_on(BoundServer::open(plan(peers, name, neighbours)))
            .unwrap();
        let clients = bound.clients_address().unwrap();
        let peers = bound.peers_address().unwrap();
        let places = Places::new(|_| async { PlacesResponse::none() }, Duration::from_secs(1));
        let running = bound.start(places, Log::off(), Clock::system()).unwrap();
        drop(entered);
        Self {
            clients,
            peers,
            gateway: running.gateway().clone(),
            running: Some(running),
            runtime,
        }
    }
}

impl Drop for Server {
    /// Stops the server immediately, without draining.
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        drop(self.running.take());
    }
}

fn plan(peers: SocketAddr, name: &str, neighbours: &[(&str, SocketAddr)]) -> ServerPlan {
    let parse = |name| Name::parse(name).unwrap();
    ServerPlan {
        herd: parse("bench"),
        name: parse(name),
        members: ["Riley", "Jaquez"].map(member).to_vec(),
        neighbours: neighbours
            .iter()
            .map(|&(name, address)| (parse(name), address.into()))
            .collect(),
        bind_clients: Address::parse("127.0.0.1:0").unwrap(),
        bind_peers: peers.into(),
        clients: gateway::ClientSettings::default(),
        web: gateway::WebSettings::default(),
        gateway: gateway::GatewaySettings::default(),
        peers: peers::PeerSettings::default(),
        storage: proxyherd::storage::StorageSettings::default(),
        tls: None,
        clients_tls: None,
        clients_tls_host: None,
        files: proxyherd::net::FileBudget::default(),
        bind_web: None,
        web_address: None,
        web_tls: None,
    }
}

fn member(name: &str) -> gateway::Member {
    gateway::Member {
        name: Name::parse(name).unwrap(),
        peers: Address::parse("127.0.0.1:9").unwrap(),
        neighbours: Vec::new(),
    }
}
