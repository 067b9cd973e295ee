//! What tests need beside the testkit: the program as a process, certificates, neighbours and
//! diallers that misbehave, and measurements of a process.

// Each test program uses a part of it, and a test may panic.
#![allow(dead_code, unreachable_pub, unused_imports, clippy::unwrap_used)]

mod alone;
mod black_hole;
mod earth;
mod fake_neighbour;
mod http;
mod peer_client;
mod pki;
mod places;
mod proc;
mod process;
mod push;
mod random;
mod site;

pub use alone::alone;
pub use black_hole::BlackHole;
pub use earth::haversine;
pub use fake_neighbour::{FakeNeighbour, ReceivedPush, ResponseMode};
pub use http::{HttpResponse, http_connect, http_get, http_get_with, http_json, http_send};
pub use peer_client::{FakeSender, PeerClient};
pub use pki::{
    Pki, call_as, certificates, client_config, days, operator, reach, server, server_config,
};
pub use places::places_from;
pub use proc::{cpu_time, memory, open_files};
pub use process::{Ended, PortTaken, Process};
pub use push::{PushRequest, report};
pub(crate) use random::Random;
pub use site::{Site, free_ports, loopback};

pub use proxyherd::testkit::{
    Herd, LineClient as Client, LinkMode as Mode, LinkProxy as Proxy, MAX_WAIT as LIMIT,
    ManualClock, eventually, within,
};

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use proxyherd::gateway::Member;
use proxyherd::model::address::Address;
use proxyherd::model::name::Name;

/// Servers and the links between them.
pub type Topology<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

/// Returns servers and their links, as slices.
pub const fn linked<'a>(servers: &'a [&'a str], links: &'a [(&'a str, &'a str)]) -> Topology<'a> {
    (servers, links)
}

/// A herd of one server.
pub const ALONE: Topology<'static> = (&["Riley"], &[]);

/// A herd of two linked servers.
pub const PAIR: Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);

/// The herd of the shipped config.
pub const CLASSIC: Topology<'static> = (
    &["Riley", "Jaquez", "Juzang", "Campbell", "Bernard"],
    &[
        ("Riley", "Jaquez"),
        ("Riley", "Juzang"),
        ("Jaquez", "Bernard"),
        ("Juzang", "Bernard"),
        ("Juzang", "Campbell"),
        ("Campbell", "Bernard"),
    ],
);

/// Returns a member whose peer address is of no server.
pub fn member(name: &str) -> Member {
    Member {
        name: Name::parse(name).unwrap(),
        peers: Address::parse("127.0.0.1:9").unwrap(),
        neighbours: Vec::new(),
    }
}

/// Connects from another address of this machine.
pub fn dial_from(source: &str, address: SocketAddr) -> io::Result<TcpStream> {
    Ok(Client::connect_from(source, address).sender())
}

/// Repeats `check` for a time.
pub fn all_the_while(long: Duration, mut check: impl FnMut()) {
    let start = Instant::now();
    while start.elapsed() < long {
        check();
        std::thread::sleep(Duration::from_millis(2));
    }
}
