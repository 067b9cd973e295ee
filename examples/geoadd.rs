//! The closed-loop load of `proxyherd bench` for Redis: `GEOADD` of the same IDs and
//! positions, from a client as fast as that of the bench.
//!
//! ```sh
//! redis-server --port 12101 --save '' --appendonly no
//! cargo run --release --example geoadd -- 127.0.0.1:12101 50 16 5
//! ```
//!
//! The arguments are the address of Redis, connections, pipeline and seconds.

use std::error::Error;
use std::io::{ErrorKind, Read, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// The number of members of the set.
const CLIENTS: u64 = 10_000;

/// The time before the measured part.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("usage: geoadd HOST:PORT CONNECTIONS PIPELINE SECONDS")
    };
    let address: SocketAddr = next()?.parse()?;
    let (connections, pipeline): (u64, u64) = (next()?.parse()?, next()?.parse()?);
    let length = Duration::from_secs(next()?.parse()?);

    let mut poll = Poll::new()?;
    let mut connected = Vec::new();
    for index in 0..connections {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let token = Token(index as usize);
        poll.registry()
            .register(&mut stream, token, Interest::READABLE)?;
        connected.push(Connection {
            stream,
            bytes: Vec::new(),
            left: 0,
            member: index,
            step: 0,
        });
    }
    for connection in &mut connected {
        connection.send(connections, pipeline)?;
    }
    let (start, mut answered) = (Instant::now(), 0);
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 64 * 1024]);
    while start.elapsed() < WARM_UP + length {
        poll.poll(&mut events, Some(Duration::from_millis(50)))?;
        let counts = start.elapsed() >= WARM_UP;
        for event in &events {
            let connection = &mut connected[event.token().0];
            let answers = connection.take(&mut buffer)?;
            answered += if counts { answers } else { 0 };
            if connection.left == 0 {
                connection.send(connections, pipeline)?;
            }
        }
    }
    let seconds = (start.elapsed() - WARM_UP).as_secs_f64();
    println!("{:.0} a second", answered as f64 / seconds);
    Ok(())
}

struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
    left: u64,
    member: u64,
    step: u64,
}

impl Connection {
    /// Sends a batch in one write.
    fn send(&mut self, connections: u64, pipeline: u64) -> Result<(), Box<dyn Error>> {
        self.bytes.clear();
        for _ in 0..pipeline {
            self.member = (self.member + connections) % CLIENTS;
            let member = self.member;
            // Clients move a little, as those of the bench do.
            self.step = (self.step + 1) % 100_000;
            let step = self.step;
            write!(
                self.bytes,
                "*5\r\n$6\r\nGEOADD\r\n$5\r\nbench\r\n$11\r\n-118.{:06}\r\n$9\r\n34.{:06}\r\n\
                 $20\r\nbench-{member:014}\r\n",
                445_127 + step,
                68_930 + step
            )?;
        }
        self.left = pipeline;
        // The send buffer is empty, so it takes a whole batch.
        Ok(self.stream.write_all(&self.bytes)?)
    }

    /// Reads answers, `:0` or `:1` on a line each, and returns their number.
    fn take(&mut self, buffer: &mut [u8]) -> Result<u64, Box<dyn Error>> {
        let read = match self.stream.read(buffer) {
            Ok(0) => return Err("Redis closed a connection".into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let bytes = &buffer[..read];
        if bytes.contains(&b'-') {
            return Err(format!("Redis answered {}", bytes.escape_ascii()).into());
        }
        let answers = memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.left -= answers;
        Ok(answers)
    }
}
