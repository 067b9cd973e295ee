//! The channel to a neighbour: one HTTP/2 connection, dialled when it is needed
//! and again whenever it was lost.

use std::io;
use std::sync::Arc;

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
use crate::tls::{self, Credentials, Holder, Subject};

use super::policy::{Answer, Call, Caller, stack};
use super::{Settings, port};

/// How a channel is made of where and how to dial: one that dials when it is
/// first needed. [`Endpoint::connect_lazy`] is such a way, by TCP.
pub type Connect = fn(&Endpoint) -> Channel;

/// A caller for the server at `address`, through the tower stack and a channel
/// that `connect` makes. Must be called within a runtime.
pub fn dial(
    address: &Address,
    settings: &Settings,
    connect: impl FnOnce(&Endpoint) -> Channel,
) -> Result<Caller, Error> {
    let channel = connect(&endpoint(address, settings)?);
    Ok(caller(channel, settings))
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
    let (credentials, whom) = (credentials.clone(), whom.clone());
    let endpoint = match format!("https://{whom}").parse() {
        Ok(origin) => endpoint.clone().origin(origin),
        Err(_) => endpoint.clone(),
    };
    endpoint.connect_with_connector_lazy(service_fn(move |uri: Uri| {
        let (credentials, whom) = (credentials.clone(), whom.clone());
        async move {
            let stream = reach(&uri, &credentials, &whom).await?;
            io::Result::Ok(TokioIo::new(stream))
        }
    }))
}

async fn reach(
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
    io::Error::other(tls::refusal(error).unwrap_or_else(|| {
        format!("the connection broke in the TLS handshake: {error}; does it speak TLS?")
    }))
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

fn caller(channel: Channel, settings: &Settings) -> Caller {
    let client = PropagateClient::new(channel);
    let attempt = move |call: Call| {
        let mut client = client.clone();
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
