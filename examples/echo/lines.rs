//! Lines in, lines out.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};

use memchr::memchr_iter;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// As long as the answer to a client with an ID of 20 bytes.
const ANSWER: &[u8] =
    b"AT Riley +0.000012345 bench-00000000000000 +34.068930-118.445127 1621464827.959498503\n";

/// What one read may bring, in bytes.
const READ_BUFFER: usize = 64 * 1024;

const LISTENER: Token = Token(usize::MAX);

/// Answers whoever connects, until something fails.
pub(crate) fn serve(mut listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;

    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut clients)?;
                continue;
            }
            let place = &mut clients[event.token().0];
            if let Some(client) = place
                && !client.serve(&mut buffer)
            {
                *place = None;
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
    /// Gives whether the client is still there.
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
