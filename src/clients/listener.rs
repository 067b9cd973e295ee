//! Takes clients' connections, up to the limit.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::{Instrument, info};

use crate::gateway::Gateway;
use crate::log::{Log, Transcript};
use crate::net::{ConnectionLimit, Listen};
use crate::places::Places;

use super::ClientSettings;
use super::command_handler::CommandHandler;
use super::guard::{Guard, GuardedListener};
use super::session::Session;

/// The text edge of one server. Its clones share the limits on connections and
/// what is known of addresses. A connection keeps the settings that it began
/// with, but for those of its address.
#[derive(Clone, Debug)]
pub struct Listener {
    desk: CommandHandler,
    /// A channel that nobody waits at: a value that its holders share.
    settings: watch::Sender<Arc<ClientSettings>>,
    log: Log,
    limit: ConnectionLimit,
    guard: Arc<Guard>,
}

impl Listener {
    /// The edge in front of `gateway`.
    pub fn new(
        gateway: Arc<Gateway>,
        places: Places,
        settings: &ClientSettings,
        log: &Log,
    ) -> Self {
        let guard = Guard::new(gateway.clone(), settings);
        Self {
            guard: Arc::new(guard),
            desk: CommandHandler { gateway, places },
            settings: watch::Sender::new(Arc::new(settings.clone())),
            log: log.clone(),
            limit: ConnectionLimit::new("clients are connected"),
        }
    }

    /// A port that lets in whom the settings let in, for [`serve`]. What is to
    /// be spared the others, as TLS is, goes between the two.
    pub fn guard<L: Listen>(&self, socket: L) -> GuardedListener<L> {
        GuardedListener::new(socket, self.guard.clone())
    }

    /// What connections that come now are held to.
    pub fn settings(&self) -> Arc<ClientSettings> {
        self.settings.borrow().clone()
    }

    /// Goes over to other settings. They hold for connections that come; and what
    /// they say of how much one address may take, for those that stand too, where
    /// that can be.
    pub fn change(&self, settings: ClientSettings) {
        self.guard.change(&settings);
        self.settings.send_replace(Arc::new(settings));
    }
}

/// Serves clients of a [guarded](Listener::guard) port until `drain` becomes
/// true, and returns when all of them have the answers to what was read of them.
pub async fn serve(listener: Listener, mut socket: impl Listen, drain: watch::Receiver<bool>) {
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let mut draining = drain.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|&drain| drain) => break,
            accepted = socket.accept() => accepted,
        };
        let gateway = &listener.desk.gateway;
        let settings = listener.settings();
        let Some(place) = listener.limit.take(settings.max_connections) else {
            gateway
                .counters()
                .client_connections_rejected
                .max_connections
                .add(1);
            continue;
        };
        let (stream, peer) = accepted;
        let connected = gateway.connect();
        info!("client {peer} connected");
        let transcript = Transcript::client(&listener.log, peer);
        let session = Session::new(
            stream,
            listener.desk.clone(),
            &settings,
            transcript,
            listener.guard.addresses.turns(peer.ip()),
        );
        let (drain, alive) = (drain.clone(), alive.clone());
        let run = async move {
            let end = session.run(drain).await;
            info!("client {peer} is gone: {end}");
            drop((place, connected, alive));
        };
        tokio::spawn(run.in_current_span());
    }
    drop((socket, alive));
    // Nothing is ever sent: this resolves when the last session has ended.
    all_gone.recv().await;
}
