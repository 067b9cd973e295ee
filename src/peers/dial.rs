//! The way to a neighbour: how it is dialled, and who must answer.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use http::Uri;
use http::uri::{InvalidUri, PathAndQuery};
use prost::Message;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tower::service_fn;

use crate::model::address::Address;
use crate::proto::propagate_client::PropagateClient;
use crate::proto::{PUSH, PushFrame, PushResponse};
use crate::tls::{self, Credentials, PeerIdentity, ReloadEvents, Subject};

use super::PeerSettings;
use super::channel::{Channel, Connecting, Limits, Wire};
use super::policy::{Answer, Call, Caller, stack};
use super::unary;

/// Longest answer to a push, in bytes: there is room for what a later version adds.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A way to make connections. [`tcp`] is the usual one.
pub type Connect = fn(&Address) -> Connecting;

/// Connects by TCP. A DNS name is resolved anew each time.
pub fn tcp(address: &Address) -> Connecting {
    let address = address.clone();
    Box::pin(async move { Ok(Box::new(tcp_stream(&address).await?) as Box<dyn Wire>) })
}

async fn tcp_stream(address: &Address) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address.to_string()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A caller for the server at `address`, through the tower stack and one
/// connection at a time, which `connect` makes. Its calls must be made within a
/// runtime.
pub fn dial(
    address: &Address,
    settings: &PeerSettings,
    connect: Connect,
) -> Result<Caller, InvalidUri> {
    let origin = format!("http://{address}").parse()?;
    let address = address.clone();
    let channel = Channel::new(move || connect(&address), limits(settings));
    Ok(caller(move || channel.clone(), origin, settings))
}

/// The same by TCP and TLS, to the server `whom`, which must show a certificate
/// for that name, whatever the host is called. Each connection is made with what
/// `credentials` hold at that moment; a refusal fails the calls, with its cause
/// in words as their status.
pub fn dial_secure(
    address: &Address,
    settings: &PeerSettings,
    credentials: &Arc<Credentials>,
    whom: &Subject,
) -> Result<Caller, InvalidUri> {
    let origin = format!("https://{whom}").parse()?;
    let way = Way {
        address: address.clone(),
        credentials: credentials.clone(),
        whom: whom.clone(),
        until: Arc::default(),
    };
    // Of three round trips, two are for TLS.
    let limits = Limits {
        connect: settings.attempt * 2,
        ..limits(settings)
    };
    let line = Mutex::new(Line::new(way, limits));
    let channel = move || {
        line.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .channel()
    };
    Ok(caller(channel, origin, settings))
}

fn limits(settings: &PeerSettings) -> Limits {
    Limits {
        connect: settings.attempt,
        keep_alive: settings.keep_alive,
        keep_alive_timeout: settings.keep_alive_timeout,
    }
}

/// A channel that is made anew between calls, with the connection under it, when
/// that stands by what no longer holds: when the own credentials were read again,
/// or the certificate that the server showed has expired.
struct Line {
    way: Way,
    limits: Limits,
    readings: ReloadEvents,
    channel: Channel,
}

impl Line {
    fn new(way: Way, limits: Limits) -> Self {
        Self {
            readings: way.credentials.readings(),
            channel: way.channel(limits),
            way,
            limits,
        }
    }

    fn channel(&mut self) -> Channel {
        if self.readings.is_new() || self.way.has_expired() {
            self.way.until = Arc::default();
            self.channel = self.way.channel(self.limits);
        }
        self.channel.clone()
    }
}

/// How a server is reached by TLS.
#[derive(Clone)]
struct Way {
    address: Address,
    credentials: Arc<Credentials>,
    whom: Subject,
    /// How long the certificates are valid that it showed last.
    until: Arc<Mutex<Option<SystemTime>>>,
}

impl Way {
    fn channel(&self, limits: Limits) -> Channel {
        let way = self.clone();
        let connect = move || -> Connecting {
            let way = way.clone();
            Box::pin(async move { Ok(Box::new(way.reach().await?) as Box<dyn Wire>) })
        };
        Channel::new(connect, limits)
    }

    async fn reach(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = tls_stream(&self.address, &self.credentials, &self.whom).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        *self.until() = tls::until(chain);
        Ok(stream)
    }

    fn has_expired(&self) -> bool {
        self.until().is_some_and(|until| until <= SystemTime::now())
    }

    /// Held for a look.
    fn until(&self) -> MutexGuard<'_, Option<SystemTime>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection by TLS to the server `whom`, as [`dial_secure`] makes them.
pub async fn tls_stream(
    address: &Address,
    credentials: &Credentials,
    whom: &Subject,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = tcp_stream(address).await?;
    let config = credentials
        .client_config()
        .ok_or_else(|| io::Error::other("these credentials are for clients, and dial nobody"))?;
    let name = tls::server_name(whom).map_err(io::Error::other)?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    let mut stream = connected.map_err(|error| told(&error))?;
    check_name(&stream, whom)?;
    // What the server makes of our certificate it says behind the handshake; and
    // the first word in HTTP/2 is its own.
    match stream.fill_buf().await.map_err(|error| told(&error))? {
        [] => Err(io::Error::other(
            "it closed the connection after the TLS handshake",
        )),
        _ => Ok(stream),
    }
}

/// Chain and name were verified; a wildcard, which that would allow, is no
/// server's name.
fn check_name(stream: &TlsStream<TcpStream>, whom: &Subject) -> io::Result<()> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let holder = chain.first().map(PeerIdentity::of).unwrap_or_default();
    match holder.is(whom) {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "its certificate is for {holder}, not for {whom}"
        ))),
    }
}

fn told(error: &io::Error) -> io::Error {
    let broken =
        || format!("the connection broke in the TLS handshake: {error}; does it speak TLS?");
    io::Error::other(tls::refusal(error).map_or_else(broken, |refusal| refusal.words))
}

/// Each attempt of a call takes the channel that there is then.
fn caller(
    channel: impl Fn() -> Channel + Send + Sync + 'static,
    origin: Uri,
    settings: &PeerSettings,
) -> Caller {
    let (channel, push_uri) = (Arc::new(channel), at_path(&origin, PUSH));
    let attempt = move |call: Call| {
        let (channel, origin, push_uri) = (channel(), origin.clone(), push_uri.clone());
        async move {
            match call {
                Call::Greet(request) => {
                    let mut client = PropagateClient::with_origin(channel, origin);
                    let answer = client.greet((*request).clone()).await?;
                    Ok(Answer::Greet(answer.into_inner()))
                }
                Call::Push(frame) => push(&channel, push_uri, &frame).await.map(Answer::Push),
            }
        }
    };
    stack(settings, service_fn(attempt))
}

/// A push as tonic's client makes it, by fewer steps: it is what a link does all
/// day.
async fn push(channel: &Channel, uri: Uri, frame: &PushFrame) -> Result<PushResponse, Status> {
    let answer = channel.exchange(unary::request(uri, &frame.0)).await?;
    let message = unary::message(answer, MAX_ANSWER_BYTES).await?;
    let malformed = |error| Status::unknown(format!("its answer is malformed: {error}"));
    PushResponse::decode(message).map_err(malformed)
}

fn at_path(origin: &Uri, path: &'static str) -> Uri {
    let mut parts = origin.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static(path));
    Uri::from_parts(parts).expect("an origin takes any path")
}
