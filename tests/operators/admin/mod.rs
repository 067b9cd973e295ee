//! The web port, over raw HTTP: what monitoring reads, that it is right, and
//! that whoever reads slowly harms nobody.

mod counting;
mod http;
mod links;
mod networks;
mod page;
mod shipped;

use crate::common::{ALONE, Herd, Topology};
use proxyherd::model::address::Address;
use proxyherd::server::ServerPlan;

const PAIR: Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);

/// Lets a server tell how it is, on a port of its own.
fn tell(plan: &mut ServerPlan) {
    plan.bind_web = Some(Address::parse("127.0.0.1:0").unwrap());
}

/// A herd that runs, and whose servers all tell how they are.
fn herd(topology: Topology<'_>) -> Herd {
    Herd::new(topology).adjust(tell).launch_all()
}
