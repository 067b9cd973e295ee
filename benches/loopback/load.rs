//! A load of reports on many connections: a batch of lines goes out on each,
//! then all answers are read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use memchr::{memchr, memchr_iter};

/// As many as a bench of this kind usually has.
pub(crate) const CONNECTIONS: usize = 50;

/// Clients on each connection: a multiple of every pipeline.
const CLIENTS: usize = 192;

/// How long an answer may take before the server is thought to hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that take turns.
pub(crate) struct Load {
    connections: Vec<Connection>,
    pipeline: usize,
    answers: Vec<u8>,
}

impl Load {
    pub(crate) fn connect(address: SocketAddr, pipeline: usize) -> Self {
        assert_eq!(CLIENTS % pipeline, 0, "a round would end in mid-air");
        let connect = |place| Connection::new(address, place);
        Self {
            connections: (0..CONNECTIONS).map(connect).collect(),
            pipeline,
            answers: vec![0; 64 * 1024],
        }
    }

    /// A batch on each connection, and every answer.
    pub(crate) fn round(&mut self) {
        for connection in &mut self.connections {
            connection.send(self.pipeline);
        }
        for connection in &mut self.connections {
            connection.take(self.pipeline, &mut self.answers);
        }
    }
}

/// One connection, and the lines of its clients, all equally long.
struct Connection {
    stream: TcpStream,
    lines: Vec<u8>,
    line: usize,
    next: usize,
}

impl Connection {
    fn new(address: SocketAddr, place: usize) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let clients = place * CLIENTS..(place + 1) * CLIENTS;
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
            count_up(&mut line[..self.line - 1]);
        }
        self.next = (self.next + pipeline) % CLIENTS;
    }

    fn take(&mut self, pipeline: usize, answers: &mut [u8]) {
        let mut missing = pipeline;
        while missing > 0 {
            let read = self.stream.read(answers).unwrap();
            assert_ne!(read, 0, "the server closed a connection");
            let answers = &answers[..read];
            assert_eq!(memchr(b'?', answers), None, "the server refused a line");
            missing -= memchr_iter(b'\n', answers).count();
        }
    }
}

/// Adds one to the number at the end of a line, so that its report is newer
/// each time.
fn count_up(line: &mut [u8]) {
    for digit in line.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}
