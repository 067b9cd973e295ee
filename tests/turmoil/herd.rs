//! The servers: what of them runs, and what each must hold.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proxyherd::gateway::{Clock, Gateway};
use proxyherd::log::Log;
use proxyherd::model::client::ClientId;
use proxyherd::model::timestamp::UnixNanos;
use proxyherd::places::{Places, PlacesResponse};
use proxyherd::server::BoundServer;
use tokio::sync::Notify;

use crate::Checked;
use crate::ledger::{Ledger, Report, client_id};
use crate::net::{Socket, connect};
use crate::setup::{CLIENTS_PORT, PEERS_PORT, Setup};
use crate::topology::NAMES;

/// What servers, phones and the test itself share.
pub(crate) struct Herd {
    pub(crate) setup: Rc<Setup>,
    pub(crate) ledger: RefCell<Ledger>,
    pub(crate) servers: Vec<Server>,
    /// May phones go on?
    pub(crate) is_open: Cell<bool>,
    pub(crate) tally: RefCell<Tally>,
}

/// What came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    pub(crate) located: u64,
    pub(crate) unanswered: u64,
}

/// One server, through all its lives.
#[derive(Default)]
pub(crate) struct Server {
    life: Cell<u32>,
    gateway: RefCell<Option<Arc<Gateway>>>,
    /// What this life of it holds at least, of each client: what it was seen to
    /// hold, or told a client that it took.
    least: RefCell<Vec<Option<Report>>>,
    last: Cell<u64>,
    pub(crate) stop: Rc<Notify>,
}

impl Herd {
    pub(crate) fn new(setup: Setup) -> Rc<Self> {
        let setup = Rc::new(setup);
        Rc::new(Self {
            ledger: RefCell::new(Ledger::new(setup.clone())),
            servers: (0..setup.servers).map(|_| Server::default()).collect(),
            is_open: Cell::new(true),
            tally: RefCell::default(),
            setup,
        })
    }

    /// Runs a server until it fails or is told to stop.
    pub(crate) async fn run(self: Rc<Self>, server: usize) -> turmoil::Result {
        let clients = Socket::bind(CLIENTS_PORT).await?;
        let peers = Socket::bind(PEERS_PORT).await?;
        let plan = self.setup.plan(server);
        let places = Places::new(|_| async { PlacesResponse::none() }, Duration::from_secs(5));
        let bound = BoundServer::on(plan, clients, peers, connect);
        let mut running = bound.start(places, Log::off(), clock(self.setup.offsets[server]))?;
        let state = &self.servers[server];
        state.gateway.replace(Some(running.gateway().clone()));
        tokio::select! {
            failure = running.failed() => return Err(failure.into()),
            () = state.stop.notified() => {}
        }
        running.drain().await;
        self.end(server);
        Ok(())
    }

    /// The server's life is over.
    pub(crate) fn end(&self, server: usize) {
        let server = &self.servers[server];
        server.life.set(server.life.get() + 1);
        server.gateway.take();
        server.least.take();
        server.last.set(0);
    }

    /// Which life of the server this is.
    pub(crate) fn life(&self, server: usize) -> u32 {
        self.servers[server].life.get()
    }

    pub(crate) fn gateway(&self, server: usize) -> Option<Arc<Gateway>> {
        self.servers[server].gateway.borrow().clone()
    }

    /// What a server holds of a client.
    pub(crate) fn held(&self, server: usize, client: usize) -> Option<Report> {
        let id = client_id(client);
        let id = ClientId::parse(id.as_bytes()).expect("a client ID");
        self.gateway(server)?
            .locate(id, |report| Report::from(report))
    }

    /// What a server must hold at least.
    pub(crate) fn least(&self, server: usize, client: usize) -> Option<Report> {
        self.servers[server].least.borrow().get(client)?.clone()
    }

    /// The server has told a client so.
    pub(crate) fn expect(&self, server: usize, client: usize, report: Report) {
        let mut least = self.servers[server].least.borrow_mut();
        least.resize(self.setup.clients, None);
        if least[client].as_ref() < Some(&report) {
            least[client] = Some(report);
        }
    }

    /// Nothing that a server holds goes back in the order, and a client sent all
    /// of it.
    pub(crate) fn check(&self, now: Duration, server: usize) -> Checked {
        let Some(gateway) = self.gateway(server) else {
            return Ok(());
        };
        let name = NAMES[server];
        let (before, last) = (
            self.servers[server].last.get(),
            gateway.replica().store().last(),
        );
        if last < before {
            return Err(format!("{name}'s last number went from {before} to {last}"));
        }
        self.servers[server].last.set(last);
        for client in 0..self.setup.clients {
            let (least, held) = (self.least(server, client), self.held(server, client));
            if held == least {
                continue;
            }
            if held < least {
                return Err(format!("{name} holds {held:?}, after {least:?}"));
            }
            if let Some(held) = held {
                let traced = self.ledger.borrow().trace(now, client, &held);
                traced.map_err(|words| format!("{name}: {words}"))?;
                self.expect(server, client, held);
            }
        }
        Ok(())
    }
}

fn clock(offset: i64) -> Clock {
    Clock::new(move || {
        let elapsed = turmoil::sim_elapsed().expect("a server runs within the simulation");
        UnixNanos(crate::setup::true_time(elapsed) + offset)
    })
}
