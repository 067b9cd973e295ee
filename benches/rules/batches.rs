//! The feed into the bytes of pushes, and those into another store: a link and
//! the service of its neighbour, without the network between them.

use std::future::{Future, ready};
use std::sync::{Arc, Mutex};

use divan::Bencher;
use divan::counter::ItemsCount;
use proxyherd::gateway::Gateway;
use proxyherd::herd::NeighbourId;
use proxyherd::herd::replica::VERSION;
use proxyherd::log::Log;
use proxyherd::peers::{Answer, Call, Inbound, Link, Settings, stack};
use proxyherd::proto::propagate_server::Propagate;
use proxyherd::proto::{GreetRequest, GreetResponse, PushFrame, PushResponse};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tonic::{Request, Status};

use crate::samples::{CLIENTS, full_server, server};

/// Pushes that were written down.
type Frames = Arc<Mutex<Vec<PushFrame>>>;

/// A link empties the whole feed into batches; nobody reads them.
#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let (runtime, riley) = (runtime(), full_server());
    bencher.counter(ItemsCount::new(CLIENTS)).bench_local(|| {
        let frames = Frames::default();
        runtime.block_on(link(&riley, &frames));
        frames
    });
}

/// The same batches come to an empty neighbour: decoded, judged and merged.
#[divan::bench]
fn decode_new(bencher: Bencher<'_, '_>) {
    let (runtime, frames) = (runtime(), frames());
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .with_inputs(|| runtime.block_on(greeted()))
        .bench_local_values(|jaquez| {
            runtime.block_on(take(&jaquez, &frames));
            jaquez
        });
}

/// And to one that has it all, which is most of what decoding costs alone.
#[divan::bench]
fn decode_known(bencher: Bencher<'_, '_>) {
    let (runtime, frames) = (runtime(), frames());
    let jaquez = runtime.block_on(greeted());
    runtime.block_on(take(&jaquez, &frames));
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .bench_local(|| runtime.block_on(take(&jaquez, &frames)));
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// All that Riley would push to Jaquez.
fn frames() -> Vec<PushFrame> {
    let frames = Frames::default();
    runtime().block_on(link(&full_server(), &frames));
    std::mem::take(&mut frames.lock().unwrap())
}

/// Riley's link to Jaquez, until Jaquez has all that Riley has.
fn link(riley: &Arc<Gateway>, frames: &Frames) -> impl Future<Output = ()> {
    let (settings, frames) = (Settings::default(), frames.clone());
    let answer = move |call| ready(Ok::<_, Status>(answer(&frames, call)));
    let caller = stack(&settings, tower::service_fn(answer));
    let link = Link::new(
        riley.clone(),
        NeighbourId(0),
        caller,
        &settings,
        &Log::off(),
    );
    link.run(watch::channel(true).1)
}

/// What a neighbour answers that lacks everything and takes everything.
fn answer(frames: &Frames, call: Call) -> Answer {
    match call {
        Call::Greet(_) => Answer::Greet(GreetResponse {
            herd: "bench".to_owned(),
            receiver: "Jaquez".to_owned(),
            receiver_incarnation: 2,
            version_major: VERSION.major,
            ..GreetResponse::default()
        }),
        Call::Push(frame) => {
            frames.lock().unwrap().push(frame);
            Answer::Push(PushResponse {
                applied_sequence: CLIENTS as u64,
            })
        }
    }
}

/// The service of Jaquez, which Riley has greeted.
async fn greeted() -> Inbound {
    let jaquez = Inbound::new(server("Jaquez"), &Log::off());
    let greeting = GreetRequest {
        version_major: VERSION.major,
        herd: "bench".to_owned(),
        sender: "Riley".to_owned(),
        sender_incarnation: 1,
        receiver: "Jaquez".to_owned(),
        ..GreetRequest::default()
    };
    jaquez.greet(Request::new(greeting)).await.unwrap();
    jaquez
}

async fn take(jaquez: &Inbound, frames: &[PushFrame]) {
    for frame in frames {
        jaquez.push(Request::new(frame.clone())).await.unwrap();
    }
}
