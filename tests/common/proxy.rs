//! What stands between two neighbours, and can be cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::eventually;

/// What a proxy does with the connections through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Carries bytes both ways.
    Pass,
    /// Closes all connections, old and new.
    Cut,
    /// Takes connections, keeps old ones open, and carries nothing.
    Stall,
}

/// A way to a server that may not run yet.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
    target: Arc<watch::Sender<Option<SocketAddr>>>,
}

impl Proxy {
    /// A proxy on a port of its own, which leads nowhere yet.
    pub fn start(runtime: &Handle) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            mode: Arc::new(watch::Sender::new(Mode::Pass)),
            target: Arc::new(watch::Sender::new(None)),
        };
        runtime.spawn(proxy.clone().serve(listener));
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what happens to bytes. A cut has happened when this returns.
    #[track_caller]
    pub fn set_mode(&self, mode: Mode) {
        self.mode.send_replace(mode);
        if mode == Mode::Cut {
            // Each connection listens for the mode as long as it stands.
            let closed = || (self.mode.receiver_count() == 0).then_some(());
            eventually("all connections are closed", closed);
        }
    }

    /// Where connections lead from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (mode, target) = (self.mode.subscribe(), *self.target.borrow());
            tokio::spawn(carry(stream, target, mode));
        }
    }
}

async fn carry(mut near: TcpStream, target: Option<SocketAddr>, mut mode: watch::Receiver<Mode>) {
    let Some(target) = target else { return };
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    loop {
        let now = *mode.borrow_and_update();
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far), if now == Mode::Pass => return,
            changed = mode.changed(), if now != Mode::Cut => changed.unwrap(),
            else => return,
        }
    }
}
