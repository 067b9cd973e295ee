//! Encoding the feed as pushes, and merging these into another store: a link and the
//! service of its neighbour, without the network between them.

use std::future::{Future, ready};
use std::sync::{Arc, Mutex};

use divan::Bencher;
use divan::counter::ItemsCount;
use proxyherd::gateway::Gateway;
use proxyherd::log::Log;
use proxyherd::peers::{Caller, Inbound, Link, PeerRequest, PeerResponse, PeerSettings, stack};
use proxyherd::proto::{GreetRequest, PushFrame};
use proxyherd::replication::NeighbourId;
use tokio::runtime::{Builder, Runtime};
use tonic::Status;

use crate::samples::{CLIENTS, full_server, server};

/// Calls and their answers, in order.
type Talk = Vec<(PeerRequest, PeerResponse)>;

/// A link encodes the whole feed. The answers of its neighbour are recorded ones.
#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let (runtime, riley) = (runtime(), full_server());
    let talk = runtime.block_on(talk(&riley));
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .with_inputs(|| talk.iter().map(|(_, answer)| answer.clone()).collect())
        .bench_local_values(|answers: Vec<_>| runtime.block_on(replay(&riley, answers)));
}

/// An empty neighbour decodes, compares and merges the batches.
#[divan::bench]
fn decode_new(bencher: Bencher<'_, '_>) {
    let (runtime, (greeting, pushes)) = (runtime(), calls());
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .with_inputs(|| greeted(&greeting))
        .bench_local_values(|jaquez| {
            runtime.block_on(take(&jaquez, &pushes));
            jaquez
        });
}

/// A neighbour that has every report decodes and compares the batches.
#[divan::bench]
fn decode_known(bencher: Bencher<'_, '_>) {
    let (runtime, (greeting, pushes)) = (runtime(), calls());
    let jaquez = greeted(&greeting);
    runtime.block_on(take(&jaquez, &pushes));
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .bench_local(|| runtime.block_on(take(&jaquez, &pushes)));
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Records the calls with which Riley sends all reports to Jaquez.
async fn talk(riley: &Arc<Gateway>) -> Talk {
    let jaquez = Arc::new(Inbound::new(server("Jaquez"), &Log::off()));
    let talk = Arc::new(Mutex::new(Talk::new()));
    let note = talk.clone();
    let answer = move |call: PeerRequest| {
        let (jaquez, talk) = (jaquez.clone(), note.clone());
        async move {
            let answer = ask(&jaquez, call.clone()).await?;
            talk.lock().unwrap().push((call, answer.clone()));
            Ok(answer)
        }
    };
    link(
        riley,
        stack(&PeerSettings::default(), tower::service_fn(answer)),
    )
    .await;
    std::mem::take(&mut talk.lock().unwrap())
}

/// Has Riley send all reports again, with recorded answers.
async fn replay(riley: &Arc<Gateway>, answers: Vec<PeerResponse>) {
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    let left = answers.clone();
    let answer = move |_| ready(Ok(answers.lock().unwrap().next().unwrap()));
    link(
        riley,
        stack(&PeerSettings::default(), tower::service_fn(answer)),
    )
    .await;
    assert_eq!(left.lock().unwrap().len(), 0, "the link gave up");
}

/// Runs Riley's link to Jaquez until Jaquez has every report.
fn link(riley: &Arc<Gateway>, caller: Caller) -> impl Future<Output = ()> {
    let settings = PeerSettings::default();
    let link = Link::new(
        riley.clone(),
        NeighbourId(0),
        caller,
        &settings,
        &Log::off(),
    );
    riley.shutdown().finish().cancel();
    link.run()
}

async fn ask(jaquez: &Inbound, call: PeerRequest) -> Result<PeerResponse, Status> {
    match call {
        PeerRequest::Greet(greeting) => jaquez.greet(&greeting, None).map(PeerResponse::Greet),
        PeerRequest::Push(frame) => {
            let (_, response) = jaquez.push(&frame, None).await?;
            Ok(PeerResponse::Push(response))
        }
        PeerRequest::Digest(_) => unreachable!("a link compares after minutes"),
    }
}

/// Returns the calls of Riley to Jaquez: its greeting, and its pushes.
fn calls() -> (GreetRequest, Vec<PushFrame>) {
    let (mut greeting, mut pushes) = (None, Vec::new());
    for (call, _) in runtime().block_on(talk(&full_server())) {
        match call {
            PeerRequest::Greet(it) => greeting = Some(it.as_ref().clone()),
            PeerRequest::Push(frame) => pushes.push(frame),
            PeerRequest::Digest(_) => unreachable!("a link compares after minutes"),
        }
    }
    (greeting.unwrap(), pushes)
}

/// Returns the service of Jaquez after the greeting of Riley.
fn greeted(greeting: &GreetRequest) -> Inbound {
    let jaquez = Inbound::new(server("Jaquez"), &Log::off());
    jaquez.greet(greeting, None).unwrap();
    jaquez
}

async fn take(jaquez: &Inbound, pushes: &[PushFrame]) {
    for frame in pushes {
        jaquez.push(frame, None).await.unwrap();
    }
}
