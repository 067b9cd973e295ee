//! The channel to a neighbour: one HTTP/2 connection, dialled when it is needed
//! and again whenever it was lost.

use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

use crate::model::address::Address;
use crate::proto::propagate_client::PropagateClient;

use super::policy::{Answer, Call, Caller, stack};
use super::{Settings, port};

/// How a channel is made of where and how to dial: one that dials when it is
/// first needed. [`Endpoint::connect_lazy`] is such a way, by TCP.
pub type Connect = fn(&Endpoint) -> Channel;

/// A caller for the server at `address`, through the tower stack. Must be called
/// within a runtime.
pub fn dial(address: &Address, settings: &Settings, connect: Connect) -> Result<Caller, Error> {
    let channel = connect(&endpoint(address, settings)?);
    Ok(caller(channel, settings))
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
