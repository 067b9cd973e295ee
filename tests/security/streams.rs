//! Push streams: what one may hold, and when the server ends it.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use proxyherd::proto::propagate_client::PropagateClient;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

use crate::common::{FakeSender, Herd, PeerClient, Topology, eventually, report};

/// Riley is the server under test. Its neighbours are fake.
const RILEY: Topology<'static> = (
    &["Riley", "Jaquez", "Bernard"],
    &[("Riley", "Jaquez"), ("Riley", "Bernard")],
);

/// A push stream without a push for four times this ends.
const ATTEMPT: Duration = Duration::from_millis(100);

fn riley(adjust: impl Fn(&mut proxyherd::peers::PeerSettings) + Send + 'static) -> Herd {
    let mut herd = Herd::new(RILEY).adjust(move |plan| adjust(&mut plan.peers));
    herd.launch("Riley");
    herd
}

/// A neighbour that has greeted, and its connection.
fn neighbour(herd: &Herd, name: &str) -> (FakeSender, PeerClient) {
    let through = PeerClient::dial(herd.peers_address("Riley"));
    let mut sender = FakeSender::new(name, 7, "Riley");
    sender.greet(&through);
    (sender, through)
}

#[track_caller]
fn assert_ended(ended: Result<u64, Status>, code: Code, message: &str) {
    let status = ended.unwrap_err();
    assert_eq!((status.code(), status.message()), (code, message));
}

#[test]
fn pushes_that_arrive_together_are_acknowledged_one_by_one_in_order() {
    let herd = riley(|_| {});
    let (sender, through) = neighbour(&herd, "Jaquez");
    let mut stream = through.stream(&sender.push(0, 1, Vec::new()));
    for number in 1..100 {
        let reports = vec![report("kiwi", "+1+1", &number.to_string())];
        stream.send(&sender.push(number, number + 1, reports));
    }
    for number in 1..100 {
        assert_eq!(stream.response().unwrap(), number + 1);
    }
    assert!(herd.at_line("Riley", "kiwi").unwrap().ends_with(" 99"));
}

#[test]
fn a_rejected_push_ends_its_stream_with_the_status_and_nothing_after_it_applies() {
    let herd = riley(|_| {});
    let (sender, through) = neighbour(&herd, "Jaquez");
    let mut stream = through.stream(&sender.push(0, 1, Vec::new()));
    stream.send(&sender.push(9, 10, Vec::new()));
    stream.send(&sender.push(1, 2, vec![report("kiwi", "+1+1", "1")]));
    let status = stream.response().unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert_eq!(herd.gateway("Riley").replica().store().last(), 0);
}

#[test]
fn a_newer_stream_of_a_neighbour_ends_the_older_and_no_other() {
    let herd = riley(|_| {});
    let (bernard, through_bernard) = neighbour(&herd, "Bernard");
    let mut other = through_bernard.stream(&bernard.push(0, 1, Vec::new()));
    let (sender, first) = neighbour(&herd, "Jaquez");
    let second = PeerClient::dial(herd.peers_address("Riley"));
    let mut older = first.stream(&sender.push(0, 1, Vec::new()));
    // Over another connection, and over its own.
    for through in [&second, &second, &first] {
        let newer = through.stream(&sender.push(1, 1, Vec::new()));
        assert_ended(
            older.response(),
            Code::Aborted,
            "a newer push stream of this neighbour replaced this one",
        );
        older = newer;
        assert_eq!(older.push(&sender.push(1, 1, Vec::new())).unwrap(), 1);
    }
    assert_eq!(other.push(&bernard.push(1, 2, Vec::new())).unwrap(), 2);
}

#[test]
fn an_idle_stream_holds_no_place() {
    let herd = riley(|peers| peers.max_pushes = 1);
    let (jaquez, through_jaquez) = neighbour(&herd, "Jaquez");
    let (bernard, through_bernard) = neighbour(&herd, "Bernard");
    let mut first = through_jaquez.stream(&jaquez.push(0, 0, Vec::new()));
    let mut second = through_bernard.stream(&bernard.push(0, 0, Vec::new()));
    for number in 0..20 {
        let push = |sender: &FakeSender| sender.push(number, number + 1, Vec::new());
        assert_eq!(first.push(&push(&jaquez)).unwrap(), number + 1);
        assert_eq!(second.push(&push(&bernard)).unwrap(), number + 1);
    }
}

#[test]
fn a_stream_without_a_push_for_the_time_limit_ends_with_a_message() {
    let herd = riley(|peers| peers.attempt = ATTEMPT);
    let (sender, through) = neighbour(&herd, "Jaquez");
    let mut stream = through.stream(&sender.push(0, 1, Vec::new()));
    let message = "no whole message came within 400ms";
    assert_ended(stream.response(), Code::DeadlineExceeded, message);
    // The connection stays.
    assert_eq!(through.push(&sender.push(1, 2, Vec::new())).unwrap(), 2);
}

#[test]
fn a_stream_that_stops_within_a_push_ends_with_a_message() {
    let herd = riley(|peers| peers.attempt = ATTEMPT);
    let (sender, through) = neighbour(&herd, "Jaquez");
    let framed = |push: crate::common::PushRequest| {
        let message = push.frame().0;
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0], &length[..], &message].concat()
    };
    let mut bytes = framed(sender.push(0, 1, Vec::new()));
    let half = framed(sender.push(1, 2, vec![report("kiwi", "+1+1", "1")]));
    bytes.extend(&half[..half.len() / 2]);
    let frames = tokio_stream::once(Ok(Frame::data(Bytes::from(bytes))));
    let request = Request::post("/proxyherd.v1.Propagate/Push")
        .header("content-type", "application/grpc")
        .body(Body::new(StreamBody::new(
            frames.chain(tokio_stream::pending::<Result<_, Status>>()),
        )));
    let trailers = through.run(async {
        let mut channel = through.channel.clone();
        let ready = channel.ready().await.unwrap();
        let response: Response<Body> = ready.call(request.unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        body.trailers().cloned().unwrap()
    });
    let status = Status::from_header_map(&trailers).unwrap();
    let message = "no whole message came within 400ms";
    assert_ended(Err(status), Code::DeadlineExceeded, message);
    assert_eq!(herd.gateway("Riley").replica().store().last(), 0);
}

#[test]
fn a_caller_that_reads_no_acknowledgement_loses_its_stream() {
    let herd = riley(|peers| peers.attempt = ATTEMPT);
    let (sender, through) = neighbour(&herd, "Jaquez");
    let address = herd.peers_address("Riley");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let (frames, requests) = mpsc::unbounded_channel();
    frames.send(sender.push(0, 1, Vec::new()).frame()).unwrap();
    let _unread = through.run(async {
        let channel = endpoint.initial_stream_window_size(1).connect_lazy();
        let requests = UnboundedReceiverStream::new(requests);
        PropagateClient::new(channel).push(requests).await.unwrap()
    });
    eventually("the stream is reset", || {
        // It answers pings, and pushes on.
        let _ = frames.send(sender.push(1, 2, Vec::new()).frame());
        frames.is_closed().then_some(())
    });
}

#[test]
fn a_stream_ends_with_a_message_when_the_server_drains() {
    let mut herd = riley(|_| {});
    let (sender, through) = neighbour(&herd, "Jaquez");
    let mut stream = through.stream(&sender.push(0, 1, Vec::new()));
    herd.drain("Riley");
    assert_ended(
        stream.response(),
        Code::Unavailable,
        "this server is shutting down: try again later",
    );
}

#[test]
fn a_stream_without_a_push_is_rejected_with_a_message() {
    let herd = riley(|_| {});
    let (_, through) = neighbour(&herd, "Jaquez");
    let mut client = PropagateClient::new(through.channel.clone());
    let ended = through.run(client.push(tokio_stream::empty()));
    assert_ended(
        ended.map(|_| 0),
        Code::InvalidArgument,
        "the stream ended before its first push",
    );
}
