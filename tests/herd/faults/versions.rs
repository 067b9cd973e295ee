//! Servers of other versions of this program in one herd.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};

use prost::Message;
use proxyherd::proto::{Codec, PushFrame};
use tokio::runtime::{Handle, Runtime};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::server::{NamedService, StreamingService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tower::Service;

use super::T;
use crate::common::{Herd, Mode, Topology, eventually};

const PAIR: Topology<'static> = (&["Old", "New"], &[("Old", "New")]);

type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A relay between two servers that makes each appear to be of a newer version. It adds
/// unknown fields to every message, and to every report in one.
#[derive(Clone)]
struct Newer {
    to: Channel,
    major: Arc<AtomicU32>,
}

/// A field of each type, with numbers that are not in use.
#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(string, tag = "99")]
    text: String,
    #[prost(uint64, tag = "100")]
    number: u64,
    #[prost(fixed32, tag = "2000")]
    small: u32,
    #[prost(double, tag = "536870911")]
    float: f64,
    #[prost(message, optional, boxed, tag = "101")]
    message: Option<Box<Unknown>>,
}

/// The version fields of a greeting.
#[derive(Clone, PartialEq, Message)]
struct Greeting {
    #[prost(uint32, tag = "1")]
    major: u32,
    #[prost(uint32, tag = "2")]
    minor: u32,
}

/// The version fields of the answer to a greeting.
#[derive(Clone, PartialEq, Message)]
struct GreetingAnswer {
    #[prost(uint32, tag = "5")]
    major: u32,
    #[prost(uint32, tag = "6")]
    minor: u32,
}

/// The encoded reports of a push.
#[derive(Clone, PartialEq, Message)]
struct Reports {
    #[prost(bytes = "vec", repeated, tag = "7")]
    reports: Vec<Vec<u8>>,
}

/// The fields of a push except its reports.
#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(string, tag = "1")]
    herd: String,
    #[prost(string, tag = "2")]
    sender: String,
    #[prost(fixed64, tag = "3")]
    sender_incarnation: u64,
    #[prost(fixed64, tag = "4")]
    receiver_incarnation: u64,
    #[prost(uint64, tag = "5")]
    from_sequence: u64,
    #[prost(uint64, tag = "6")]
    to_sequence: u64,
}

fn unknown() -> Vec<u8> {
    let fields = Unknown {
        text: "of a later version".to_owned(),
        number: u64::MAX,
        small: 7,
        float: 0.5,
        message: None,
    };
    let message = Some(Box::new(fields.clone()));
    Unknown { message, ..fields }.encode_to_vec()
}

impl Newer {
    fn start(runtime: &Handle, to: SocketAddr, major: &Arc<AtomicU32>) -> SocketAddr {
        let _within = runtime.enter();
        let endpoint = Endpoint::from_shared(format!("http://{to}")).unwrap();
        let service = Self {
            to: endpoint.tcp_nodelay(true).connect_lazy(),
            major: major.clone(),
        };
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let incoming = TcpIncoming::bind(anywhere)
            .unwrap()
            .with_nodelay(Some(true));
        let address = incoming.local_addr().unwrap();
        runtime.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        address
    }

    /// Adds fields to a message. A later field replaces an earlier one of the same number, and
    /// reports stay in the order of the feed.
    fn rewrite(&self, path: &str, message: &[u8]) -> PushFrame {
        let (major, minor) = (self.major.load(Relaxed), 9);
        let mut bytes = message.to_vec();
        match path {
            "/proxyherd.v1.Propagate/Greet" => {
                bytes.extend(Greeting { major, minor }.encode_to_vec());
            }
            "/proxyherd.v1.Propagate/Push" => {
                let mut reports = Reports::decode(message).unwrap();
                let each = reports.reports.iter_mut();
                each.for_each(|report| report.extend(unknown()));
                bytes = Header::decode(message).unwrap().encode_to_vec();
                bytes.extend(reports.encode_to_vec());
            }
            _ => panic!("{path}"),
        }
        bytes.extend(unknown());
        PushFrame(bytes.into())
    }

    fn rewrite_answer(&self, path: &str, message: &[u8]) -> PushFrame {
        let mut bytes = message.to_vec();
        if path.ends_with("/Greet") {
            let (major, minor) = (self.major.load(Relaxed), 9);
            bytes.extend(GreetingAnswer { major, minor }.encode_to_vec());
        }
        bytes.extend(unknown());
        PushFrame(bytes.into())
    }

    async fn forward(self, path: String, message: PushFrame) -> Result<PushFrame, Status> {
        let mut to = Grpc::new(self.to.clone());
        to.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let request = Request::new(self.rewrite(&path, &message.0));
        let codec = Codec::<PushFrame, PushFrame>::default();
        let answer = to.unary(request, path.parse().unwrap(), codec).await?;
        Ok(self.rewrite_answer(&path, &answer.into_inner().0))
    }
}

impl NamedService for Newer {
    const NAME: &'static str = "proxyherd.v1.Propagate";
}

impl Service<http::Request<Body>> for Newer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let is_stream = path.ends_with("/Push");
        let call = Forward(self.clone(), path);
        let codec = Codec::<PushFrame, PushFrame>::default();
        let mut server = tonic::server::Grpc::new(codec);
        Box::pin(async move {
            Ok(if is_stream {
                server.streaming(call, request).await
            } else {
                server.unary(call, request).await
            })
        })
    }
}

impl StreamingService<PushFrame> for Forward {
    type Response = PushFrame;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<PushFrame, Status>> + Send>>;
    type Future = Answering<Result<Response<Self::ResponseStream>, Status>>;

    /// Each message is a call of its own on the way.
    fn call(&mut self, request: Request<Streaming<PushFrame>>) -> Self::Future {
        let Self(newer, path) = self.clone();
        let responses = request.into_inner().then(move |message| {
            let (newer, path) = (newer.clone(), path.clone());
            async move { newer.forward(path, message?).await }
        });
        let responses: Self::ResponseStream = Box::pin(responses);
        Box::pin(async { Ok(Response::new(responses)) })
    }
}

/// A call to a path.
#[derive(Clone)]
struct Forward(Newer, String);

impl UnaryService<PushFrame> for Forward {
    type Response = PushFrame;
    type Future = Answering<Result<Response<PushFrame>, Status>>;

    fn call(&mut self, request: Request<PushFrame>) -> Self::Future {
        let forward = self.0.clone().forward(self.1.clone(), request.into_inner());
        Box::pin(async move { forward.await.map(Response::new) })
    }
}

/// Starts two servers, each of which appears to the other to be of this major version and of
/// a newer minor one.
fn other_versions(runtime: &Handle, major: u32) -> (Herd, Arc<AtomicU32>) {
    let major = Arc::new(AtomicU32::new(major));
    let mut herd = Herd::new(PAIR);
    herd.set_link("Old", "New", Mode::Stall);
    PAIR.0.iter().for_each(|name| herd.launch(name));
    for (from, to) in [("Old", "New"), ("New", "Old")] {
        let address = Newer::start(runtime, herd.peers_address(to), &major);
        herd.redirect(from, to, address);
        herd.set_connections(from, to, Mode::Pass);
    }
    (herd, major)
}

#[test]
fn servers_of_different_minor_versions_replicate() {
    let runtime = Runtime::new().unwrap();
    let (herd, _) = other_versions(runtime.handle(), 2);
    herd.await_links();
    for n in 0..200 {
        let at = PAIR.0[n % 2];
        herd.client(at).ask(&format!("IAMAT c-{n} +1+1 {T}.{n}"));
    }
    for n in 0..200 {
        let client = format!("c-{n}");
        herd.await_everywhere(&client, "+1+1");
        assert_eq!(herd.at_line("Old", &client), herd.at_line("New", &client));
    }
    assert!(herd.is_up("Old", "New") && herd.is_up("New", "Old"));
}

#[test]
fn servers_of_different_major_versions_reject_each_other_with_a_reason() {
    let runtime = Runtime::new().unwrap();
    let (herd, major) = other_versions(runtime.handle(), 3);
    herd.client("Old").ask(&format!("IAMAT kiwi +1+1 {T}"));
    let reason = "rejected: protocol version 3.9 is incompatible with version 2.2 of this server: major versions must be equal";
    for (from, to) in [("Old", "New"), ("New", "Old")] {
        eventually(&format!("the link from {from} is {reason}"), || {
            (herd.link(from, to).reason == reason).then_some(())
        });
    }
    assert_eq!(herd.position("New", "kiwi"), None);
    major.store(2, Relaxed);
    herd.await_links();
    herd.await_everywhere("kiwi", "+1+1");
}
