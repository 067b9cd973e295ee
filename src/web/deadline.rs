//! The time limit of a connection.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The time at which a connection ends. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Deadline(watch::Sender<Instant>);

impl Deadline {
    /// Creates a deadline in this time.
    pub(super) fn after(limit: Duration) -> Self {
        Self(watch::Sender::new(Instant::now() + limit))
    }

    /// Moves the deadline to this time from now.
    pub(super) fn extend(&self, limit: Duration) {
        self.0.send_replace(Instant::now() + limit);
    }

    /// Resolves at the deadline.
    pub(super) fn passed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut deadline = self.0.subscribe();
        async move {
            loop {
                let at = *deadline.borrow_and_update();
                sleep_until(at).await;
                if *deadline.borrow() == at {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_extended_passes_later() {
        let start = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(10));
        let passed = tokio::spawn(deadline.passed());
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(8)).await;
            deadline.extend(Duration::from_secs(20));
        }
        passed.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 60);
    }
}
