//! The way to a neighbour: how it is dialled, and who must answer.

use std::io;
use std::sync::Arc;

use http::Uri;
use http::uri::InvalidUri;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::service_fn;

use crate::model::address::Address;
use crate::proto::propagate_client::PropagateClient;
use crate::tls::{self, Credentials, Holder, Subject};

use super::Settings;
use super::channel::{Channel, Connecting, Limits, Wire};
use super::policy::{Answer, Call, Caller, stack};

/// A way to make connections. [`tcp`] is the usual one.
pub type Connect = fn(&Address) -> Connecting;

/// Connects by TCP. A DNS name is resolved anew each time.
pub fn tcp(address: &Address) -> Connecting {
    let address = address.clone();
    Box::pin(async move {
        let stream = TcpStream::connect(address.to_string()).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream) as Box<dyn Wire>)
    })
}

/// A caller for the server at `address`, through the tower stack and one
/// connection at a time, which `connect` makes. Its calls must be made within a
/// runtime.
pub fn dial(
    address: &Address,
    settings: &Settings,
    connect: Connect,
) -> Result<Caller, InvalidUri> {
    let origin = format!("http://{address}").parse()?;
    let address = address.clone();
    let channel = Channel::new(move || connect(&address), limits(settings));
    Ok(caller(channel, origin, settings))
}

/// The same by TCP and TLS, to the server `whom`, which must show a certificate
/// for that name, whatever the host is called. Each connection is made with what
/// `credentials` hold at that moment; a refusal fails the calls, with its cause
/// in words as their status.
pub fn dial_secure(
    address: &Address,
    settings: &Settings,
    credentials: &Arc<Credentials>,
    whom: &Subject,
) -> Result<Caller, InvalidUri> {
    let origin = format!("https://{whom}").parse()?;
    let (address, credentials, whom) = (address.clone(), credentials.clone(), whom.clone());
    let connect = move || -> Connecting {
        let (address, credentials, whom) = (address.clone(), credentials.clone(), whom.clone());
        Box::pin(async move {
            let stream = tls_stream(&address, &credentials, &whom).await?;
            Ok(Box::new(stream) as Box<dyn Wire>)
        })
    };
    // Of three round trips, two are for TLS.
    let limits = Limits {
        connect: settings.attempt * 2,
        ..limits(settings)
    };
    Ok(caller(Channel::new(connect, limits), origin, settings))
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        connect: settings.attempt,
        keep_alive: settings.keep_alive,
        keep_alive_timeout: settings.keep_alive_timeout,
    }
}

/// A connection by TLS to the server `whom`, as [`dial_secure`] makes them.
pub async fn tls_stream(
    address: &Address,
    credentials: &Credentials,
    whom: &Subject,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address.to_string()).await?;
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

fn caller(channel: Channel, origin: Uri, settings: &Settings) -> Caller {
    let client = PropagateClient::with_origin(channel, origin);
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
