//! The plans of the servers that run in this process.

use crate::config::{Config, ServerConfig};
use crate::server::ServerPlan;

/// Returns the plan of each server, with at most `max_clients` connections.
pub(super) fn plans(
    config: &Config,
    servers: &[&ServerConfig],
    max_clients: usize,
) -> Vec<ServerPlan> {
    let plan = |server: &&ServerConfig| {
        let mut plan = config.plan(server);
        plan.clients.max_connections = plan.clients.max_connections.min(max_clients);
        plan
    };
    servers.iter().map(plan).collect()
}
