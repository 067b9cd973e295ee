//! Work on a thread of its own, with any number of tasks that wait for its value.
//!
//! It runs on a thread, since the work is CPU-bound for a while and would block the other tasks of
//! a runtime, and since places can be prepared before there is a runtime. It runs once: its value
//! or its error is final. The cell that tasks wait for is tokio's.

use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;

use tokio::sync::SetOnce;
use tracing::Span;

/// A value that is available or being loaded. Clones wait for the same value.
pub(super) struct Loading<T> {
    slot: Arc<SetOnce<Result<T, String>>>,
}

impl<T: Send + Sync + 'static> Loading<T> {
    /// Returns a value that is already available.
    pub(super) fn done(value: T) -> Self {
        Loading {
            slot: Arc::new(SetOnce::new_with(Some(Ok(value)))),
        }
    }

    /// Starts the work. Waiting tasks receive its error instead of a value, also if it panics.
    ///
    /// # Errors
    ///
    /// The system has no thread available. The work has not begun.
    pub(super) fn start(
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> io::Result<Self> {
        let slot = Arc::new(SetOnce::new());
        let filled = Arc::clone(&slot);
        // Events go to the log of the caller that started the work.
        let span = Span::current();
        thread::Builder::new()
            .name("places".to_owned())
            .spawn(move || {
                let outcome = span.in_scope(|| run(work));
                // This is the only writer, so `set` cannot fail.
                let _ = filled.set(outcome);
            })?;
        Ok(Loading { slot })
    }

    /// Returns the value or the error, if the work has ended.
    pub(super) fn now(&self) -> Option<Result<&T, &str>> {
        self.slot.get().map(outcome)
    }

    /// Waits until the work has ended and returns the value or the error.
    pub(super) async fn wait(&self) -> Result<&T, &str> {
        outcome(self.slot.wait().await)
    }
}

// Written by hand: a derived implementation would require that T is `Clone`.
impl<T> Clone for Loading<T> {
    fn clone(&self) -> Self {
        Loading {
            slot: Arc::clone(&self.slot),
        }
    }
}

// Written by hand: a derived implementation would print the whole of T.
impl<T> fmt::Debug for Loading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = self.slot.initialized();
        f.debug_struct("Loading").field("ended", &ended).finish()
    }
}

fn outcome<T>(stored: &Result<T, String>) -> Result<&T, &str> {
    stored.as_ref().map_err(String::as_str)
}

/// Runs the work and converts a panic into an error, since tasks that wait would otherwise wait
/// forever.
fn run<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Unwind safe: nothing that the work borrowed outlives it.
    let result = panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("a mistake of this program, which its log names".to_owned()));
    if let Err(cause) = &result {
        tracing::error!(%cause, "the places could not be loaded; every query gets this error");
    }
    result
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Waits for the outcome of the work, and fails the test if there is none in time.
    async fn ended<T: Send + Sync + 'static>(loading: &Loading<T>) -> Result<&T, &str> {
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, loading.wait()).await.unwrap()
    }

    #[tokio::test]
    async fn all_clones_receive_the_same_value() {
        let (release, held) = mpsc::channel::<()>();
        let loading = Loading::start(move || {
            let _ = held.recv();
            Ok(7)
        })
        .unwrap();
        let clone = loading.clone();
        assert!(loading.now().is_none());
        drop(release);
        assert_eq!(ended(&loading).await, Ok(&7));
        assert!(std::ptr::eq(
            ended(&loading).await.unwrap(),
            clone.now().unwrap().unwrap()
        ));
    }

    #[tokio::test]
    async fn an_error_reaches_waiting_tasks() {
        let loading = Loading::<u8>::start(|| Err("broken".to_owned())).unwrap();
        assert_eq!(ended(&loading).await, Err("broken"));
    }

    #[tokio::test]
    async fn a_panic_reaches_waiting_tasks_as_an_error() {
        let loading = Loading::<u8>::start(|| panic!("out of cheese")).unwrap();
        assert!(ended(&loading).await.is_err());
    }
}
