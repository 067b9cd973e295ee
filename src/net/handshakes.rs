//! Connections that have not identified themselves yet.
//!
//! Their number is limited, and a further one evicts another, as [`EvictingLimit`] describes.
//! Connections that send nothing, or one byte at a time, can neither fill the server nor keep
//! others out.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::Instrument;

use crate::metrics::Counter;

use super::EvictingLimit;

/// Concurrent handshakes. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Handshakes<T> {
    limit: EvictingLimit,
    tasks: JoinSet<Option<T>>,
}

impl<T: Send + 'static> Handshakes<T> {
    /// Creates a set of at most `max_handshakes` at a time. The log names `port`, and `evicted`
    /// counts those that made room for others.
    pub(super) fn new(max_handshakes: usize, port: &str, evicted: Arc<Counter>) -> Self {
        let what = format!("handshakes at the {port} port");
        Self {
            limit: EvictingLimit::new(max_handshakes, what, evicted),
            tasks: JoinSet::new(),
        }
    }

    /// Starts one more handshake, with the other end at `from`. Evicts another if there are too
    /// many.
    pub(super) fn start(
        &mut self,
        from: IpAddr,
        handshake: impl Future<Output = Option<T>> + Send + 'static,
    ) {
        let slot = self.limit.enter(from);
        let run = async move {
            tokio::select! {
                result = handshake => result,
                () = slot.evicted() => None,
            }
        };
        self.tasks.spawn(run.in_current_span());
    }

    /// Returns the result of the next handshake that succeeds, or `None` if none is running.
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Option<T> {
        loop {
            // A handshake that panics fails.
            if let Ok(Some(result)) = self.tasks.join_next().await? {
                return Some(result);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use tokio::sync::oneshot;

    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn further_handshakes_evict_the_oldest_and_no_others() {
        let alive = Arc::new(());
        let mut handshakes = Handshakes::<()>::new(3, "test", Arc::default());
        let mut ends = Vec::new();
        for _ in 0..5 {
            let (end, ended) = oneshot::channel::<()>();
            let alive = alive.clone();
            handshakes.start(LOCALHOST, async move {
                let _held = (alive, end);
                pending().await
            });
            ends.push(ended);
        }
        // Each resolves when its task is dropped.
        let rest = ends.split_off(2);
        for ended in ends {
            ended.await.unwrap_err();
        }
        assert_eq!(Arc::strong_count(&alive), 1 + rest.len());
        drop(handshakes);
        for ended in rest {
            ended.await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_handshake_that_is_done_no_longer_counts() {
        let mut handshakes = Handshakes::new(2, "test", Arc::default());
        let (end, mut ended) = oneshot::channel::<()>();
        handshakes.start(LOCALHOST, async move {
            let _held = end;
            pending().await
        });
        for n in 0..100 {
            handshakes.start(LOCALHOST, async move { Some(n) });
            assert_eq!(handshakes.next().await, Some(n));
        }
        assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    }
}
