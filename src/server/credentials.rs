//! The certificates of one server, which are read before it starts and again when their
//! files change.

use std::sync::Arc;
use std::time::Duration;

use crate::clients;
use crate::gateway::Gateway;
use crate::model::name::Name;
use crate::net::TlsGate;
use crate::tls::{self, Credentials, Subject};

use super::{ServerPlan, StartError};

/// Maximum time of a client's TLS handshake.
const MAX_CLIENT_HANDSHAKE: Duration = Duration::from_secs(10);

/// Reads the credentials of a server for its links, if they use TLS.
pub(super) fn for_links(plan: &ServerPlan) -> Result<Option<Arc<Credentials>>, StartError> {
    let Some(files) = &plan.tls else {
        return Ok(None);
    };
    let server = Subject::server(&plan.name, &plan.herd);
    load(&plan.name, Credentials::of_server(files.clone(), server)).map(Some)
}

/// Reads the credentials of `server` for clients.
pub(super) fn for_clients(server: &Name, pair: tls::Pair) -> Result<Arc<Credentials>, StartError> {
    load(server, Credentials::for_clients(pair))
}

/// Makes the TLS gate for clients.
pub(super) fn client_gate(
    credentials: Arc<Credentials>,
    settings: &clients::ClientSettings,
    gateway: &Gateway,
) -> TlsGate {
    TlsGate {
        refused: gateway.counters().client_connections_rejected.tls.clone(),
        credentials,
        limit: settings.idle.min(MAX_CLIENT_HANDSHAKE),
        farewell: b"",
    }
}

fn load(
    server: &Name,
    credentials: Result<Credentials, tls::FileError>,
) -> Result<Arc<Credentials>, StartError> {
    credentials.map(Arc::new).map_err(|error| StartError::Tls {
        server: server.clone(),
        error,
    })
}
