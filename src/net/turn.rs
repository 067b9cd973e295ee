//! The proof that a loop still turns: it answers when it is asked.
//!
//! A loop that waits for connections shows no progress of its own while none comes, so it is asked.

use std::convert::Infallible;
use std::future::pending;

use tokio::sync::{mpsc, oneshot};

/// The side that asks a loop. Clones ask the same loop.
#[derive(Clone, Debug)]
pub struct TurnProbe(mpsc::Sender<oneshot::Sender<()>>);

/// The side of the loop.
#[derive(Debug)]
pub(super) struct TurnRequests {
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    /// Keeps the channel open, so that waiting for requests never ends.
    probe: TurnProbe,
}

impl TurnProbe {
    /// Waits until the loop has turned once after this call, or has ended. Cancel safe.
    pub async fn turned(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.send(answer).await.is_ok() {
            // Dropped unanswered by a loop that ends.
            let _ = answered.await;
        }
    }
}

impl TurnRequests {
    pub(super) fn new() -> Self {
        let (sender, requests) = mpsc::channel(1);
        Self {
            requests,
            probe: TurnProbe(sender),
        }
    }

    pub(super) fn probe(&self) -> TurnProbe {
        self.probe.clone()
    }

    /// Answers requests; never ends. Cancel safe.
    pub(super) async fn answer(&mut self) -> Infallible {
        while let Some(answer) = self.requests.recv().await {
            // Whoever asked may have given up.
            let _ = answer.send(());
        }
        // The channel is open as long as `probe` is.
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_does_not_turn_does_not_answer() {
        let mut requests = TurnRequests::new();
        let probe = requests.probe();
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, probe.turned()).await.is_err());
        tokio::select! {
            never = requests.answer() => match never {},
            () = probe.turned() => {}
        }
        drop(requests);
        probe.turned().await;
    }
}
