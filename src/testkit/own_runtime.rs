//! A runtime that may be used and dropped in any context, within another runtime too.

use std::future::Future;
use std::panic::resume_unwind;
use std::time::Duration;
use std::{io, thread};

use tokio::runtime::{Builder, Handle, Runtime};

/// Maximum time that the end of a runtime waits for its threads.
const MAX_SHUTDOWN: Duration = Duration::from_secs(5);

/// A runtime with one worker. Its tasks and their sockets end when it is dropped.
#[derive(Debug)]
pub(super) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    pub(super) fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn handle(&self) -> &Handle {
        let runtime = self.0.as_ref();
        runtime.expect("it is there until it is dropped").handle()
    }

    /// Runs a future to its end, in a thread of its own: tokio permits no blocking within a
    /// runtime, and the caller may be in one.
    pub(super) fn run<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        let run = || self.handle().block_on(future);
        let ended = thread::scope(|scope| scope.spawn(run).join());
        ended.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Drops a value within the runtime, then the runtime.
    pub(super) fn end_with(mut self, value: impl Send) {
        self.shut_down(value);
    }

    fn shut_down(&mut self, value: impl Send) {
        let Some(runtime) = self.0.take() else { return };
        let end = || {
            let entered = runtime.enter();
            drop(value);
            drop(entered);
            runtime.shutdown_timeout(MAX_SHUTDOWN);
        };
        // A panic of a task has been printed where it happened.
        let _ = thread::scope(|scope| scope.spawn(end).join());
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        self.shut_down(());
    }
}
