//! What callers of the peer port hold without reading or finishing it: the memory that it takes,
//! its end, and the service of others meanwhile.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use prost::Message;
use proxyherd::proto::operator_client::OperatorClient;
use proxyherd::proto::{GetStatusRequest, ListClientsRequest};
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

use crate::common::{
    ALONE, Client, PAIR, PeerClient, Random, Site, eventually, loopback, memory, within,
};

/// Maximum number of calls on one connection.
const CALLS: usize = 64;

/// Number of connections of an attack.
const CONNECTIONS: usize = 2;

/// Maximum growth of the process for each connection. It keeps 16 MiB of answers, and allocators
/// keep some of what was freed.
const MAX_GROWTH_BYTES: u64 = 64 << 20;

/// An attempt of this time ends a message after 400 ms, and an answer that is not read after 1.6 s.
const SHORT: &str = "[flooding]\nattempt = \"100ms\"\n";

/// Begins a call with these bytes of a request, which does not end unless `ends`.
async fn begin(
    mut channel: Channel,
    path: &str,
    bytes: Vec<u8>,
    ends: bool,
) -> Result<http::Response<Body>, String> {
    let part = tokio_stream::once(Ok(Frame::data(Bytes::from(bytes))));
    let body = if ends {
        Body::new(StreamBody::new(part))
    } else {
        let never = tokio_stream::pending::<Result<_, Status>>();
        Body::new(StreamBody::new(part.chain(never)))
    };
    let request = Request::post(path)
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap();
    let ready = channel.ready().await.map_err(|error| error.to_string())?;
    ready.call(request).await.map_err(|error| error.to_string())
}

/// Returns a message with the prefix of gRPC.
fn framed(message: &[u8]) -> Vec<u8> {
    prefixed(message.len(), message)
}

fn prefixed(length: usize, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// Gives a server ten thousand clients with the longest IDs: a page of them is 3 MiB.
fn fill(client: &mut Client) {
    const BATCH: usize = 100;
    for first in (0..10_000).step_by(BATCH) {
        let lines = (first..first + BATCH)
            .map(|number| format!("IAMAT {number:05}{} +1+1 1\n", "y".repeat(250)));
        client.send(lines.collect::<String>());
        for _ in 0..BATCH {
            assert!(client.text().starts_with("AT "));
        }
    }
}

#[test]
fn answers_that_are_not_read_take_little_memory_and_end_and_others_are_served_meanwhile() {
    let (site, servers) = Site::serve_each(PAIR, "[flooding]\nattempt = \"400ms\"\n");
    let riley = &servers[0];
    let mut client = site.client("Riley");
    fill(&mut client);
    eventually("Jaquez has all clients", || {
        site.report("Jaquez", &format!("09999{}", "y".repeat(250)))
    });
    let before = memory(riley.id());
    let address = loopback(site.server("Riley").peers);
    let request = ListClientsRequest {
        page_size: 10_000,
        ..ListClientsRequest::default()
    };
    let request = framed(&request.encode_to_vec());
    let caller = PeerClient::dial(address);
    let channels: Vec<Channel> = (0..CONNECTIONS)
        .map(|_| {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let endpoint = endpoint.initial_stream_window_size(1);
            caller.run(async { endpoint.connect_lazy() })
        })
        .collect();
    let begin_all = || {
        let one = |channel: &Channel| {
            let path = "/proxyherd.v1.Operator/ListClients";
            let call = begin(channel.clone(), path, request.clone(), true);
            caller.runtime.spawn(call)
        };
        let each = channels.iter().flat_map(|channel| [channel; CALLS]);
        each.map(one).collect::<Vec<_>>()
    };
    let mut calls = begin_all();
    let mut most = 0;
    let unread = "it did not read its answer for 6s 400ms";
    // A busy machine may need several rounds of calls until an answer begins.
    within(Duration::from_secs(120), "a call is reset", || {
        most = most.max(memory(riley.id()).unwrap_or_default());
        assert_eq!(client.ask("what?"), "? what?");
        // On a busy machine all may have ended before their answers began.
        if calls.iter().all(|call| call.is_finished()) && calls.len() < 50 * CALLS {
            calls.extend(begin_all());
        }
        site.log("Riley").contains(unread).then_some(())
    });
    if let Some(before) = before {
        let growth = most.saturating_sub(before) / CONNECTIONS as u64;
        println!("{growth} bytes for each connection");
        assert!(growth < MAX_GROWTH_BYTES, "{growth}");
    }
    let at_line = client.ask("IAMAT kiwi +1+1 1");
    site.await_report(&["Jaquez"], "kiwi", &at_line);

    // A call has ended with a status, or by a reset. The connection stays.
    let (mut resets, mut rejected) = (0, 0);
    for call in calls {
        let response = caller.run(call).unwrap().unwrap();
        if let Some(status) = Status::from_header_map(response.headers()) {
            let is_limit = [Code::Unavailable, Code::DeadlineExceeded].contains(&status.code());
            assert!(is_limit, "{status}");
            rejected += 1;
            continue;
        }
        let mut body = response.into_body();
        // A byte that fitted into the window comes first.
        let frames = caller.run(async { [body.frame().await, body.frame().await] });
        resets += usize::from(frames.into_iter().flatten().any(|frame| frame.is_err()));
    }
    assert!(
        resets > 0 && rejected > 0,
        "{resets} resets, {rejected} rejected"
    );
    for channel in channels {
        let mut operator = OperatorClient::new(channel);
        let status = caller.run(operator.get_status(GetStatusRequest {}));
        assert_eq!(status.unwrap().into_inner().name, "Riley");
    }
}

#[test]
fn messages_that_are_too_long_or_never_whole_hold_nothing_for_long() {
    const PATHS: [(&str, usize); 6] = [
        ("/grpc.health.v1.Health/Check", 4 << 10),
        ("/grpc.health.v1.Health/Watch", 4 << 10),
        ("/proxyherd.v1.Propagate/Greet", 4 << 10),
        ("/proxyherd.v1.Propagate/Push", 1 << 20),
        ("/proxyherd.v1.Operator/Locate", 16 << 10),
        ("/proxyherd.v1.Operator/Watch", 16 << 10),
    ];
    const REFLECTION: [&str; 2] = [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ];
    let (site, process) = Site::up(ALONE, SHORT);
    let mut client = site.client("Riley");
    let caller = PeerClient::dial(loopback(site.server("Riley").peers));
    let status = |path: &str, bytes: Vec<u8>| {
        let response = caller.run(begin(caller.channel.clone(), path, bytes, false));
        Status::from_header_map(response.unwrap().headers()).expect("a rejection")
    };
    let mut random = Random::new(17);
    for (path, max) in PATHS {
        let long = status(path, prefixed(max + 1, &[]));
        assert_eq!(long.code(), Code::OutOfRange, "{path}: {long}");
        let message = format!("found {} bytes, the limit is: {max} bytes", max + 1);
        assert!(long.message().ends_with(&message), "{path}: {long}");
        let half = status(path, prefixed(max, &vec![0; random.below(max)]));
        assert_eq!(half.code(), Code::DeadlineExceeded, "{path}: {half}");
        assert_eq!(
            half.message(),
            "no whole message came within 400ms",
            "{path}"
        );
    }
    // Reflection begins its answer before it reads, and ends it without a status of its own.
    let before = memory(process.id());
    let mut calls = Vec::new();
    for path in REFLECTION {
        for _ in 0..CALLS {
            let half = prefixed(4 << 20, &vec![0; random.below(1 << 20)]);
            let call = begin(caller.channel.clone(), path, half, false);
            calls.push(caller.runtime.spawn(call));
        }
    }
    for call in calls {
        assert_eq!(client.ask("what?"), "? what?");
        caller.run(async {
            if let Ok(response) = call.await.unwrap() {
                // It may be a reset, where a newer call took the place.
                let _ = response.into_body().collect().await;
            }
        });
    }
    if let (Some(before), Some(after)) = (before, memory(process.id())) {
        let growth = after.saturating_sub(before);
        println!("{growth} bytes after {} halves", 2 * CALLS);
        assert!(growth < MAX_GROWTH_BYTES, "{growth}");
    }
}
