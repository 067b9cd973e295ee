//! An empty server that catches up with a full neighbour.

use std::net::{SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use proxyherd::model::client::ClientId;
use proxyherd::model::position::Position;
use proxyherd::model::report::{Origin, Report};
use proxyherd::model::timestamp::{Skew, Timestamp, UnixNanos};

use crate::servers::Server;

const CLIENTS: usize = 1_000_000;

/// The time limit, far above the usual time, for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

#[divan::bench(sample_count = 3, sample_size = 1)]
fn a_million(bencher: Bencher<'_, '_>) {
    let jaquez = free_address();
    let riley = Server::start("Riley", &[("Jaquez", jaquez)]);
    fill(&riley);
    bencher.counter(ItemsCount::new(CLIENTS)).bench_local(|| {
        let jaquez = Server::start_on(jaquez, "Jaquez", &[("Riley", riley.peers)]);
        await_clients(&jaquez);
        jaquez
    });
}

/// Returns an address on which no program listens yet, for the config of Riley.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn fill(server: &Server) {
    let replica = server.gateway.replica();
    for n in 0..CLIENTS {
        let id = format!("bench-{n:014}");
        let report = Report {
            client: ClientId::parse(id.as_bytes()).unwrap(),
            origin: Origin::parse(b"Riley").unwrap(),
            position: Position::parse(b"+34.068930-118.445127").unwrap(),
            time: Timestamp::parse(b"1621464827.959498503").unwrap(),
            skew: Skew(12_345),
        };
        replica.admit(&report, UnixNanos(0), CLIENTS).unwrap();
    }
}

fn await_clients(server: &Server) {
    let begun = Instant::now();
    while server.gateway.replica().store().clients() < CLIENTS {
        assert!(begun.elapsed() < TIMEOUT, "the server has not caught up");
        sleep(Duration::from_millis(1));
    }
}
