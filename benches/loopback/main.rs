//! The whole way of a line over loopback, beside a bare echo of lines: how much
//! a server costs above moving the bytes.
//!
//! ```sh
//! cargo bench --bench loopback           # half a minute
//! ```
//!
//! Compare the items a second of `herd` with those of `echo` at the same
//! pipeline. The load runs on one thread, the server on another: on a machine
//! with less than two free cores the two stand in each other's way. For figures
//! with latencies, or of a server elsewhere, there is `proxyherd bench`.

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

/// How long rounds of load are repeated: a median of thousands holds on a
/// machine that does other things now and then.
const TIME: Duration = Duration::from_secs(3);

fn main() {
    divan::Divan::default()
        .min_time(TIME)
        .config_with_args()
        .main();
}

#[divan::bench(args = [1, 16])]
fn echo(bencher: Bencher<'_, '_>, pipeline: usize) {
    let listener = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    // It runs until the bench's process ends.
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
