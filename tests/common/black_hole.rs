//! An address that swallows packets.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// A listening socket that drops connection requests, since its queue is full.
pub struct BlackHole {
    pub address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<mio::net::TcpStream>,
}

impl BlackHole {
    /// Opens it at an address, an IPv4 one. Must be called within a runtime.
    pub fn open(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        loop {
            let stream = mio::net::TcpStream::connect(address).unwrap();
            // Over loopback, a request that is answered is answered at once.
            let is_dropped = stream.peer_addr().is_err();
            queue.push(stream);
            if is_dropped {
                return Self {
                    address,
                    _listener: listener,
                    _queue: queue,
                };
            }
        }
    }
}
