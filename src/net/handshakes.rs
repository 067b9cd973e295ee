//! Connections that have not shown yet who they are.
//!
//! There may be so many at a time, and one more takes the place of another, as
//! [`EvictingLimit`] has it: those that open connections and say nothing, or say it a
//! byte at a time, can neither fill the server nor keep others out.

use std::future::Future;
use std::net::IpAddr;

use tokio::task::JoinSet;
use tracing::Instrument;

use super::EvictingLimit;

/// Handshakes under way. They end when this is dropped.
#[derive(Debug)]
pub struct Handshakes {
    crowd: EvictingLimit,
    tasks: JoinSet<()>,
}

impl Handshakes {
    /// At most `most` at a time.
    pub fn new(most: usize) -> Self {
        Self {
            crowd: EvictingLimit::new(most, "connections have not shown yet who they are"),
            tasks: JoinSet::new(),
        }
    }

    /// Runs one more, with somebody at this address, in the place of another if
    /// there are too many.
    pub fn run(&mut self, with: IpAddr, handshake: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        let place = self.crowd.enter(with);
        let run = async move {
            tokio::select! {
                () = handshake => {}
                () = place.lost() => {}
            }
        };
        self.tasks.spawn(run.in_current_span());
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;

    const SOMEBODY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn the_oldest_gives_way_and_no_other() {
        let alive = Arc::new(());
        let mut handshakes = Handshakes::new(3);
        let mut ends = Vec::new();
        for _ in 0..5 {
            let (end, ended) = oneshot::channel::<()>();
            let alive = alive.clone();
            handshakes.run(SOMEBODY, async move {
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
    async fn those_that_are_through_count_no_more() {
        let mut handshakes = Handshakes::new(2);
        let (end, mut ended) = oneshot::channel::<()>();
        handshakes.run(SOMEBODY, async move {
            let _held = end;
            pending().await
        });
        for _ in 0..100 {
            let (through, is_through) = oneshot::channel();
            handshakes.run(SOMEBODY, async move { through.send(()).unwrap() });
            is_through.await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    }
}
