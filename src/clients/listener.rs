//! Takes clients' connections, up to the limit.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;
use tracing::{Instrument, info, warn};

use crate::gateway::Gateway;
use crate::log::{Log, Transcript};
use crate::places::Places;
use crate::sockets::Acceptor;

use super::Settings;
use super::desk::Desk;
use super::session::Session;

/// The text edge of one server.
#[derive(Debug)]
pub struct Listener {
    desk: Desk,
    settings: Settings,
    log: Log,
    places_left: Arc<Semaphore>,
    told_full: Option<Instant>,
}

/// That the server is full is told once in this time, not for each client.
const TELL_PAUSE: Duration = Duration::from_secs(10);

impl Listener {
    /// The edge in front of `gateway`.
    pub fn new(gateway: Arc<Gateway>, places: Places, settings: &Settings, log: &Log) -> Self {
        Self {
            desk: Desk { gateway, places },
            settings: settings.clone(),
            log: log.clone(),
            places_left: Arc::new(Semaphore::new(settings.max_connections)),
            told_full: None,
        }
    }

    /// Takes a place for one more connection, or says that none is left.
    fn admit(&mut self) -> Option<OwnedSemaphorePermit> {
        let place = self.places_left.clone().try_acquire_owned().ok();
        if place.is_none() {
            self.tell_full(Instant::now());
        }
        place
    }

    fn tell_full(&mut self, now: Instant) {
        if self.told_full.is_some_and(|told| now < told + TELL_PAUSE) {
            return;
        }
        self.told_full = Some(now);
        let most = self.settings.max_connections;
        warn!("{most} clients are connected: further ones are closed until some leave");
    }
}

/// Serves clients until `drain` becomes true, and returns when all of them have
/// the answers to what was read of them.
pub async fn serve(mut listener: Listener, mut acceptor: Acceptor, drain: watch::Receiver<bool>) {
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let mut draining = drain.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|&drain| drain) => break,
            accepted = acceptor.accept() => accepted,
        };
        let Some(place) = listener.admit() else {
            continue;
        };
        let (stream, peer) = accepted;
        info!("client {peer} connected");
        let transcript = Transcript::client(&listener.log, peer);
        let session = Session::new(
            stream,
            listener.desk.clone(),
            &listener.settings,
            transcript,
        );
        let (drain, alive) = (drain.clone(), alive.clone());
        let run = async move {
            let end = Session::<TcpStream>::run(session, drain).await;
            info!("client {peer} is gone: {end}");
            drop((place, alive));
        };
        tokio::spawn(run.in_current_span());
    }
    drop((acceptor, alive));
    // Nothing is ever sent: this resolves when the last session has ended.
    all_gone.recv().await;
}
