//! One connection: requests out in one write, answers in by large reads.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::clock::Stopwatch;
use super::window::{Window, WorkerState};
use super::workload::Workload;

/// What one read may bring, in bytes.
const READ_BUFFER: usize = 64 * 1024;

/// Longest answer, in bytes: twenty places take a few thousand.
const MAX_ANSWER: usize = 1024 * 1024;

/// A pipelined connection to one server.
pub(super) struct Connection {
    stream: TcpStream,
    /// Its number among those of the whole load.
    pub(super) index: u32,
    /// The server's number.
    pub(super) server: usize,
    pub(super) lane: Workload,
    pub(super) window: Window,
    /// Its next turn, where it sends by schedule.
    pub(super) turn: u64,
    /// The start of an answer whose end is still to come.
    carry: Vec<u8>,
    /// Nothing more can be sent, or will come.
    pub(super) is_broken: bool,
}

/// Why a connection can not go on.
pub(super) enum Broken {
    /// The server closed it, or the network cut it.
    Io(io::Error),
    /// An answer does not end.
    TooLong,
    /// No answer came within the time limit, in seconds.
    Silent(f64),
}

impl Broken {
    fn words(&self) -> String {
        match self {
            Self::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
                "the server closed it".to_owned()
            }
            Self::Io(error) => error.to_string(),
            Self::TooLong => format!("an answer is longer than {MAX_ANSWER} bytes"),
            Self::Silent(limit) => format!("a request had no answer for {limit} s"),
        }
    }
}

impl Connection {
    pub(super) fn new(
        stream: std::net::TcpStream,
        index: u32,
        server: usize,
        lane: Workload,
    ) -> Self {
        Self {
            stream: TcpStream::from_std(stream),
            index,
            server,
            lane,
            window: Window::new(server),
            turn: 0,
            carry: Vec::new(),
            is_broken: false,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut self.stream, token, interest)
    }

    /// Sends what the window holds and the socket takes; the rest goes when the
    /// socket takes more.
    pub(super) fn write(&mut self) -> Result<(), Broken> {
        while !self.window.unwritten().is_empty() {
            match self.stream.write(self.window.unwritten()) {
                Ok(0) => return Err(Broken::Io(ErrorKind::WriteZero.into())),
                Ok(written) => self.window.wrote(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Io(error)),
            }
        }
        Ok(())
    }

    /// Takes the answers that have come. With `to_the_end` it reads on until the
    /// socket says that there is no more, and otherwise until a read was not
    /// filled, which is one call less.
    pub(super) fn read(
        &mut self,
        to_the_end: bool,
        buffer: &mut Vec<u8>,
        clock: &Stopwatch,
        desk: &mut WorkerState,
    ) -> Result<(), Broken> {
        loop {
            let carried = self.carry.len();
            buffer.resize((2 * carried).max(READ_BUFFER), 0);
            buffer[..carried].copy_from_slice(&self.carry);
            let read = match self.stream.read(&mut buffer[carried..]) {
                Ok(0) => return Err(Broken::Io(ErrorKind::UnexpectedEof.into())),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Broken::Io(error)),
            };
            let bytes = &buffer[..carried + read];
            let taken = self.window.take(bytes, clock.now(), desk);
            self.carry.clear();
            self.carry.extend_from_slice(&bytes[taken..]);
            if self.carry.len() > MAX_ANSWER {
                return Err(Broken::TooLong);
            }
            if carried + read < buffer.len() && !to_the_end {
                return Ok(());
            }
        }
    }

    /// Gives it up, and counts what that costs.
    pub(super) fn end(&mut self, broken: &Broken, desk: &mut WorkerState) {
        self.is_broken = true;
        let unanswered = self.window.len();
        self.window.give_up(desk);
        desk.tally.servers[self.server].faults.broken += 1;
        let (number, server) = (self.index + 1, self.server + 1);
        desk.tally.example(|| {
            let why = broken.words();
            format!("connection {number} to server {server} broke: {why}; {unanswered} requests were unanswered")
        });
    }
}
