//! The settings of a server that change while it runs: one value, which its edges read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::model::address::Address;
use crate::model::name::Name;
use crate::model::networks::{Network, Networks};
use crate::replication::expiry::DEFAULT_PURGE_DELAY;

use super::{AcknowledgeLevel, TilesUrl, Token};

/// The settings of a server that change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// Limits on client connections.
    pub clients: ClientSettings,
    /// Limits on the web port.
    pub web: WebSettings,
    /// The token that the API requires, read from its file.
    pub web_token: Option<Token>,
    /// Limits on clients' reports, and when they are acknowledged.
    pub gateway: GatewaySettings,
    /// All servers of the herd, in the order of the config.
    pub members: Vec<Member>,
}

/// A server of the herd, as the config describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name.
    pub name: Name,
    /// The address that neighbours use.
    pub peers: Address,
    /// The servers that it has links with.
    pub neighbours: Vec<Name>,
}

/// Limits on client connections. `config/herd.toml` explains each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// Maximum length of a line in bytes, without its end: 512 to 1 MiB, 4096 by default.
    pub max_line: usize,
    /// Maximum number of open connections: 20,000 by default. Further ones are closed. A silent
    /// connection takes less than 8 KiB of memory, a busy one up to about 200 KiB, and one whose
    /// queries wait for places up to 6 MiB.
    pub max_connections: usize,
    /// Networks from which clients may connect: all by default. Others are closed before TLS.
    pub networks: Networks,
    /// Networks of proxies, whose connections begin with a PROXY protocol header: none by default.
    /// The client that the header names is the one that limits and the log mean.
    pub proxies: Vec<Network>,
    /// Maximum number of open connections of one address, or of one /64 of IPv6: 1 to a million,
    /// unlimited by default. Further ones are closed before TLS.
    pub connections_per_address: Option<usize>,
    /// Maximum number of lines per second of one address, or of one /64 of IPv6: 1 to a million,
    /// unlimited by default. As many may come at once after a quiet second; further ones are
    /// delayed.
    pub commands_per_second: Option<u32>,
    /// Time of silence after which a client is disconnected: 100 ms to 30 days, 10 min by default.
    /// Time in which it waits for the server does not count.
    pub idle: Duration,
    /// Time after which a client is disconnected that reads nothing of a waiting response: 100 ms
    /// to 1 h, 30 s by default.
    pub write: Duration,
    /// Maximum number of concurrent WHATSATs of one connection that wait for places: 1 to 1000, 16
    /// by default. Further lines wait.
    pub max_waiting: usize,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            max_line: 4096,
            max_connections: 20_000,
            networks: Networks::default(),
            proxies: Vec::new(),
            connections_per_address: None,
            commands_per_second: None,
            idle: Duration::from_secs(10 * 60),
            write: Duration::from_secs(30),
            max_waiting: 16,
        }
    }
}

/// Settings of the web port. `config/herd.toml` explains each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSettings {
    /// Networks that may connect: all by default. Connections from others are closed.
    pub networks: Networks,
    /// The servers of the herd with a web port, this one included. The metrics list them, so that
    /// a monitoring system knows which it should see.
    pub servers: Vec<Name>,
    /// Whether the port serves the page and the API beside metrics and health: true by default.
    pub api: bool,
    /// The file of the token that the API requires: none by default. It is read again with the
    /// config.
    pub token_file: Option<PathBuf>,
    /// Whether the port uses TLS, with the certificate for clients: false by default. It does not
    /// change at run time.
    pub tls: bool,
    /// The raster map below the clients on the page: none by default.
    pub tiles: Option<TilesUrl>,
    /// The credit of that map.
    pub tiles_attribution: Option<String>,
}

impl Default for WebSettings {
    fn default() -> Self {
        Self {
            networks: Networks::default(),
            servers: Vec::new(),
            api: true,
            token_file: None,
            tls: false,
            tiles: None,
            tiles_attribution: None,
        }
    }
}

/// Limits on the reports of a server's own clients, and when they are acknowledged. Reports from
/// neighbours are not checked against the limits: two servers could disagree about a report forever.
///
/// `config/herd.toml` explains each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Maximum time by which a client's clock may be ahead of the server's: 1 s to 100 years, 1 day
    /// by default.
    pub max_future: Duration,
    /// Maximum number of clients: ten million by default, about 1.6 GB. Reports of further ones
    /// are rejected.
    pub max_clients: usize,
    /// Time at which an IAMAT is answered: at once, by default.
    pub acknowledge: AcknowledgeLevel,
    /// Age, by its order time, after which a report expires: 1 s to 100 years, never by default.
    /// It is the same on all servers of a herd and does not change at run time.
    pub expire_after: Option<Duration>,
    /// Time for which a report must have been expired before it is purged: a day. The config cannot
    /// change it; tests do.
    pub purge_delay: Duration,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            max_future: Duration::from_secs(24 * 60 * 60),
            max_clients: 10_000_000,
            acknowledge: AcknowledgeLevel::Received,
            expire_after: None,
            purge_delay: DEFAULT_PURGE_DELAY,
        }
    }
}

/// A reader of the latest settings that takes a lock only after a change.
///
/// It is for code that runs for each read of lines; other code calls
/// [`Gateway::settings`](super::Gateway::settings).
#[derive(Debug)]
pub struct SettingsReader {
    receiver: watch::Receiver<Arc<ServerSettings>>,
    latest: Arc<ServerSettings>,
}

impl SettingsReader {
    pub(super) fn new(mut receiver: watch::Receiver<Arc<ServerSettings>>) -> Self {
        let latest = receiver.borrow_and_update().clone();
        Self { receiver, latest }
    }

    /// Returns the latest settings.
    pub fn latest(&mut self) -> &Arc<ServerSettings> {
        // An error means that the sender is gone, so that nothing changes any more.
        if self.receiver.has_changed().unwrap_or(false) {
            self.latest.clone_from(&self.receiver.borrow_and_update());
        }
        &self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_every_change_and_keeps_the_last_value() {
        let with = |max_clients| {
            let mut settings = ServerSettings::default();
            settings.gateway.max_clients = max_clients;
            Arc::new(settings)
        };
        let sender = watch::Sender::new(with(1));
        let mut reader = SettingsReader::new(sender.subscribe());
        assert_eq!(reader.latest().gateway.max_clients, 1);
        for max_clients in [2, 3] {
            sender.send_replace(with(max_clients));
            assert_eq!(reader.latest().gateway.max_clients, max_clients);
        }
        drop(sender);
        assert_eq!(reader.latest().gateway.max_clients, 3);
    }
}
