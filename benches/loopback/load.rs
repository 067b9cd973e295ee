//! A load of reports on many connections: each sends a batch of lines, then all answers
//! are read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use memchr::{memchr, memchr_iter};

/// The number of connections, as in the default of `proxyherd bench`.
pub(crate) const CONNECTIONS: usize = 50;

/// The number of clients on each connection, a multiple of every pipeline.
const CLIENTS: usize = 192;

/// The time limit of an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A number of connections.
pub(crate) struct Load {
    connections: Vec<Connection>,
    pipeline: usize,
    answers: Vec<u8>,
}

impl Load {
    pub(crate) fn connect(address: SocketAddr, pipeline: usize) -> Self {
        assert_eq!(CLIENTS % pipeline, 0, "a round must end with a whole batch");
        let connect = |index| Connection::new(address, index);
        Self {
            connections: (0..CONNECTIONS).map(connect).collect(),
            pipeline,
            answers: vec![0; 64 * 1024],
        }
    }

    /// Sends a batch on each connection, and reads every answer.
    pub(crate) fn round(&mut self) {
        for connection in &mut self.connections {
            connection.send(self.pipeline);
        }
        for connection in &mut self.connections {
            connection.take(self.pipeline, &mut self.answers);
        }
    }
}

/// One connection, and the lines of its clients, all of one length.
struct Connection {
    stream: TcpStream,
    lines: Vec<u8>,
    line: usize,
    next: usize,
}

impl Connection {
    fn new(address: SocketAddr, index: usize) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let clients = index * CLIENTS..(index + 1) * CLIENTS;
        let line = |n| format!("IAMAT bench-{n:014} +34.068930-118.445127 {now}.000000000\n");
        let lines: Vec<String> = clients.map(line).collect();
        Self {
            stream,
            line: lines[0].len(),
            lines: lines.concat().into_bytes(),
            next: 0,
        }
    }

    fn send(&mut self, pipeline: usize) {
        let batch = self.next * self.line..(self.next + pipeline) * self.line;
        let batch = &mut self.lines[batch];
        self.stream.write_all(batch).unwrap();
        for line in batch.chunks_exact_mut(self.line) {
            increment(&mut line[..self.line - 1]);
        }
        self.next = (self.next + pipeline) % CLIENTS;
    }

    fn take(&mut self, pipeline: usize, answers: &mut [u8]) {
        let mut missing = pipeline;
        while missing > 0 {
            let read = self.stream.read(answers).unwrap();
            assert_ne!(read, 0, "the server closed a connection");
            let answers = &answers[..read];
            assert_eq!(memchr(b'?', answers), None, "the server rejected a line");
            missing -= memchr_iter(b'\n', answers).count();
        }
    }
}

/// Increments the number at the end of a line, which makes its report newer.
fn increment(line: &mut [u8]) {
    for digit in line.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}
