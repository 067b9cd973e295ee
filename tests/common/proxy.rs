//! What stands between two ends of a connection, and fails as networks do.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::eventually;

/// What a proxy does with the connections through it. No byte is lost or out of
/// its order by a change of mode, unless its connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Carries bytes both ways.
    Pass,
    /// Closes all connections, old and new.
    Cut,
    /// Takes connections, keeps old ones open, and carries nothing.
    Stall,
    /// Carries what the dialler says, and stalls the other way.
    OnlyThere,
    /// Carries what the dialler is told, and stalls the other way.
    OnlyBack,
    /// Carries every byte so much later, each way, as many as may come.
    Delay(Duration),
    /// Carries so many bytes a second, each way of each connection.
    Throttle(u32),
    /// Carries nothing over old connections, whatever comes later, and tells
    /// neither end, not even that the other is gone: both are half open until a
    /// cut. Carries new ones.
    HalfOpen,
}

/// A way to a server that may not run yet.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    order: Arc<watch::Sender<Order>>,
    target: Arc<watch::Sender<Option<SocketAddr>>>,
}

/// What connections are told to do.
#[derive(Clone, Copy)]
struct Order {
    mode: Mode,
    /// How often old connections were left half open.
    left: usize,
}

/// What one connection is told to do.
#[derive(Clone)]
struct Orders {
    orders: watch::Receiver<Order>,
    left_before: usize,
}

/// One of the two directions of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

/// Bytes on their way, and when they are to arrive.
type UnderWay = (Instant, Vec<u8>);

/// Most bytes that are read at a time.
const CHUNK: usize = 16 * 1024;

/// Most chunks under way: 16 MiB, so that a delay is no throttle.
const MOST_UNDER_WAY: usize = 1024;

/// A throttled way carries what is due about so often.
const BEAT: Duration = Duration::from_millis(20);

impl Proxy {
    /// A proxy on a port of its own, which leads nowhere yet.
    pub fn start(runtime: &Handle) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (mode, left) = (Mode::Pass, 0);
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            order: Arc::new(watch::Sender::new(Order { mode, left })),
            target: Arc::new(watch::Sender::new(None)),
        };
        runtime.spawn(proxy.clone().serve(listener));
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what happens to bytes that are sent from now on, but for those of
    /// [`Mode::Pass`], which may follow what was held back. A cut has happened
    /// when this returns.
    #[track_caller]
    pub fn set_mode(&self, mode: Mode) {
        self.order.send_modify(|order| {
            order.mode = mode;
            order.left += usize::from(mode == Mode::HalfOpen);
        });
        if mode == Mode::Cut {
            // Each connection listens for orders as long as it stands.
            let closed = || (self.order.receiver_count() == 0).then_some(());
            eventually("all connections are closed", closed);
        }
    }

    /// Where connections lead from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let orders = self.order.subscribe();
            let left_before = orders.borrow().left;
            let orders = Orders {
                orders,
                left_before,
            };
            tokio::spawn(self.clone().hold(near, orders));
        }
    }

    /// Holds a connection until it has ended, or is cut.
    async fn hold(self, near: TcpStream, orders: Orders) {
        tokio::select! {
            biased;
            () = orders.clone().until(|mode| mode == Mode::Cut) => {}
            _ = self.connect(near, orders) => {}
        }
    }

    async fn connect(&self, mut near: TcpStream, orders: Orders) -> io::Result<()> {
        orders.clone().until(|mode| mode != Mode::Stall).await;
        let target = *self.target.borrow();
        let mut far = TcpStream::connect(target.ok_or(ErrorKind::NotFound)?).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (from_near, to_near) = near.split();
        let (from_far, to_far) = far.split();
        let there = carry(Way::There, from_near, to_far, orders.clone());
        let back = carry(Way::Back, from_far, to_near, orders);
        tokio::try_join!(there, back).map(drop)
    }
}

impl Mode {
    fn carries(self, way: Way) -> bool {
        match self {
            Self::Cut | Self::Stall => false,
            Self::OnlyThere => way == Way::There,
            Self::OnlyBack => way == Way::Back,
            Self::Pass | Self::Delay(_) | Self::Throttle(_) | Self::HalfOpen => true,
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
    /// What to do now; nothing ever again once it was left.
    fn mode(&mut self) -> Mode {
        let Order { mode, left } = *self.orders.borrow_and_update();
        match left == self.left_before {
            true => mode,
            false => Mode::Stall,
        }
    }

    async fn changed(&mut self) {
        self.orders.changed().await.expect("the proxy serves");
    }

    async fn until(mut self, is_it: impl Fn(Mode) -> bool) {
        drop(self.orders.wait_for(|order| is_it(order.mode)).await);
    }
}

/// Carries one way of a connection until it ends.
async fn carry(way: Way, from: ReadHalf<'_>, to: WriteHalf<'_>, orders: Orders) -> io::Result<()> {
    let (sender, under_way) = mpsc::channel(MOST_UNDER_WAY);
    tokio::try_join!(take(way, from, sender, orders), hand_on(under_way, to)).map(drop)
}

/// Takes in what is sent, as fast as the mode lets it.
async fn take(
    way: Way,
    mut from: ReadHalf<'_>,
    under_way: mpsc::Sender<UnderWay>,
    mut orders: Orders,
) -> io::Result<()> {
    let mut buffer = [0; CHUNK];
    loop {
        let mode = orders.mode();
        let most = match mode {
            Mode::Throttle(rate) => (BEAT.as_secs_f64() * f64::from(rate)).ceil() as usize,
            _ => CHUNK,
        };
        let read = tokio::select! {
            // What is sent after a change of mode, that mode holds for.
            biased;
            () = orders.changed() => continue,
            read = from.read(&mut buffer[..most.min(CHUNK)]), if mode.carries(way) => read?,
        };
        if read == 0 {
            return Ok(());
        }
        let bytes = (Instant::now() + mode.delay(), buffer[..read].to_vec());
        let sent = under_way.send(bytes).await;
        sent.map_err(|_| ErrorKind::BrokenPipe)?;
        if let Mode::Throttle(rate) = mode {
            sleep(Duration::from_secs_f64(read as f64 / f64::from(rate))).await;
        }
    }
}

/// Hands on what was taken in when it is due, and then that there is no more.
async fn hand_on(mut under_way: mpsc::Receiver<UnderWay>, mut to: WriteHalf<'_>) -> io::Result<()> {
    while let Some((due, bytes)) = under_way.recv().await {
        // Even a sleep until now may take a millisecond.
        if Instant::now() < due {
            sleep_until(due).await;
        }
        to.write_all(&bytes).await?;
    }
    to.shutdown().await
}
