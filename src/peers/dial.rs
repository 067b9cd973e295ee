//! The channel to a neighbour: one HTTP/2 connection, dialled when it is needed
//! and again whenever it was lost.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

use crate::model::address::Address;
use crate::proto::propagate_client::PropagateClient;
use crate::tls::{self, Credentials, Holder, Readings, Subject};

use super::policy::{Answer, Call, Caller, stack};
use super::{Settings, port};

/// How a channel is made of where and how to dial: one that dials when it is
/// first needed. [`Endpoint::connect_lazy`] is such a way, by TCP.
pub type Connect = fn(&Endpoint) -> Channel;

/// A caller for the server at `address`, through the tower stack and a channel
/// that `connect` makes. Must be called within a runtime.
pub fn dial(address: &Address, settings: &Settings, connect: Connect) -> Result<Caller, Error> {
    let channel = connect(&endpoint(address, settings)?);
    Ok(caller(move || channel.clone(), settings))
}

/// A caller for the server `whom` at `address`, by TLS. Must be called within a
/// runtime.
pub fn dial_secure(
    address: &Address,
    settings: &Settings,
    credentials: &Arc<Credentials>,
    whom: &Subject,
) -> Result<Caller, Error> {
    // Of three round trips, two are for TLS.
    let endpoint = endpoint(address, settings)?.connect_timeout(settings.attempt * 2);
    let way = Way {
        credentials: credentials.clone(),
        whom: whom.clone(),
        until: Arc::default(),
    };
    let line = Mutex::new(Line::new(endpoint, way));
    let channel = move || {
        line.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .channel()
    };
    Ok(caller(channel, settings))
}

/// A channel that is made anew between calls, with the connection under it, when
/// that stands by what no longer holds: when the own credentials were read again,
/// or the certificate that the server showed has expired.
struct Line {
    endpoint: Endpoint,
    way: Way,
    readings: Readings,
    channel: Channel,
}

impl Line {
    fn new(endpoint: Endpoint, way: Way) -> Self {
        Self {
            readings: way.credentials.readings(),
            channel: way.channel(&endpoint),
            endpoint,
            way,
        }
    }

    fn channel(&mut self) -> Channel {
        if self.readings.is_new() || self.way.has_expired() {
            self.way.until = Arc::default();
            self.channel = self.way.channel(&self.endpoint);
        }
        self.channel.clone()
    }
}

/// How a server is reached by TLS.
#[derive(Clone)]
struct Way {
    credentials: Arc<Credentials>,
    whom: Subject,
    /// How long the certificates are valid that it showed last.
    until: Arc<Mutex<Option<SystemTime>>>,
}

impl Way {
    fn channel(&self, endpoint: &Endpoint) -> Channel {
        let endpoint = match format!("https://{}", self.whom).parse() {
            Ok(origin) => endpoint.clone().origin(origin),
            Err(_) => endpoint.clone(),
        };
        let way = self.clone();
        endpoint.connect_with_connector_lazy(service_fn(move |uri: Uri| {
            let way = way.clone();
            async move { io::Result::Ok(TokioIo::new(way.reach(&uri).await?)) }
        }))
    }

    async fn reach(&self, uri: &Uri) -> io::Result<TlsStream<TcpStream>> {
        let stream = shake_hands(uri, &self.credentials, &self.whom).await?;
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

/// A channel by TCP and TLS to the server `whom`, which must show a certificate
/// for that name, whatever the host is called. Each dial takes what
/// `credentials` hold at that moment; a refusal fails the calls, with its cause
/// in words as the innermost source of their status. Must be called within a
/// runtime.
pub fn secure_channel(
    endpoint: &Endpoint,
    credentials: &Arc<Credentials>,
    whom: &Subject,
) -> Channel {
    let way = Way {
        credentials: credentials.clone(),
        whom: whom.clone(),
        until: Arc::default(),
    };
    way.channel(endpoint)
}

async fn shake_hands(
    uri: &Uri,
    credentials: &Credentials,
    whom: &Subject,
) -> io::Result<TlsStream<TcpStream>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    stream.set_nodelay(true)?;
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
    let holder = chain.first().map(Holder::of).unwrap_or_default();
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

/// Where and how to dial. A DNS name is resolved anew at each dial.
fn endpoint(address: &Address, settings: &Settings) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .user_agent(concat!("proxyherd/", env!("CARGO_PKG_VERSION")))?
        .connect_timeout(settings.attempt)
        .tcp_nodelay(true)
        // A peer that went silent without closing is found by its missing
        // answer to a ping, whether or not a call is under way.
        .http2_keep_alive_interval(settings.keep_alive)
        .keep_alive_timeout(settings.keep_alive_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(port::STREAM_WINDOW)
        .initial_connection_window_size(port::CONNECTION_WINDOW);
    Ok(endpoint)
}

/// Each attempt of a call takes the channel that there is then.
fn caller(channel: impl Fn() -> Channel + Send + Sync + 'static, settings: &Settings) -> Caller {
    let channel = Arc::new(channel);
    let attempt = move |call: Call| {
        let mut client = PropagateClient::new(channel());
        async move {
            Ok(match call {
                Call::Greet(request) => {
                    Answer::Greet(client.greet((*request).clone()).await?.into_inner())
                }
                Call::Push(frame) => Answer::Push(client.push(frame).await?.into_inner()),
            })
        }
    };
    stack(settings, service_fn(attempt))
}
