//! The certificates of one server: read once before anything starts, and again
//! when their files change.

use std::sync::Arc;
use std::time::Duration;

use crate::clients;
use crate::gateway::Gateway;
use crate::model::name::Name;
use crate::net::TlsGate;
use crate::tls::{self, Credentials, Subject};

use super::{ServerPlan, StartError};

/// How long a client may take over its TLS handshake.
const CLIENTS_HANDSHAKE: Duration = Duration::from_secs(10);

/// What a server needs for TLS with its neighbours, if they use it.
pub(super) fn of_server(plan: &ServerPlan) -> Result<Option<Arc<Credentials>>, StartError> {
    let Some(files) = &plan.tls else {
        return Ok(None);
    };
    let server = Subject::server(&plan.name, &plan.herd);
    loaded(&plan.name, Credentials::of_server(files.clone(), server)).map(Some)
}

/// What `server` shows to clients.
pub(super) fn for_clients(server: &Name, pair: tls::Pair) -> Result<Arc<Credentials>, StartError> {
    loaded(server, Credentials::for_clients(pair))
}

/// Where clients come in with TLS.
pub(super) fn door(
    credentials: Arc<Credentials>,
    settings: &clients::ClientSettings,
    gateway: &Gateway,
) -> TlsGate {
    TlsGate {
        refused: gateway.counts().clients_refused().clone(),
        credentials,
        limit: settings.idle.min(CLIENTS_HANDSHAKE),
        farewell: b"",
    }
}

fn loaded(
    server: &Name,
    credentials: Result<Credentials, tls::FileError>,
) -> Result<Arc<Credentials>, StartError> {
    let server = server.clone();
    let told = |error| StartError::Tls { server, error };
    credentials.map(Arc::new).map_err(told)
}
