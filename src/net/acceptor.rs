//! A TCP listener that survives errors.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use humantime::format_duration;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::format::list;
use crate::log::LogThrottle;
use crate::model::address::Address;

use super::turn::{TurnProbe, TurnRequests};
use super::{LIMIT_LOG_INTERVAL, Resolver};

/// Interval between attempts to accept while the system lacks a resource, such as file
/// descriptors. It is long enough to cost no CPU time and short enough to go unnoticed.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Number of connections that may wait to be accepted. All clients of a server that was away
/// for a moment return at once. The system may allow fewer.
const BACKLOG: u32 = 4096;

/// Time for which a name that is not resolved is looked up again: at boot the network, and in a
/// cluster the name of a new server, is there a moment after the server. Longer: a wrong name is
/// reported later.
const MAX_RESOLUTION_TIME: Duration = Duration::from_secs(30);

/// Maximum time of one lookup.
const MAX_LOOKUP_TIME: Duration = Duration::from_secs(5);

/// Time between two lookups.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);

/// The reason why a server cannot listen on an address.
#[derive(Debug)]
pub struct BindError {
    /// The errors, each with its address, if the host has several or is a name.
    failures: Vec<(Option<SocketAddr>, io::Error)>,
}

impl BindError {
    /// Returns the first error of the system.
    pub fn cause(&self) -> Option<&io::Error> {
        self.failures.first().map(|(_, error)| error)
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (address, error)) in self.failures.iter().enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            if let Some(address) = address {
                write!(f, "{address}: ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BindError {}

/// Listens on every address of a host. A name that is not resolved is looked up again for 30 s. An
/// address of a name that this machine does not have is skipped and logged, unless all are.
///
/// `send_buffer_bytes` is the size of the send buffer of each connection; the system decides
/// without it. With port 0, all addresses get the port that the system picks for the first one.
///
/// # Errors
///
/// Names each address that failed. Then none is listened on.
pub async fn bind(
    address: &Address,
    resolver: &Resolver,
    send_buffer_bytes: Option<u32>,
) -> Result<Acceptor, BindError> {
    let found = match address.socket() {
        Some(literal) => vec![literal],
        None => {
            let resolved = resolve(address, resolver, MAX_RESOLUTION_TIME).await;
            resolved.map_err(|error| BindError {
                failures: vec![(None, error)],
            })?
        }
    };
    let mut port = address.port();
    let (mut listeners, mut failures) = (Vec::new(), Vec::new());
    for mut found in found {
        found.set_port(port);
        let bound = listen(found, send_buffer_bytes)
            .and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
        match bound {
            Ok((bound_port, listener)) => {
                port = bound_port;
                listeners.push(listener);
            }
            Err(error) => failures.push((address.socket().is_none().then_some(found), error)),
        }
    }
    if listeners.is_empty() || failures.iter().any(|(_, error)| !is_elsewhere(error)) {
        return Err(BindError { failures });
    }
    for (skipped, error) in failures {
        let skipped = skipped.map_or_else(String::new, |skipped| skipped.to_string());
        info!("{address} does not listen on {skipped}: {error}");
    }
    Ok(Acceptor::new(address.clone(), listeners))
}

/// Returns true if the machine does not have an address, or nothing of its family.
fn is_elsewhere(error: &io::Error) -> bool {
    let is_without_family = Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT);
    error.kind() == io::ErrorKind::AddrNotAvailable || is_without_family
}

/// Looks a name up, again and again for `limit`. Returns each address once.
async fn resolve(
    address: &Address,
    resolver: &Resolver,
    limit: Duration,
) -> io::Result<Vec<SocketAddr>> {
    let name = resolver.name(address.bare_host());
    let begin = Instant::now();
    let mut is_logged = false;
    loop {
        let resolution = resolver.addresses(&name, MAX_LOOKUP_TIME).await;
        let Some(failure) = resolution.failure else {
            if is_logged {
                info!("{address} is resolved now");
            }
            let mut found = Vec::new();
            for address in resolution.addresses {
                if !found.contains(&address) {
                    found.push(address);
                }
            }
            return Ok(found);
        };
        let shown = format_duration(limit);
        if begin.elapsed() >= limit {
            return Err(io::Error::other(format!("{failure}; tried for {shown}")));
        }
        if !is_logged {
            warn!("cannot listen on {address} yet: {failure}; retrying for {shown}");
            is_logged = true;
        }
        sleep(LOOKUP_INTERVAL).await;
    }
}

fn listen(address: SocketAddr, send_buffer_bytes: Option<u32>) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that restarts takes its port back at once.
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = send_buffer_bytes {
        // Connections inherit it.
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The TCP listeners of one port, whose [`accept`](Self::accept) never fails. Displays the address
/// of the config, and for a name the addresses that are listened on.
#[derive(Debug)]
pub struct Acceptor {
    address: Address,
    /// At least one: a name may have several addresses.
    listeners: Vec<TcpListener>,
    /// The listener that accepts first: each in turn, so that none keeps others out.
    first: usize,
    is_starved: bool,
    /// Whether the present shortage was logged. Shortages may come and go many times a second.
    is_logged: bool,
    starved: LogThrottle,
    turns: TurnRequests,
}

impl Acceptor {
    fn new(address: Address, listeners: Vec<TcpListener>) -> Self {
        Self {
            address,
            listeners,
            first: 0,
            is_starved: false,
            is_logged: false,
            starved: LogThrottle::new(LIMIT_LOG_INTERVAL),
            turns: TurnRequests::new(),
        }
    }

    /// Returns the address of the first listening socket.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::local_addr`].
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listeners[0].local_addr()
    }

    /// Returns the probe of the loop that calls [`accept`](Self::accept).
    pub fn turn_probe(&self) -> TurnProbe {
        self.turns.probe()
    }

    /// Returns the loopback addresses that a name stands for on this machine, if it stands for
    /// nothing else and does not say so: others that dial the name cannot reach it.
    pub fn unexpected_loopback(&self) -> Option<String> {
        let is_name = self.address.ip().is_none() && !self.address.is_loopback();
        let bound = self.local_addresses();
        let is_loopback = bound.iter().all(|address| address.ip().is_loopback());
        (is_name && is_loopback && !bound.is_empty()).then(|| {
            let bound: Vec<String> = bound.iter().map(|a| a.ip().to_string()).collect();
            list(&bound, "and")
        })
    }

    fn local_addresses(&self) -> Vec<SocketAddr> {
        let all = self.listeners.iter().map(TcpListener::local_addr);
        all.filter_map(Result::ok).collect()
    }

    /// Returns the next connection, without Nagle's delay, and the address of its other end.
    ///
    /// Skips connections that ended before they were accepted. While the system lacks a resource,
    /// retries every 50 ms and logs that once. Cancel safe.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.accept_next().await {
                Ok((stream, peer)) => {
                    self.note_recovery();
                    // Fails only on a connection that has ended, which reading reports.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    self.note_shortage(&error);
                    sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// Returns the next connection, and meanwhile answers the probe. Cancel safe.
    async fn accept_next(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (listeners, first) = (&self.listeners, &mut self.first);
        tokio::select! {
            biased;
            never = self.turns.answer() => match never {},
            accepted = poll_fn(|context| poll_accept(listeners, first, context)) => accepted,
        }
    }

    fn note_shortage(&mut self, error: &io::Error) {
        if self.is_starved {
            return;
        }
        self.is_starved = true;
        self.is_logged = self.starved.admit().is_some();
        if self.is_logged {
            warn!(
                "cannot accept connections: {error}; retrying; if open files ran out, raise their \
                 limit (ulimit -n) or lower max_connections"
            );
        }
    }

    fn note_recovery(&mut self) {
        if self.is_starved && self.is_logged {
            info!("accepts connections again");
        }
        self.is_starved = false;
    }
}

/// Accepts from each listener in turn, beginning with the one after the last that had a connection.
fn poll_accept(
    listeners: &[TcpListener],
    first: &mut usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
    let count = listeners.len();
    for turn in 0..count {
        let index = (*first + turn) % count;
        if let Poll::Ready(accepted) = listeners[index].poll_accept(context) {
            *first = (index + 1) % count;
            return Poll::Ready(accepted);
        }
    }
    Poll::Pending
}

impl fmt::Display for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_port = self.address.port() > 0;
        if self.address.ip().is_some() && has_port {
            return write!(f, "{}", self.address);
        }
        let bound: Vec<String> = self
            .local_addresses()
            .iter()
            .map(|a| a.to_string())
            .collect();
        let bound = list(&bound, "and");
        match self.address.ip() {
            Some(_) => f.write_str(&bound),
            None => write!(f, "{} ({bound})", self.address),
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    fn resolving_to(texts: &'static [&'static str]) -> Resolver {
        Resolver::new(move |_| Ok(texts.iter().map(|text| text.parse().unwrap()).collect()))
    }

    fn named(port: u16) -> Address {
        Address::parse(&format!("edge.example:{port}")).unwrap()
    }

    #[tokio::test]
    async fn every_address_of_a_name_accepts_and_the_foreign_ones_are_skipped() {
        let resolver = resolving_to(&["127.0.0.1:0", "192.0.2.7:0", "127.0.0.2:0", "127.0.0.1:0"]);
        let mut acceptor = bind(&named(0), &resolver, None).await.unwrap();
        let port = acceptor.local_address().unwrap().port();
        let shown = format!("edge.example:0 (127.0.0.1:{port} and 127.0.0.2:{port})");
        assert_eq!(acceptor.to_string(), shown);
        let loopback = acceptor.unexpected_loopback();
        assert_eq!(loopback.as_deref(), Some("127.0.0.1 and 127.0.0.2"));
        for host in ["127.0.0.1", "127.0.0.2", "127.0.0.1"] {
            let client = TcpStream::connect((host, port)).await.unwrap();
            let (_, peer) = acceptor.accept().await;
            assert_eq!(peer, client.local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_and_none_is_listened_on() {
        let taken = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let resolver = resolving_to(&["127.0.0.1:0", "127.0.0.2:0", "192.0.2.7:0"]);
        let error = bind(&named(port), &resolver, None).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("127.0.0.2:{port}: Address")),
            "{text}"
        );
        assert!(
            text.contains(&format!("; 192.0.2.7:{port}: Cannot")),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_name_that_is_not_resolved_yet_is_looked_up_again() {
        let lookups = AtomicUsize::new(0);
        let resolver = Resolver::new(move |_| match lookups.fetch_add(1, Relaxed) {
            0 => Err(io::Error::other("unknown")),
            _ => Ok(vec!["127.0.0.1:0".parse().unwrap()]),
        });
        bind(&named(0), &resolver, None).await.unwrap();
        let never = Resolver::new(|_| Err(io::Error::other("unknown")));
        let error = resolve(&named(0), &never, Duration::ZERO)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "edge.example: unknown; tried for 0s");
    }
}
