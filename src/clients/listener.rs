//! Takes clients' connections, up to the limit.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::{Instrument, info};

use crate::gateway::Gateway;
use crate::log::{Log, Transcript};
use crate::places::Places;
use crate::sockets::{ConnectionLimit, Listen};

use super::Settings;
use super::desk::Desk;
use super::session::Session;

/// The text edge of one server. Its clones share the limit on connections. A
/// connection keeps the settings that it began with.
#[derive(Clone, Debug)]
pub struct Listener {
    desk: Desk,
    settings: watch::Receiver<Arc<Settings>>,
    log: Log,
    limit: ConnectionLimit,
}

impl Listener {
    /// The edge in front of `gateway`.
    pub fn new(
        gateway: Arc<Gateway>,
        places: Places,
        settings: watch::Receiver<Arc<Settings>>,
        log: &Log,
    ) -> Self {
        Self {
            desk: Desk { gateway, places },
            settings,
            log: log.clone(),
            limit: ConnectionLimit::new("clients are connected"),
        }
    }
}

/// Serves clients until `drain` becomes true, and returns when all of them have
/// the answers to what was read of them.
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
        let settings = listener.settings.borrow().clone();
        let Some(place) = listener.limit.take(settings.max_connections) else {
            gateway.counts().turned_away().add(1);
            continue;
        };
        let (stream, peer) = accepted;
        let connected = gateway.connect();
        info!("client {peer} connected");
        let transcript = Transcript::client(&listener.log, peer);
        let session = Session::new(stream, listener.desk.clone(), &settings, transcript);
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
