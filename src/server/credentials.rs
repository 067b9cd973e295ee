//! The certificates of one server, which are read before it starts and again when their
//! files change.

use std::sync::Arc;

use crate::model::name::Name;
use crate::tls::{self, Credentials, Subject};

use super::{ServerPlan, StartError};

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

fn load(
    server: &Name,
    credentials: Result<Credentials, tls::FileError>,
) -> Result<Arc<Credentials>, StartError> {
    credentials.map(Arc::new).map_err(|error| StartError::Tls {
        server: server.clone(),
        error,
    })
}
