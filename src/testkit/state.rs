//! The state of a herd's servers, and waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::gateway::{Gateway, LinkState, LinkTraffic, RejectedConnectionCounters, ServerCounters};
use crate::model::client::ClientId;
use crate::model::report::Report;
use crate::replication::{Incarnation, NeighbourId};
use crate::server::ProgressProbe;

use super::agreement::{self, Disagreement, DownLink};
use super::error::{TestkitError, done};
use super::herd::{Herd, RUNS};
use super::link_proxy::LinkMode;
use super::wait::{MAX_WAIT, eventually, poll};

/// Waits.
impl Herd {
    /// Waits until every running server holds the same newest report of every client, by the digest
    /// of all. Covers what clients have been answered.
    #[track_caller]
    pub fn settle(&self) {
        done(self.try_settle(MAX_WAIT));
    }

    /// Does the same as [`settle`](Self::settle) with another limit.
    ///
    /// # Errors
    /// [`TestkitError::Disagreement`], with the clients in which servers differ.
    pub fn try_settle(&self, limit: Duration) -> Result<(), TestkitError> {
        let servers = self.launched.iter();
        let gateways = servers.clone().map(|(_, server)| &*server.gateway);
        let settled = poll(limit, || agreement::agree(gateways.clone()).then_some(()));
        settled.ok_or_else(|| {
            let named = servers.map(|(name, server)| (name.as_str(), &*server.gateway));
            TestkitError::Disagreement(Disagreement {
                limit,
                differences: agreement::differences(&named.collect::<Vec<_>>()),
                links_down: self.links_down(),
            })
        })
    }

    /// Waits until every link between running servers is up at both ends.
    #[track_caller]
    pub fn await_links(&self) {
        let up = poll(MAX_WAIT, || self.links_down().is_empty().then_some(()));
        if up.is_none() {
            let (limit, links) = (MAX_WAIT, self.links_down());
            done(Err(TestkitError::LinksDown { limit, links }))
        }
    }

    /// Returns the links between running servers that are down, as each end sees them.
    fn links_down(&self) -> Vec<DownLink> {
        let links = self.topology.links.iter();
        let directions = links.flat_map(|(a, b)| [(a, b), (b, a)]);
        let runs = |name| self.launched.contains_key(name);
        let down = directions.filter_map(|(from, to)| {
            let state = (runs(from) && runs(to)).then(|| self.link(from, to))?;
            (!state.is_up).then(|| DownLink {
                from: from.clone(),
                to: to.clone(),
                reason: state.reason,
                has_fault: self.has_fault(from, to),
            })
        });
        down.collect()
    }

    fn has_fault(&self, a: &str, b: &str) -> bool {
        let proxies = [self.proxy(a, b), self.proxy(b, a)];
        proxies.iter().any(|proxy| proxy.mode() != LinkMode::Pass)
    }

    /// Waits until every neighbour has acknowledged all changes, on links without faults.
    #[track_caller]
    pub fn await_pushes(&self) {
        let last = |server| self.gateway(server).replica().store().last();
        let ends = || -> Vec<u64> { self.launched.keys().map(|server| last(server)).collect() };
        eventually("all changes are acknowledged", || {
            let before = ends();
            let mut links = self.topology.links.iter();
            let is_done = links.all(|(a, b)| {
                self.link(a, b).cursor == last(a) && self.link(b, a).cursor == last(b)
            });
            // A change that a server receives meanwhile is pushed on.
            (is_done && ends() == before).then_some(())
        });
    }

    /// Waits until every running server has this position of the client.
    #[track_caller]
    pub fn await_everywhere(&self, client: &str, position: &str) {
        for server in self.launched.keys() {
            eventually(&format!("{server} has {client} at {position}"), || {
                (self.position(server, client).as_deref() == Some(position)).then_some(())
            });
        }
    }

    /// Waits until every running server has this number of clients.
    #[track_caller]
    pub fn await_clients(&self, clients: usize) {
        for server in self.launched.keys() {
            eventually(&format!("{server} has {clients} clients"), || {
                (self.gateway(server).replica().store().clients() == clients).then_some(())
            });
        }
    }
}

/// States.
impl Herd {
    /// Returns the names of the servers that run.
    pub fn running(&self) -> Vec<String> {
        self.launched.keys().cloned().collect()
    }

    /// Returns the AT line of the report that a server has of a client, without its line end.
    #[track_caller]
    pub fn at_line(&self, server: &str, client: &str) -> Option<String> {
        self.locate(server, client, agreement::at_line)
    }

    /// Returns the position that a server has of a client.
    #[track_caller]
    pub fn position(&self, server: &str, client: &str) -> Option<String> {
        self.locate(server, client, |report| report.position.text().to_owned())
    }

    #[track_caller]
    fn locate<T>(
        &self,
        server: &str,
        client: &str,
        read: impl FnOnce(&Report<'_>) -> T,
    ) -> Option<T> {
        let id = ClientId::parse(client.as_bytes());
        let id = id.expect("a client ID has 1 to 255 bytes without white space");
        self.gateway(server).locate(id, |report| read(&report))
    }

    /// Returns true if `from` considers its link to `to` up.
    #[track_caller]
    pub fn is_up(&self, from: &str, to: &str) -> bool {
        self.link(from, to).is_up
    }

    /// Returns the state of the link from `from` to `to` at `from`.
    #[track_caller]
    pub fn link(&self, from: &str, to: &str) -> LinkState {
        let links = self.gateway(from).links();
        links.state(self.neighbour(from, to))
    }

    /// Returns the traffic of the link between `from` and `to` at `from`.
    #[track_caller]
    pub fn traffic(&self, from: &str, to: &str) -> &LinkTraffic {
        self.gateway(from).links().traffic(self.neighbour(from, to))
    }

    #[track_caller]
    fn neighbour(&self, from: &str, to: &str) -> NeighbourId {
        let mut neighbours = self.gateway(from).replica().neighbours();
        let found = neighbours.find(|(_, name)| name.as_str() == to);
        match found {
            Some((id, _)) => id,
            None => panic!("{to} is no neighbour of {from}; add the link to the topology"),
        }
    }

    /// Returns the number of bytes that `from` has sent to `to` on connections that it made.
    #[track_caller]
    pub fn bytes_sent(&self, from: &str, to: &str) -> u64 {
        self.proxy(from, to).bytes_sent()
    }

    /// Returns the number of connections that `from` has made to `to`.
    #[track_caller]
    pub fn connections(&self, from: &str, to: &str) -> u64 {
        self.proxy(from, to).accepted()
    }

    /// Returns the current incarnation of a server.
    #[track_caller]
    pub fn incarnation(&self, name: &str) -> Incarnation {
        self.gateway(name).replica().incarnation()
    }

    /// Returns the counters of a server.
    #[track_caller]
    pub fn counters(&self, name: &str) -> &ServerCounters {
        self.gateway(name).counters()
    }

    /// Returns the counters of rejected client connections of a server.
    #[track_caller]
    pub fn rejected_clients(&self, name: &str) -> &RejectedConnectionCounters {
        &self.counters(name).client_connections_rejected
    }

    /// Returns the shared state of a running server: its replica, links, counters and settings.
    #[track_caller]
    pub fn gateway(&self, name: &str) -> &Arc<Gateway> {
        &self.server(name).gateway
    }

    /// Returns the probe of a server's progress, as a watchdog uses it.
    #[track_caller]
    pub fn progress_probe(&self, name: &str) -> ProgressProbe {
        let running = self.server(name).running.as_ref();
        running.expect(RUNS).progress_probe()
    }

    /// Returns the runtime of a server, which has one worker: a task that blocks stops the server.
    #[track_caller]
    pub fn runtime(&self, name: &str) -> &Handle {
        let runtime = self.server(name).runtime.as_ref();
        runtime.expect(RUNS).handle()
    }
}
