//! The feed into the bytes of pushes, and those into another store: a link and
//! the service of its neighbour, without the network between them.

use std::future::{Future, ready};
use std::sync::{Arc, Mutex};

use divan::Bencher;
use divan::counter::ItemsCount;
use proxyherd::gateway::Gateway;
use proxyherd::log::Log;
use proxyherd::peers::{Answer, Call, Caller, Inbound, Link, PeerSettings, stack};
use proxyherd::proto::propagate_server::Propagate;
use proxyherd::proto::{GreetRequest, PushFrame};
use proxyherd::replication::NeighbourId;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tonic::{Request, Status};

use crate::samples::{CLIENTS, full_server, server};

/// Calls, in order, and what was answered.
type Talk = Vec<(Call, Answer)>;

/// A link empties the whole feed into batches. What its neighbour answers is
/// known from the last time.
#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let (runtime, riley) = (runtime(), full_server());
    let talk = runtime.block_on(talk(&riley));
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .with_inputs(|| talk.iter().map(|(_, answer)| answer.clone()).collect())
        .bench_local_values(|answers: Vec<_>| runtime.block_on(replay(&riley, answers)));
}

/// The same batches come to an empty neighbour: decoded, judged and merged.
#[divan::bench]
fn decode_new(bencher: Bencher<'_, '_>) {
    let (runtime, (greeting, pushes)) = (runtime(), calls());
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .with_inputs(|| runtime.block_on(greeted(&greeting)))
        .bench_local_values(|jaquez| {
            runtime.block_on(take(&jaquez, &pushes));
            jaquez
        });
}

/// And to one that has it all: decoded and compared.
#[divan::bench]
fn decode_known(bencher: Bencher<'_, '_>) {
    let (runtime, (greeting, pushes)) = (runtime(), calls());
    let jaquez = runtime.block_on(greeted(&greeting));
    runtime.block_on(take(&jaquez, &pushes));
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .bench_local(|| runtime.block_on(take(&jaquez, &pushes)));
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Riley tells Jaquez all that it knows.
async fn talk(riley: &Arc<Gateway>) -> Talk {
    let jaquez = Arc::new(Inbound::new(server("Jaquez"), &Log::off()));
    let talk = Arc::new(Mutex::new(Talk::new()));
    let note = talk.clone();
    let answer = move |call: Call| {
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

/// Riley tells it all again, to nobody.
async fn replay(riley: &Arc<Gateway>, answers: Vec<Answer>) {
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

/// Riley's link to Jaquez, until Jaquez has all that Riley has.
fn link(riley: &Arc<Gateway>, caller: Caller) -> impl Future<Output = ()> {
    let settings = PeerSettings::default();
    let link = Link::new(
        riley.clone(),
        NeighbourId(0),
        caller,
        &settings,
        &Log::off(),
    );
    link.run(watch::channel(true).1)
}

async fn ask(jaquez: &Inbound, call: Call) -> Result<Answer, Status> {
    match call {
        Call::Greet(greeting) => {
            let answer = jaquez
                .greet(Request::new(greeting.as_ref().clone()))
                .await?;
            Ok(Answer::Greet(answer.into_inner()))
        }
        Call::Push(frame) => {
            let answer = jaquez.push(Request::new(frame)).await?;
            Ok(Answer::Push(answer.into_inner()))
        }
    }
}

/// What Riley says to Jaquez: its greeting, and its pushes.
fn calls() -> (GreetRequest, Vec<PushFrame>) {
    let (mut greeting, mut pushes) = (None, Vec::new());
    for (call, _) in runtime().block_on(talk(&full_server())) {
        match call {
            Call::Greet(it) => greeting = Some(it.as_ref().clone()),
            Call::Push(frame) => pushes.push(frame),
        }
    }
    (greeting.unwrap(), pushes)
}

/// The service of Jaquez, which Riley has greeted.
async fn greeted(greeting: &GreetRequest) -> Inbound {
    let jaquez = Inbound::new(server("Jaquez"), &Log::off());
    jaquez.greet(Request::new(greeting.clone())).await.unwrap();
    jaquez
}

async fn take(jaquez: &Inbound, pushes: &[PushFrame]) {
    for frame in pushes {
        jaquez.push(Request::new(frame.clone())).await.unwrap();
    }
}
