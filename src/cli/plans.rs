//! The plans of the servers that run in this process.

use crate::config::{Config, ServerConfig};
use crate::net::{FileBudget, FileNeeds, TooFewFiles};
use crate::places::{PlacesSettings, google};
use crate::server::ServerPlan;

/// Returns the plan of each server of a process that may open `max_files` files; `None` means
/// that the limit is unknown.
///
/// # Errors
/// [`TooFewFiles`].
pub(super) fn plans(
    config: &Config,
    servers: &[&ServerConfig],
    max_files: Option<usize>,
) -> Result<Vec<ServerPlan>, TooFewFiles> {
    // All servers of a process share its connections to the provider.
    let places = match config.places {
        PlacesSettings::Offline { .. } => 0,
        PlacesSettings::Google(_) => google::MAX_CALLS.div_ceil(servers.len().max(1)),
    };
    let mut plans: Vec<_> = servers.iter().map(|server| config.plan(server)).collect();
    let needs = |plan: &ServerPlan| FileNeeds {
        links: plan.neighbours.len(),
        places,
        has_web: plan.bind_web.is_some(),
    };
    let needs: Vec<_> = plans.iter().map(needs).collect();
    let budgets = match max_files {
        Some(max_files) => FileBudget::divide(max_files, &needs)?,
        None => vec![FileBudget::default(); plans.len()],
    };
    for (plan, files) in plans.iter_mut().zip(budgets) {
        plan.files = files;
        plan.clients.max_connections = plan.clients.max_connections.min(files.clients);
    }
    Ok(plans)
}
