//! The upper bound for the speed of a line server: one thread, one poll, and for each line
//! an answer of the length of an AT line. Of each line it reads only the end.
//!
//! ```sh
//! cargo run --release --example echo -- 127.0.0.1:12100
//! proxyherd bench --server 127.0.0.1:12100 --unchecked --pipeline 16
//! ```

mod lines;

use std::error::Error;

use mio::net::TcpListener;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.ok_or("usage: echo HOST:PORT")?.parse()?;
    let listener = TcpListener::bind(address)?;
    println!("echo on {}", listener.local_addr()?);
    lines::serve(listener)
}
