//! The plans of the servers that run in this process.

use crate::config::{Config, ServerConfig};
use crate::net::{FileBudget, FileNeeds};
use crate::places::{PlacesSettings, google};
use crate::server::ServerPlan;

/// Returns the plan of each server, which may open `max_files` files; `None` means that the
/// limit is unknown.
pub(super) fn plans(
    config: &Config,
    servers: &[&ServerConfig],
    max_files: Option<usize>,
) -> Vec<ServerPlan> {
    // All servers of a process share its connections to the provider.
    let places = match config.places {
        PlacesSettings::Offline { .. } => 0,
        PlacesSettings::Google(_) => google::MAX_CALLS.div_ceil(servers.len().max(1)),
    };
    let plan = |server: &&ServerConfig| {
        let mut plan = config.plan(server);
        if let Some(max_files) = max_files {
            let needs = FileNeeds {
                links: plan.neighbours.len(),
                places,
                has_client_handshakes: plan.clients_tls.is_some()
                    || !plan.clients.proxies.is_empty(),
                has_web: plan.bind_web.is_some(),
            };
            plan.files = FileBudget::new(max_files, needs);
        }
        plan.clients.max_connections = plan.clients.max_connections.min(plan.files.clients);
        plan
    };
    servers.iter().map(plan).collect()
}
