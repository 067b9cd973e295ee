//! The tasks in which hyper runs the calls of a connection, and the reset of one.
//!
//! Once a response has begun, hyper waits until the peer has room for more of it, for as
//! long as that takes, and neither the service nor the body is polled meanwhile. What ends
//! such a call is that its task drops it: h2 then resets the stream (RFC 9113, section
//! 6.4) and discards what waits there, and the other calls of the connection go on.

use std::future::pending;
use std::pin::Pin;
use std::sync::Mutex;

use hyper::rt::Executor;
use tokio::sync::oneshot;

use crate::lock::lock;

/// Resolves when a call is to be reset.
type Reset = Pin<Box<dyn Future<Output = ()> + Send>>;

tokio::task_local! {
    /// Sets the reset of the call that the current task runs.
    static RESET: Mutex<Option<oneshot::Sender<Reset>>>;
}

/// Runs each call in a task of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallExecutor;

impl<C: Future<Output = ()> + Send + 'static> Executor<C> for CallExecutor {
    fn execute(&self, call: C) {
        let (sender, receiver) = oneshot::channel::<Reset>();
        let reset = async {
            match receiver.await {
                Ok(reset) => reset.await,
                Err(_) => pending().await,
            }
        };
        let run = async {
            tokio::select! {
                biased;
                () = call => {}
                () = reset => {}
            }
        };
        tokio::spawn(RESET.scope(Mutex::new(Some(sender)), run));
    }
}

/// Resets the call that the current task runs once `reset` resolves. Only the first call of
/// this function counts; outside of a call it has no effect.
pub(super) fn reset_once(reset: impl Future<Output = ()> + Send + 'static) {
    let _ = RESET.try_with(|sender| {
        if let Some(sender) = lock(sender).take() {
            // It fails only if the call ends right now.
            let _ = sender.send(Box::pin(reset));
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_call_is_dropped_when_its_reset_resolves_and_no_other_is() {
        let (reset, resets) = oneshot::channel::<()>();
        let held = [Arc::new(()), Arc::new(())];
        let mut resets = Some(resets);
        for held in held.clone() {
            let resets = resets.take();
            CallExecutor.execute(async move {
                let _held = held;
                if let Some(resets) = resets {
                    reset_once(async { resets.await.unwrap_or_default() });
                    reset_once(async {});
                }
                pending().await
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(held.each_ref().map(Arc::strong_count), [2, 2]);
        reset.send(()).unwrap();
        while Arc::strong_count(&held[0]) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Arc::strong_count(&held[1]), 2);
    }
}
