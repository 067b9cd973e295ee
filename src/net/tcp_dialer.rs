//! Connections to a host that may have several addresses, some of which do not work.
//!
//! An address that swallows packets must not hide one that works. Therefore the addresses are
//! raced as in "Happy Eyeballs" (RFC 8305): the attempts begin one after the other, a quarter of a
//! second apart or when the one before fails, and the first connection wins. The connector of
//! hyper-util is not used: it races the two families only, divides the time between the addresses
//! of a family, so that a second address may get too little, and reports the last error alone.

use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use humantime::format_duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::lock::lock;
use crate::model::address::Address;

use super::address_book::AddressBook;
use super::resolver::{HostName, Resolution, Resolver};

/// Delay between the starts of two attempts (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Maximum number of addresses that are tried in one dial. Those that failed are last in the
/// next one.
const MAX_ADDRESSES: usize = 16;

/// Dials one host. Clones share what is known of its addresses.
#[derive(Clone)]
pub struct TcpDialer {
    address: Address,
    host: Host,
    /// Locked for a few reads and writes, never across an await.
    book: Arc<Mutex<AddressBook>>,
}

#[derive(Clone)]
enum Host {
    Literal(SocketAddr),
    Name(Resolver, Arc<HostName>),
}

/// The use of an address, which counts as failed until it is known to work.
pub struct AddressTrial {
    address: SocketAddr,
    book: Arc<Mutex<AddressBook>>,
}

/// Why an address did not work; `None` if it did not answer.
type AddressError = Option<io::Error>;

impl TcpDialer {
    /// Returns a dialer of `address`. A name is looked up at each dial.
    pub fn new(address: &Address, resolver: &Resolver) -> Self {
        let host = match address.socket() {
            Some(socket) => Host::Literal(socket),
            None => Host::Name(resolver.clone(), resolver.name(address.bare_host())),
        };
        Self {
            address: address.clone(),
            host,
            book: Arc::default(),
        }
    }

    /// Returns the address that is dialled.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Connects within `limit`, without Nagle's delay. The lookup of a name takes at most half of
    /// it. Begins with the address that worked last; while the lookup fails, the addresses of the
    /// last one that succeeded are used.
    ///
    /// # Errors
    ///
    /// Names all addresses that were tried, each with its cause, unless the host is an address.
    pub async fn connect(&self, limit: Duration) -> io::Result<(TcpStream, AddressTrial)> {
        self.connect_with(limit, |stream| ready(Ok(stream))).await
    }

    /// Connects as [`connect`](Self::connect), and performs a TLS handshake within `limit` too. An
    /// address whose handshake fails, or takes half of the time that is left, gives way to the
    /// others.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with<S, F>(
        &self,
        limit: Duration,
        handshake: impl Fn(TcpStream) -> F,
    ) -> io::Result<(S, AddressTrial)>
    where
        F: Future<Output = io::Result<S>>,
    {
        let deadline = Instant::now() + limit;
        let resolution = self.resolve(limit / 2).await;
        let mut waiting = lock(&self.book).order(&resolution.addresses);
        waiting.truncate(MAX_ADDRESSES);
        let mut failures = Vec::new();
        while let Some((address, stream)) =
            race(&mut waiting, deadline, tcp_stream, &mut failures).await
        {
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now);
            let until = if waiting.is_empty() { left } else { left / 2 };
            let error = match timeout_at(now + until, handshake(stream)).await {
                Ok(Ok(stream)) => {
                    self.note_failures(&failures);
                    return Ok((stream, self.trial(address)));
                }
                Ok(Err(error)) => error,
                Err(_) => io::Error::other("it did not finish the TLS handshake"),
            };
            failures.push((address, Some(error)));
        }
        self.note_failures(&failures);
        let is_late = Instant::now() >= deadline;
        Err(self.explain(resolution.failure, failures, is_late.then_some(limit)))
    }

    async fn resolve(&self, limit: Duration) -> Resolution {
        match &self.host {
            Host::Literal(address) => Resolution {
                addresses: vec![*address],
                failure: None,
            },
            Host::Name(resolver, name) => {
                let mut resolution = resolver.addresses(name, limit).await;
                for address in &mut resolution.addresses {
                    address.set_port(self.address.port());
                }
                resolution
            }
        }
    }

    fn note_failures(&self, failures: &[(SocketAddr, AddressError)]) {
        let mut book = lock(&self.book);
        for (address, _) in failures {
            book.note_failed(*address);
        }
    }

    fn trial(&self, address: SocketAddr) -> AddressTrial {
        lock(&self.book).note_failed(address);
        AddressTrial {
            address,
            book: self.book.clone(),
        }
    }

    /// Returns one error for those of the lookup and of all addresses. Its text does not depend
    /// on the order of the attempts, so that the same failure has the same text each time.
    fn explain(
        &self,
        lookup: Option<String>,
        mut failures: Vec<(SocketAddr, AddressError)>,
        exceeded: Option<Duration>,
    ) -> io::Error {
        failures.sort_by_key(|(address, _)| *address);
        let causes: Vec<String> = failures
            .iter()
            .map(|(address, error)| {
                let cause = error
                    .as_ref()
                    .map_or("no answer".to_owned(), io::Error::to_string);
                match self.host {
                    Host::Literal(_) => cause,
                    Host::Name(..) => format!("{address}: {cause}"),
                }
            })
            .collect();
        let lookup = lookup.map(|failure| match causes.as_slice() {
            [] => failure,
            _ => format!("{failure}; tried its last known addresses"),
        });
        let causes = (!causes.is_empty()).then(|| causes.join("; "));
        let late = exceeded.map(|limit| format!("no connection within {}", format_duration(limit)));
        let parts: Vec<String> = [late, lookup, causes].into_iter().flatten().collect();
        let kind = match exceeded {
            Some(_) => io::ErrorKind::TimedOut,
            None => io::ErrorKind::Other,
        };
        io::Error::new(kind, parts.join(": "))
    }
}

impl AddressTrial {
    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Notes that the address works. The next dial begins with it.
    pub fn succeed(&self) {
        lock(&self.book).note_worked(self.address);
    }
}

impl fmt::Debug for TcpDialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpDialer({})", self.address)
    }
}

impl fmt::Debug for AddressTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddressTrial({})", self.address)
    }
}

async fn tcp_stream(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Races the addresses in their order until `deadline`, and returns the first connection.
///
/// Removes from `addresses` those that ended, and adds those that did not work to `failures`. The
/// ones that had not answered when another won stay.
async fn race<S, F>(
    addresses: &mut Vec<SocketAddr>,
    deadline: Instant,
    connect: impl Fn(SocketAddr) -> F,
    failures: &mut Vec<(SocketAddr, AddressError)>,
) -> Option<(SocketAddr, S)>
where
    F: Future<Output = io::Result<S>>,
{
    let mut next = Instant::now();
    // Within a short time limit, the last attempt begins in time too.
    let shares = u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
    let delay = ATTEMPT_DELAY.min(deadline.saturating_duration_since(next) / shares);
    let mut unstarted = addresses.clone().into_iter();
    let mut attempts = FuturesUnordered::new();
    loop {
        let has_unstarted = unstarted.len() > 0;
        if attempts.is_empty() && !has_unstarted {
            return None;
        }
        tokio::select! {
            biased;
            Some((address, connected)) = attempts.next() => {
                addresses.retain(|other| *other != address);
                match connected {
                    Ok(stream) => return Some((address, stream)),
                    Err(error) => failures.push((address, Some(error))),
                }
                next = Instant::now();
            }
            () = sleep_until(deadline) => {
                failures.extend(addresses.drain(..).map(|address| (address, None)));
                return None;
            }
            () = sleep_until(next), if has_unstarted => {
                next = Instant::now() + delay;
                if let Some(address) = unstarted.next() {
                    let connecting = connect(address);
                    attempts.push(async move { (address, connecting.await) });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use tokio::runtime::Builder;
    use tokio::time::sleep;

    use super::*;

    /// An address of a name, with the time of its answer in milliseconds.
    #[derive(Clone, Copy, Debug)]
    enum Behaviour {
        Connects(u64),
        Refuses(u64),
        Swallows,
    }

    fn behaviours() -> impl Strategy<Value = Vec<Behaviour>> {
        let behaviour = prop_oneof![
            (0..800u64).prop_map(Behaviour::Connects),
            (0..800u64).prop_map(Behaviour::Refuses),
            Just(Behaviour::Swallows),
        ];
        prop::collection::vec(behaviour, 0..MAX_ADDRESSES)
    }

    fn address(index: usize) -> SocketAddr {
        let last = u8::try_from(index).unwrap();
        SocketAddr::from((Ipv4Addr::new(192, 0, 2, last), 1))
    }

    fn index(address: SocketAddr) -> usize {
        let SocketAddr::V4(v4) = address else {
            panic!("{address} is not of this test")
        };
        usize::from(v4.ip().octets()[3])
    }

    struct Raced {
        winner: Option<usize>,
        took: Duration,
        left: Vec<usize>,
        failures: Vec<(usize, bool)>,
    }

    /// Runs a race in simulated time.
    fn raced(behaviours: &[Behaviour], limit: Duration) -> Raced {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let start = Instant::now();
            let connect = |address| {
                let behaviour = behaviours[index(address)];
                async move {
                    match behaviour {
                        Behaviour::Connects(after) => {
                            sleep(Duration::from_millis(after)).await;
                            Ok(())
                        }
                        Behaviour::Refuses(after) => {
                            sleep(Duration::from_millis(after)).await;
                            Err(io::ErrorKind::ConnectionRefused.into())
                        }
                        Behaviour::Swallows => std::future::pending().await,
                    }
                }
            };
            let mut addresses: Vec<_> = (0..behaviours.len()).map(address).collect();
            let mut failures = Vec::new();
            let won = race(&mut addresses, start + limit, connect, &mut failures).await;
            let failures = failures.into_iter();
            Raced {
                winner: won.map(|(address, ())| index(address)),
                took: start.elapsed(),
                left: addresses.into_iter().map(index).collect(),
                failures: failures
                    .map(|(address, error)| (index(address), error.is_some()))
                    .collect(),
            }
        })
    }

    proptest! {
        #[test]
        fn an_address_that_connects_is_found_whatever_the_others_do(
            behaviours in behaviours(),
            limit in 100..6000u64,
        ) {
            let limit = Duration::from_millis(limit);
            let raced = raced(&behaviours, limit);
            let delay = ATTEMPT_DELAY.min(limit / (behaviours.len() as u32 + 1));
            let times = behaviours.iter().enumerate().filter_map(|(i, behaviour)| {
                let Behaviour::Connects(after) = behaviour else { return None };
                Some(delay * i as u32 + Duration::from_millis(*after))
            });
            // Failures only bring attempts forward. Timers count in milliseconds.
            let tolerance = Duration::from_millis(1) * (behaviours.len() as u32 + 1);
            let expected = times.min();
            if let Some(expected) = expected && expected + tolerance < limit {
                prop_assert!(raced.winner.is_some());
                prop_assert!(raced.took <= expected + tolerance);
            }
            prop_assert!(raced.took <= limit + tolerance);
            if let Some(winner) = raced.winner {
                prop_assert!(matches!(behaviours[winner], Behaviour::Connects(_)));
                prop_assert!(raced.failures.iter().all(|(_, has_cause)| *has_cause));
            } else {
                prop_assert_eq!(raced.failures.len(), behaviours.len());
            }
            // Each address has exactly one end.
            let mut all: Vec<usize> = raced.failures.iter().map(|(i, _)| *i).collect();
            all.extend(raced.left);
            all.extend(raced.winner);
            all.sort_unstable();
            prop_assert_eq!(all, (0..behaviours.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_refusal_starts_the_next_attempt_at_once() {
        let raced = raced(
            &[
                Behaviour::Refuses(3),
                Behaviour::Refuses(4),
                Behaviour::Connects(5),
            ],
            Duration::from_secs(2),
        );
        assert_eq!(raced.winner, Some(2));
        assert!(raced.took < ATTEMPT_DELAY, "{:?}", raced.took);
        assert_eq!(raced.failures, [(0, true), (1, true)]);
    }

    #[test]
    fn a_silent_address_delays_the_next_one_by_a_quarter_of_a_second() {
        let raced = raced(
            &[Behaviour::Swallows, Behaviour::Connects(5)],
            Duration::from_secs(2),
        );
        assert_eq!(raced.winner, Some(1));
        let took = raced.took.as_millis();
        assert!((255..260).contains(&took), "{took} ms");
        assert_eq!(raced.left, [0]);
    }
}
