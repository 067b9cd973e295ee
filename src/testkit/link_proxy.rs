//! A proxy between two ends of a connection, with the faults of networks.

use std::io::{self, ErrorKind};
use std::net::{self, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::error::{TestkitError, done};
use super::wait::eventually;

/// The treatment of connections. A change of mode neither loses nor reorders bytes, unless it
/// ends their connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMode {
    /// Carries bytes in both directions.
    Pass,
    /// Closes all connections, old and new.
    Cut,
    /// Accepts connections, keeps old ones open, and carries nothing.
    Stall,
    /// Carries bytes from the dialler, and stalls the other direction.
    OnlyForward,
    /// Carries bytes to the dialler, and stalls the other direction.
    OnlyBackward,
    /// Delays every byte in both directions, without a limit of bandwidth.
    Delay(Duration),
    /// Limits the bytes per second in each direction of each connection, to at least 1.
    Throttle(u32),
    /// Carries at most this number of bytes at once: more than that, and everything after it in
    /// that direction of the connection, arrives under another mode only. An example is a path
    /// with a smaller MTU than its ends believe.
    Ceiling(usize),
    /// Carries nothing on old connections under any later mode, not even their end: both ends are
    /// half open until a cut. New connections carry bytes.
    HalfOpen,
}

/// A proxy to a server that may not run yet. Clones are the same proxy.
#[derive(Clone, Debug)]
pub struct LinkProxy {
    address: SocketAddr,
    order: Arc<watch::Sender<Order>>,
    target: Arc<watch::Sender<Option<SocketAddr>>>,
    bytes_sent: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
}

/// The current treatment of all connections.
#[derive(Clone, Copy, Debug)]
struct Order {
    mode: LinkMode,
    /// The number of times that old connections were left half open.
    left: usize,
}

/// The current treatment of one connection.
#[derive(Clone)]
struct Orders {
    orders: watch::Receiver<Order>,
    left_before: usize,
    /// The number of bytes from diallers.
    bytes_sent: Arc<AtomicU64>,
}

/// One of the two directions of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// Bytes in transit, and the time of their arrival.
type InTransit = (Instant, Vec<u8>);

/// The maximum number of bytes of a read.
const MAX_CHUNK_BYTES: usize = 16 * 1024;

/// The maximum number of chunks in transit: 16 MiB, so that a delay does not throttle.
const MAX_CHUNKS_IN_TRANSIT: usize = 1024;

/// The interval between two chunks of a throttled direction.
const THROTTLE_INTERVAL: Duration = Duration::from_millis(20);

/// Time after which a proxy without a free socket tries again.
const ACCEPT_DELAY: Duration = Duration::from_millis(10);

impl LinkProxy {
    /// Starts a proxy on a free port of loopback, without a target. It ends with the runtime.
    ///
    /// # Panics
    /// There are no more sockets or ports.
    #[track_caller]
    pub fn start(runtime: &Handle) -> Self {
        done(Self::try_start(runtime).map_err(TestkitError::Resources))
    }

    pub(super) fn try_start(runtime: &Handle) -> io::Result<Self> {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let entered = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        drop(entered);
        let (mode, left) = (LinkMode::Pass, 0);
        let proxy = Self {
            address: listener.local_addr()?,
            order: Arc::new(watch::Sender::new(Order { mode, left })),
            target: Arc::new(watch::Sender::new(None)),
            bytes_sent: Arc::default(),
            accepted: Arc::default(),
        };
        runtime.spawn(proxy.clone().serve(listener));
        Ok(proxy)
    }

    /// Returns the address that diallers use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the treatment of bytes that are sent from now on. A cut is complete when this returns.
    #[track_caller]
    pub fn set_mode(&self, mode: LinkMode) {
        self.order.send_modify(|order| {
            order.mode = mode;
            order.left += usize::from(mode == LinkMode::HalfOpen);
        });
        if mode == LinkMode::Cut {
            // Each open connection has a receiver.
            let closed = || (self.order.receiver_count() == 0).then_some(());
            eventually("all connections are closed", closed);
        }
    }

    /// Returns the treatment of bytes that are sent now.
    pub fn mode(&self) -> LinkMode {
        self.order.borrow().mode
    }

    /// Sets the target of new connections.
    pub fn set_target(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }

    /// Returns the number of bytes from diallers.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Relaxed)
    }

    /// Returns the number of connections that diallers made.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            let Ok((near, _)) = listener.accept().await else {
                sleep(ACCEPT_DELAY).await;
                continue;
            };
            self.accepted.fetch_add(1, Relaxed);
            let orders = self.order.subscribe();
            let left_before = orders.borrow().left;
            let orders = Orders {
                orders,
                left_before,
                bytes_sent: self.bytes_sent.clone(),
            };
            tokio::spawn(self.clone().hold(near, orders));
        }
    }

    /// Carries a connection until it ends or is cut.
    async fn hold(self, near: TcpStream, orders: Orders) {
        tokio::select! {
            biased;
            () = orders.clone().until(|mode| mode == LinkMode::Cut) => {}
            _ = self.connect(near, orders) => {}
        }
    }

    async fn connect(&self, mut near: TcpStream, orders: Orders) -> io::Result<()> {
        orders.clone().until(|mode| mode != LinkMode::Stall).await;
        let target = *self.target.borrow();
        let mut far = TcpStream::connect(target.ok_or(ErrorKind::NotFound)?).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (from_near, to_near) = near.split();
        let (from_far, to_far) = far.split();
        let there = carry(Direction::Forward, from_near, to_far, orders.clone());
        let back = carry(Direction::Backward, from_far, to_near, orders);
        tokio::try_join!(there, back).map(drop)
    }
}

impl LinkMode {
    fn carries(self, direction: Direction) -> bool {
        match self {
            Self::Cut | Self::Stall => false,
            Self::OnlyForward => direction == Direction::Forward,
            Self::OnlyBackward => direction == Direction::Backward,
            Self::Pass | Self::Delay(_) | Self::Throttle(_) | Self::Ceiling(_) | Self::HalfOpen => {
                true
            }
        }
    }

    fn delay(self) -> Duration {
        match self {
            Self::Delay(delay) => delay,
            _ => Duration::ZERO,
        }
    }
}

impl Orders {
    /// Returns the current mode, which is a stall after the connection was left half open.
    fn mode(&mut self) -> LinkMode {
        let Order { mode, left } = *self.orders.borrow_and_update();
        if left == self.left_before {
            mode
        } else {
            LinkMode::Stall
        }
    }

    async fn changed(&mut self) {
        self.orders.changed().await.expect("the proxy serves");
    }

    async fn until(mut self, is_it: impl Fn(LinkMode) -> bool) {
        drop(self.orders.wait_for(|order| is_it(order.mode)).await);
    }
}

/// Carries one direction of a connection until it ends.
async fn carry(
    direction: Direction,
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    orders: Orders,
) -> io::Result<()> {
    let (sender, in_transit) = mpsc::channel(MAX_CHUNKS_IN_TRANSIT);
    tokio::try_join!(
        take(direction, from, sender, orders),
        forward(in_transit, to)
    )
    .map(drop)
}

/// Reads bytes, as fast as the mode permits.
async fn take(
    direction: Direction,
    mut from: ReadHalf<'_>,
    in_transit: mpsc::Sender<InTransit>,
    mut orders: Orders,
) -> io::Result<()> {
    let mut buffer = [0; MAX_CHUNK_BYTES];
    loop {
        let mode = orders.mode();
        let limit = match mode {
            LinkMode::Throttle(rate) => {
                (THROTTLE_INTERVAL.as_secs_f64() * f64::from(rate.max(1))).ceil() as usize
            }
            _ => MAX_CHUNK_BYTES,
        };
        let size = limit.min(MAX_CHUNK_BYTES);
        let read = tokio::select! {
            // A new mode applies to all bytes that are sent after it.
            biased;
            () = orders.changed() => continue,
            read = from.read(&mut buffer[..size]), if mode.carries(direction) => read?,
        };
        if read == 0 {
            return Ok(());
        }
        if direction == Direction::Forward {
            orders.bytes_sent.fetch_add(read as u64, Relaxed);
        }
        let mut is_stalled = matches!(mode, LinkMode::Ceiling(bytes) if bytes < read);
        while is_stalled {
            orders.changed().await;
            let mode = orders.mode();
            is_stalled = matches!(mode, LinkMode::Ceiling(_)) || !mode.carries(direction);
        }
        let bytes = (Instant::now() + mode.delay(), buffer[..read].to_vec());
        let sent = in_transit.send(bytes).await;
        sent.map_err(|_| ErrorKind::BrokenPipe)?;
        if let LinkMode::Throttle(rate) = mode {
            let seconds = read as f64 / f64::from(rate.max(1));
            sleep(Duration::from_secs_f64(seconds)).await;
        }
    }
}

/// Writes bytes when they are due, then the end of the stream.
async fn forward(
    mut in_transit: mpsc::Receiver<InTransit>,
    mut to: WriteHalf<'_>,
) -> io::Result<()> {
    while let Some((due, bytes)) = in_transit.recv().await {
        // A sleep takes at least a millisecond.
        if Instant::now() < due {
            sleep_until(due).await;
        }
        to.write_all(&bytes).await?;
    }
    to.shutdown().await
}
