//! The web port over HTTP: its paths, the API and who may call it, the numbers of the metrics page,
//! the networks that may connect, and slow callers.

mod access;
mod api;
mod contract;
mod counters;
mod events;
mod figures;
mod http;
mod links;
mod metrics_page;
mod monitoring;
mod networks;
mod page;

use crate::common::{Herd, Topology};
use proxyherd::model::address::Address;
use proxyherd::server::ServerPlan;

/// Gives a server a web port.
fn with_web(plan: &mut ServerPlan) {
    plan.bind_web = Some(Address::parse("127.0.0.1:0").unwrap());
    plan.web.servers = vec![plan.name.clone()];
}

/// Starts a herd whose servers have web ports.
fn herd(topology: Topology<'_>) -> Herd {
    Herd::new(topology).adjust(with_web).launch_all()
}
