//! One piece of work on a thread of its own, and any number that wait for what it makes.
//!
//! A thread, since the work keeps a processor busy for a while and would hold up a runtime's other tasks. It runs
//! once: what it made, or why it made nothing, stands from then on.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;

use tokio::sync::SetOnce;
use tracing::Span;

/// A value that is there or on its way. Clones wait for the same one.
pub(super) struct Loading<T> {
    slot: Arc<SetOnce<Result<T, String>>>,
}

impl<T: Send + Sync + 'static> Loading<T> {
    /// A value that is there already.
    pub(super) fn done(value: T) -> Loading<T> {
        Loading {
            slot: Arc::new(SetOnce::new_with(Some(Ok(value)))),
        }
    }

    /// Starts the work. Its error, or the words of its panic, are what waiters get instead of a value.
    ///
    /// # Errors
    ///
    /// The system has no thread to give; the work has not begun.
    pub(super) fn start(
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> io::Result<Loading<T>> {
        let slot = Arc::new(SetOnce::new());
        let filled = Arc::clone(&slot);
        // Events go to the log of whoever started the work.
        let span = Span::current();
        thread::Builder::new()
            .name("places".to_owned())
            .spawn(move || {
                let outcome = span.in_scope(|| run(work));
                // Nobody else sets it, so there is nothing to lose.
                let _ = filled.set(outcome);
            })?;
        Ok(Loading { slot })
    }

    /// The value or the cause of its absence, if the work has ended.
    pub(super) fn now(&self) -> Option<Result<&T, &str>> {
        self.slot.get().map(outcome)
    }

    /// The value or the cause of its absence, when the work has ended.
    pub(super) async fn wait(&self) -> Result<&T, &str> {
        outcome(self.slot.wait().await)
    }
}

// By hand: a derived one would ask that T can be cloned.
impl<T> Clone for Loading<T> {
    fn clone(&self) -> Loading<T> {
        Loading {
            slot: Arc::clone(&self.slot),
        }
    }
}

// By hand: a derived one would print the whole of T.
impl<T> fmt::Debug for Loading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = self.slot.initialized();
        f.debug_struct("Loading").field("ended", &ended).finish()
    }
}

fn outcome<T>(stored: &Result<T, String>) -> Result<&T, &str> {
    stored.as_ref().map_err(String::as_str)
}

/// Runs the work and turns a panic into an error: those that wait must hear of it, or they would wait for ever.
fn run<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Unwind safe: nothing that the work borrowed outlives it.
    let result = panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(words(panic.as_ref())));
    if let Err(cause) = &result {
        tracing::error!(%cause, "the places could not be loaded; every question will be answered with this cause");
    }
    result
}

fn words(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().copied();
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    literal
        .or(formatted)
        .unwrap_or("it panicked without words")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// What the work made or why not, or a failed test where that is never said.
    async fn ended<T: Send + Sync + 'static>(loading: &Loading<T>) -> Result<&T, &str> {
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, loading.wait()).await.unwrap()
    }

    #[tokio::test]
    async fn all_clones_get_the_one_value() {
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
    async fn an_error_reaches_those_that_wait() {
        let loading = Loading::<u8>::start(|| Err("broken".to_owned())).unwrap();
        assert_eq!(ended(&loading).await, Err("broken"));
    }

    #[tokio::test]
    async fn a_panic_reaches_those_that_wait() {
        let plain = Loading::<u8>::start(|| panic!("plain")).unwrap();
        assert_eq!(ended(&plain).await, Err("plain"));
        let number = 3;
        let formatted = Loading::<u8>::start(move || panic!("number {number}")).unwrap();
        assert_eq!(ended(&formatted).await, Err("number 3"));
    }
}
