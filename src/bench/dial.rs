//! Connections to servers.

use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::model::address::Address;

use super::error::BenchError;

/// Connects, within `timeout` nanoseconds for each address of the host.
pub(super) fn connect(server: &Address, timeout: u64) -> Result<TcpStream, BenchError> {
    dial(server, Duration::from_nanos(timeout)).map_err(|error| BenchError::Connect {
        server: server.clone(),
        error,
    })
}

fn dial(server: &Address, timeout: Duration) -> io::Result<TcpStream> {
    let host = server.host().trim_matches(['[', ']']);
    let mut failed = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (host, server.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Connects as [`connect`] does, and makes the socket nonblocking.
pub(super) fn connect_nonblocking(server: &Address, timeout: u64) -> Result<TcpStream, BenchError> {
    let stream = connect(server, timeout)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
