//! Who is let in at the ports for clients: by its network, and as long as its
//! address has not as many connections as it may. Decided when a connection is
//! accepted, before TLS, so that strangers cost nothing more.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gateway::Gateway;
use crate::net::{AccessList, Listen, Stream};

use super::ClientSettings;
use super::addresses::{Addresses, Place};

/// Lets clients in at all ports of one server.
#[derive(Debug)]
pub(super) struct Guard {
    gateway: Arc<Gateway>,
    gate: AccessList,
    pub(super) addresses: Arc<Addresses>,
}

impl Guard {
    pub(super) fn new(gateway: Arc<Gateway>, settings: &ClientSettings) -> Self {
        Self {
            gate: AccessList::new("client", "[clients]", &settings.networks),
            addresses: Arc::new(Addresses::new(gateway.clone(), settings)),
            gateway,
        }
    }

    /// From now on these are the limits.
    pub(super) fn change(&self, settings: &ClientSettings) {
        self.gate.change(&settings.networks);
        self.addresses.change(settings);
    }

    /// A place for a connection, or `None` where it is to be closed, which is
    /// counted.
    fn admit(&self, peer: SocketAddr) -> Option<Place> {
        if !self.gate.admits(peer) {
            self.gateway
                .counters()
                .client_connections_rejected
                .network
                .add(1);
            return None;
        }
        self.addresses.place(peer.ip())
    }
}

/// A port for clients, behind the guard.
#[derive(Debug)]
pub struct GuardedListener<L> {
    socket: L,
    guard: Arc<Guard>,
}

impl<L> GuardedListener<L> {
    pub(super) fn new(socket: L, guard: Arc<Guard>) -> Self {
        Self { socket, guard }
    }
}

impl<L: Listen> Listen for GuardedListener<L> {
    type Stream = WithPermit<L::Stream>;

    async fn accept(&mut self) -> (Self::Stream, SocketAddr) {
        loop {
            let (stream, peer) = self.socket.accept().await;
            if let Some(place) = self.guard.admit(peer) {
                let held = WithPermit {
                    stream,
                    _place: Box::new(place),
                };
                return (held, peer);
            }
        }
    }
}

/// A connection, and its place among those of its address.
#[derive(Debug)]
pub struct WithPermit<S> {
    // Closed before the place is free.
    stream: S,
    // In a box, since a connection is held several times over by its session.
    _place: Box<Place>,
}

impl<S: Stream> Stream for WithPermit<S> {
    async fn first_byte(&mut self) -> Option<u8> {
        self.stream.first_byte().await
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WithPermit<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithPermit<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
