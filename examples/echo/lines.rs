//! A server that answers each line with one of fixed text.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};

use memchr::memchr_iter;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// The answer, of the length of an AT line for a client ID of 20 bytes.
const ANSWER: &[u8] =
    b"AT Riley +0.000012345 bench-00000000000000 +34.068930-118.445127 1621464827.959498503\n";

/// The size of the read buffer.
const READ_BUFFER_BYTES: usize = 64 * 1024;

const LISTENER: Token = Token(usize::MAX);

/// Serves all connections.
///
/// # Errors
///
/// Fails if a poll, or the registration of a connection with it, fails.
pub(crate) fn serve(mut listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;

    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut clients)?;
                continue;
            }
            let slot = &mut clients[event.token().0];
            if let Some(client) = slot
                && !client.serve(&mut buffer)
            {
                *slot = None;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    clients: &mut Vec<Option<Client>>,
) -> Result<(), Box<dyn Error>> {
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nodelay(true)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut stream, Token(clients.len()), both)?;
        let unsent = Vec::new();
        clients.push(Some(Client { stream, unsent }));
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Client {
    /// Answers all lines that have arrived. Returns false after the end of the connection.
    fn serve(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.send(),
                Err(_) => return false,
            };
            for _ in memchr_iter(b'\n', &buffer[..read]) {
                self.unsent.extend_from_slice(ANSWER);
            }
            if !self.send() {
                return false;
            }
            if read < buffer.len() {
                return true;
            }
        }
    }

    fn send(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }
}
