//! One connection to the peer port: reads its calls and answers them, all in its
//! own task.
//!
//! hyper hands each call to an executor, which by custom gives it a task of its
//! own: then every call costs a task and two wakes. A neighbour makes one call at
//! a time, and every report crosses several links. Here a call is polled behind its
//! connection, by the same wake that brought it.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use super::PeerSettings;
use super::calls::Calls;
use super::incoming::Connection;

/// HTTP/2 window of one call, in bytes: a whole batch fits.
pub(super) const STREAM_WINDOW: u32 = 2 << 20;

/// HTTP/2 window of one connection, in bytes.
pub(super) const CONNECTION_WINDOW: u32 = 4 << 20;

/// Calls that one connection may have under way. A link has one.
const MAX_CALLS: u32 = 64;

/// Serves a connection until it ends; once `closing` is true, until the calls
/// under way are answered. Must run in the server's span, which its calls are then
/// in too.
pub(super) async fn serve(
    mut connection: Connection,
    calls: Calls,
    settings: PeerSettings,
    mut closing: watch::Receiver<bool>,
) {
    let other_end = connection.other_end().clone();
    let mut dismissal = connection.dismissal();
    let service = service_fn(|request| {
        let answer = calls.clone().answer(request, other_end.clone());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let beside = Beside::default();
    let io = TokioIo::new(connection);
    let mut spoken = pin!(builder(&settings, beside.clone()).serve_connection(io, service));
    let mut under_way = UnderWay::default();
    let mut is_closing = false;
    loop {
        // How it ended is known to the connection itself.
        let ended = poll_fn(|context| {
            let ended = spoken.as_mut().poll(context).map(drop);
            under_way.add(&beside);
            under_way.poll(context);
            ended
        });
        tokio::select! {
            biased;
            () = ended => return,
            words = &mut dismissal => return other_end.end(words),
            _ = closing.wait_for(|&closing| closing), if !is_closing => {
                is_closing = true;
                spoken.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder(settings: &PeerSettings, calls: Beside) -> Builder<Beside> {
    let mut builder = Builder::new(calls);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(MAX_CALLS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(settings.keep_alive)
        .keep_alive_timeout(settings.keep_alive_timeout);
    builder
}

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where hyper leaves the calls that came: beside their connection.
#[derive(Clone, Default)]
struct Beside(Arc<Mutex<Vec<Call>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Beside {
    fn execute(&self, call: F) {
        self.calls().push(Box::pin(call));
    }
}

impl Beside {
    /// Held for a push or a take.
    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The calls that are not answered yet.
#[derive(Default)]
struct UnderWay(Vec<Call>);

impl UnderWay {
    fn add(&mut self, beside: &Beside) {
        self.0.append(&mut beside.calls());
    }

    /// Polls each of them, since they share one waker: they are few. What they
    /// answer wakes the connection, which sends it.
    fn poll(&mut self, context: &mut Context<'_>) {
        self.0
            .retain_mut(|call| call.as_mut().poll(context).is_pending());
    }
}
