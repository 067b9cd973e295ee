//! One connection: sends requests in one write and receives answers in large reads.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::clock::Stopwatch;
use super::window::{RequestWindow, WorkerState};
use super::workload::Workload;

/// The size of the read buffer.
const READ_BUFFER: usize = 64 * 1024;

/// The longest accepted answer. Twenty places take a few thousand bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// A pipelined connection to one server.
pub(super) struct LoadConnection {
    stream: TcpStream,
    /// The connection's index in the whole load.
    pub(super) index: u32,
    /// The server's index.
    pub(super) server: usize,
    pub(super) workload: Workload,
    pub(super) window: RequestWindow,
    /// The next turn on the schedule, in an open-loop load.
    pub(super) turn: u64,
    /// The received part of an incomplete answer.
    carry: Vec<u8>,
    /// True when the connection can neither send nor receive any more.
    pub(super) is_broken: bool,
}

/// The reason why a connection cannot continue.
pub(super) enum ConnectionError {
    /// The server closed the connection, or the network failed.
    Io(io::Error),
    /// An answer exceeds `MAX_ANSWER_BYTES`.
    TooLong,
    /// No answer arrived within the time limit, in seconds.
    Silent(f64),
}

impl ConnectionError {
    fn description(&self) -> String {
        match self {
            Self::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
                "closed by the server".to_owned()
            }
            Self::Io(error) => error.to_string(),
            Self::TooLong => format!("an answer exceeds {MAX_ANSWER_BYTES} bytes"),
            Self::Silent(limit) => format!("no answer within {limit} s"),
        }
    }
}

impl LoadConnection {
    pub(super) fn new(
        stream: std::net::TcpStream,
        index: u32,
        server: usize,
        workload: Workload,
    ) -> Self {
        Self {
            stream: TcpStream::from_std(stream),
            index,
            server,
            workload,
            window: RequestWindow::new(server),
            turn: 0,
            carry: Vec::new(),
            is_broken: false,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut self.stream, token, interest)
    }

    /// Writes as much of the window as the socket takes. The rest follows when the socket
    /// is writable again.
    pub(super) fn write(&mut self) -> Result<(), ConnectionError> {
        while !self.window.unwritten().is_empty() {
            match self.stream.write(self.window.unwritten()) {
                Ok(0) => return Err(ConnectionError::Io(ErrorKind::WriteZero.into())),
                Ok(written) => self.window.mark_written(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ConnectionError::Io(error)),
            }
        }
        Ok(())
    }

    /// Reads the available answers. With `to_the_end` it reads until the socket would
    /// block; otherwise it stops after a read that does not fill the buffer, which saves
    /// one call.
    pub(super) fn read(
        &mut self,
        to_the_end: bool,
        buffer: &mut Vec<u8>,
        clock: &Stopwatch,
        state: &mut WorkerState,
    ) -> Result<(), ConnectionError> {
        loop {
            let carried = self.carry.len();
            buffer.resize((2 * carried).max(READ_BUFFER), 0);
            buffer[..carried].copy_from_slice(&self.carry);
            let read = match self.stream.read(&mut buffer[carried..]) {
                Ok(0) => return Err(ConnectionError::Io(ErrorKind::UnexpectedEof.into())),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(ConnectionError::Io(error)),
            };
            let bytes = &buffer[..carried + read];
            let taken = self.window.take(bytes, clock.now(), state);
            self.carry.clear();
            self.carry.extend_from_slice(&bytes[taken..]);
            if self.carry.len() > MAX_ANSWER_BYTES {
                return Err(ConnectionError::TooLong);
            }
            if carried + read < buffer.len() && !to_the_end {
                return Ok(());
            }
        }
    }

    /// Marks the connection as broken and counts its unanswered requests.
    pub(super) fn end(&mut self, broken: &ConnectionError, state: &mut WorkerState) {
        self.is_broken = true;
        let unanswered = self.window.len();
        self.window.abandon(state);
        state.tally.servers[self.server].faults.broken += 1;
        let (number, server) = (self.index + 1, self.server + 1);
        state.tally.add_example(|| {
            let why = broken.description();
            format!(
                "connection {number} to server {server} broke: {why}; unanswered requests: {unanswered}"
            )
        });
    }
}
