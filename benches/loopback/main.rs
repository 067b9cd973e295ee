//! The whole path of a line over loopback, beside a bare echo of lines: the cost of a server
//! beyond moving the bytes.
//!
//! ```sh
//! cargo bench --bench loopback           # half a minute
//! ```
//!
//! Compare the items a second of `herd` with those of `echo` at the same pipeline. The load
//! runs on one thread and the server on another, so both need a free core. `proxyherd bench`
//! measures latencies and servers on other machines.

// A bench may panic.
#![allow(clippy::unwrap_used)]

mod catch_up;
#[path = "../../examples/echo/lines.rs"]
mod lines;
mod load;
mod servers;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;

use load::{CONNECTIONS, Load};
use servers::Server;

/// The minimum time of a bench. A median of thousands of rounds is stable on a machine that
/// is busy now and then.
const MIN_TIME: Duration = Duration::from_secs(3);

fn main() {
    divan::Divan::default()
        .min_time(MIN_TIME)
        .config_with_args()
        .main();
}

#[divan::bench(args = [1, 16])]
fn echo(bencher: Bencher<'_, '_>, pipeline: usize) {
    let listener = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    // Runs until the process ends.
    thread::spawn(|| lines::serve(listener).unwrap());
    drive(bencher, address, pipeline);
}

#[divan::bench(args = [1, 16])]
fn herd(bencher: Bencher<'_, '_>, pipeline: usize) {
    let server = Server::start("Riley", &[]);
    drive(bencher, server.clients, pipeline);
}

fn drive(bencher: Bencher<'_, '_>, address: SocketAddr, pipeline: usize) {
    let mut load = Load::connect(address, pipeline);
    bencher
        .counter(ItemsCount::new(CONNECTIONS * pipeline))
        .bench_local(|| load.round());
}
