//! Values that use memory only while somebody queries them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// Time without use after which a value is dropped.
const MAX_IDLE_TIME: Duration = Duration::from_secs(60);

/// A value that is used by one caller at a time, on a thread that serves no client, and dropped
/// after a while without use.
#[derive(Debug)]
pub(super) struct IdleCached<V> {
    cell: Arc<Mutex<CachedCell<V>>>,
}

#[derive(Debug)]
struct CachedCell<V> {
    /// `None` while it is not in use.
    value: Option<V>,
    /// Time at which the value is dropped without further use.
    expires_at: Instant,
    /// True while a task waits to drop the value.
    has_task: bool,
}

impl<V> Default for IdleCached<V> {
    fn default() -> Self {
        let cell = CachedCell {
            value: None,
            expires_at: Instant::now(),
            has_task: false,
        };
        Self {
            cell: Arc::new(Mutex::new(cell)),
        }
    }
}

impl<V: Default + Send + 'static> IdleCached<V> {
    /// Calls `work` with the value, which is a new one after a while without use, and returns its
    /// result.
    ///
    /// # Errors
    ///
    /// `INTERNAL` if `work` panics. The value is dropped then, since it may be inconsistent.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut V) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let mut cell = self.cell.clone().lock_owned().await;
        cell.expires_at = Instant::now() + MAX_IDLE_TIME;
        if !std::mem::replace(&mut cell.has_task, true) {
            tokio::spawn(drop_when_idle(Arc::downgrade(&self.cell)));
        }
        let result = spawn_blocking(move || {
            // Taken out, so that a panic drops it.
            let mut value = cell.value.take().unwrap_or_default();
            let result = work(&mut value);
            cell.value = Some(value);
            result
        });
        result.await.map_err(panicked)
    }
}

/// Returns the status for work that panicked on another thread. The panic itself is logged.
pub(super) fn panicked(_: JoinError) -> Status {
    Status::internal("internal error: the server's log has the cause")
}

/// Drops the value after a while without use, and ends. Ends also when the server has ended.
async fn drop_when_idle<V: Send + 'static>(cell: Weak<Mutex<CachedCell<V>>>) {
    loop {
        let Some(cell) = cell.upgrade() else { return };
        let expires_at = {
            let mut cell = cell.lock().await;
            if cell.expires_at <= Instant::now() {
                cell.has_task = false;
                // Freeing millions of entries takes a while.
                let value = cell.value.take();
                spawn_blocking(move || drop(value));
                return;
            }
            cell.expires_at
        };
        drop(cell);
        sleep_until(expires_at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_value_stays_while_it_is_used_and_is_dropped_after_the_idle_time() {
        let cached = IdleCached::<u32>::default();
        let next = async || {
            cached
                .with(|value| std::mem::replace(value, *value + 1))
                .await
                .unwrap()
        };
        assert_eq!((next().await, next().await), (0, 1));
        tokio::time::sleep(MAX_IDLE_TIME / 2).await;
        assert_eq!(next().await, 2);
        tokio::time::sleep(MAX_IDLE_TIME - Duration::from_secs(1)).await;
        assert_eq!(next().await, 3);
        tokio::time::sleep(MAX_IDLE_TIME + Duration::from_secs(1)).await;
        assert!(cached.cell.lock().await.value.is_none());
        assert_eq!(next().await, 0);
        tokio::time::sleep(MAX_IDLE_TIME + Duration::from_secs(1)).await;
        assert!(cached.cell.lock().await.value.is_none(), "dropped again");
    }

    #[tokio::test]
    async fn work_that_panics_drops_the_value_and_fails_only_its_own_call() {
        let cached = IdleCached::<u32>::default();
        cached.with(|value| *value = 5).await.unwrap();
        let failed = cached.with(|_| panic!("a panic of this test")).await;
        assert_eq!(failed.unwrap_err().code(), tonic::Code::Internal);
        assert_eq!(cached.with(|value| *value).await.unwrap(), 0);
    }
}
