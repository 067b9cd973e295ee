//! Herds for tests: real servers over real sockets, each in its own runtime, so that one can
//! be killed as a process would be, with a proxy in each direction between two servers. Also
//! the program itself, as a process.

// Each test program uses a part of it, and a test may panic.
#![allow(dead_code, unreachable_pub, unused_imports, clippy::unwrap_used)]

mod alone;
mod black_hole;
mod client;
mod clock;
mod earth;
mod fake_neighbour;
mod herd;
mod http;
mod peer_client;
mod pki;
mod places;
mod proc;
mod process;
mod proxy;
mod push;
mod random;
mod site;

pub use alone::alone;
pub use black_hole::BlackHole;
pub use client::{Client, dial_from};
pub use clock::ManualClock;
pub use earth::haversine;
pub use fake_neighbour::{FakeNeighbour, ReceivedPush, ResponseMode};
pub use herd::{ALONE, CLASSIC, Herd, PAIR, Topology, member};
pub use http::{HttpResponse, http_connect, http_get, http_get_with, http_json, http_send};
pub use peer_client::{FakeSender, PeerClient};
pub use pki::{
    Pki, call_as, certificates, client_config, days, operator, reach, server, server_config,
};
pub use places::places_from;
pub use proc::{cpu_time, memory, open_files};
pub use process::{Ended, PortTaken, Process};
pub use proxy::{Mode, Proxy};
pub use push::{PushRequest, report};
pub(crate) use random::Random;
pub use site::{Site, free_ports, loopback};

use std::time::{Duration, Instant};

/// Time limit of each wait in a test. It is far more than any wait needs: it ends a test that
/// hangs, and does not measure.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Repeats `check` for a time.
pub fn all_the_while(long: Duration, mut check: impl FnMut()) {
    let start = Instant::now();
    while start.elapsed() < long {
        check();
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Repeats `check` until it returns a value. Panics with `what` after [`LIMIT`].
#[track_caller]
pub fn eventually<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, check)
}

/// Does the same as [`eventually`] with another time limit.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
