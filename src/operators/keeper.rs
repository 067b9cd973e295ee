//! Views that cost memory only while somebody asks.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// A view that nobody has asked for so long is dropped.
const KEPT: Duration = Duration::from_secs(60);

/// One view, asked by one at a time, on a thread where no client waits.
#[derive(Debug, Default)]
pub(super) struct Kept<V> {
    held: Arc<Mutex<Held<V>>>,
}

#[derive(Debug)]
struct Held<V> {
    /// `None` until somebody asks, and again when nobody has for a while.
    view: Option<V>,
    /// When it goes, unless somebody asks before.
    goes_at: Instant,
    /// Does somebody wait to drop it?
    is_attended: bool,
}

impl<V> Default for Held<V> {
    fn default() -> Self {
        Self {
            view: None,
            goes_at: Instant::now(),
            is_attended: false,
        }
    }
}

impl<V: Default + Send + 'static> Kept<V> {
    /// What `work` makes of the view, which is new if nobody asked of late.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut V) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let mut held = self.held.clone().lock_owned().await;
        held.goes_at = Instant::now() + KEPT;
        if !std::mem::replace(&mut held.is_attended, true) {
            tokio::spawn(drop_when_idle(Arc::downgrade(&self.held)));
        }
        let worked = spawn_blocking(move || {
            // A view is gone if the work panics, as it may be half done.
            let mut view = held.view.take().unwrap_or_default();
            let made = work(&mut view);
            held.view = Some(view);
            made
        });
        worked.await.map_err(lost)
    }
}

/// Work on another thread came to nothing. The hook has told of the panic.
pub(super) fn lost(_: JoinError) -> Status {
    Status::internal("the answer was lost by a mistake of this program")
}

/// Drops the view when nobody has asked for a while, and ends then; or with the
/// server, if that comes first.
async fn drop_when_idle<V: Send + 'static>(held: Weak<Mutex<Held<V>>>) {
    loop {
        let Some(held) = held.upgrade() else { return };
        let goes_at = {
            let mut held = held.lock().await;
            if held.goes_at <= Instant::now() {
                held.is_attended = false;
                // Millions of entries take a while to be given back.
                let view = held.view.take();
                spawn_blocking(move || drop(view));
                return;
            }
            held.goes_at
        };
        drop(held);
        sleep_until(goes_at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_view_stays_while_somebody_asks_and_goes_a_while_after() {
        let kept = Kept::<u32>::default();
        let ask = async || {
            kept.ask(|view| std::mem::replace(view, *view + 1))
                .await
                .unwrap()
        };
        assert_eq!((ask().await, ask().await), (0, 1));
        tokio::time::sleep(KEPT / 2).await;
        assert_eq!(ask().await, 2);
        tokio::time::sleep(KEPT - Duration::from_secs(1)).await;
        assert_eq!(ask().await, 3);
        tokio::time::sleep(KEPT + Duration::from_secs(1)).await;
        assert!(kept.held.lock().await.view.is_none());
        assert_eq!(ask().await, 0);
        tokio::time::sleep(KEPT + Duration::from_secs(1)).await;
        assert!(kept.held.lock().await.view.is_none(), "again and again");
    }

    #[tokio::test]
    async fn work_that_panics_takes_its_view_along_and_nobody_else() {
        let kept = Kept::<u32>::default();
        kept.ask(|view| *view = 5).await.unwrap();
        let failed = kept.ask(|_| panic!("a mistake, of this test")).await;
        assert!(
            failed
                .unwrap_err()
                .message()
                .contains("a mistake of this program")
        );
        assert_eq!(kept.ask(|view| *view).await.unwrap(), 0);
    }
}
