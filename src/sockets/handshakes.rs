//! Connections that have not shown yet who they are.
//!
//! There may be so many at a time. One more takes the place of the oldest, which
//! is the least likely to come to anything: who means well is through in
//! milliseconds, so those that open connections and say nothing, or say it a byte
//! at a time, can neither fill the server nor keep others out. That is how
//! systems hold half-open TCP connections (Lemon, "Resisting SYN flood DoS
//! attacks with a SYN cache", 2002).

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tracing::{Instrument, warn};

use crate::log::Seldom;

/// That the limit is reached is told once in this time.
const TELL_PAUSE: Duration = Duration::from_secs(10);

/// Handshakes under way. They end when this is dropped.
#[derive(Debug)]
pub struct Handshakes {
    most: usize,
    tasks: JoinSet<()>,
    /// The oldest first; some may have ended.
    in_order: VecDeque<AbortHandle>,
    cut: Seldom,
}

impl Handshakes {
    /// At most `most` at a time.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            tasks: JoinSet::new(),
            in_order: VecDeque::new(),
            cut: Seldom::new(TELL_PAUSE),
        }
    }

    /// Runs one more, in the place of the oldest if there are too many.
    pub fn run(&mut self, handshake: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        if self.tasks.len() >= self.most {
            self.in_order.retain(|task| !task.is_finished());
            if let Some(oldest) = self.in_order.pop_front() {
                oldest.abort();
                self.tell_cut();
            }
        }
        // Of those that are through, only the handles are left.
        if self.in_order.len() >= 2 * self.most {
            self.in_order.retain(|task| !task.is_finished());
        }
        let task = self.tasks.spawn(handshake.in_current_span());
        self.in_order.push_back(task);
    }

    fn tell_cut(&self) {
        if let Some(untold) = self.cut.turn() {
            warn!(
                "{} connections have not shown yet who they are: the oldest was closed for a new one, \
                 as were {untold} before it",
                self.most
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn the_oldest_gives_way_and_no_other() {
        let alive = Arc::new(());
        let mut handshakes = Handshakes::new(3);
        let mut ends = Vec::new();
        for _ in 0..5 {
            let (end, ended) = oneshot::channel::<()>();
            let alive = alive.clone();
            handshakes.run(async move {
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
        handshakes.run(async move {
            let _held = end;
            pending().await
        });
        for _ in 0..100 {
            let (through, is_through) = oneshot::channel();
            handshakes.run(async move { through.send(()).unwrap() });
            is_through.await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert!(handshakes.in_order.len() <= 4);
    }
}
