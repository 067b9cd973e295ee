//! The threads that a process may have.
//!
//! Libraries panic if they cannot start one, or wait for it forever. So commands check first that
//! there are enough, and how many the environment asks for.

use std::env;
use std::io;
use std::sync::mpsc;
use std::thread;

/// The variable by which tokio's users set the number of worker threads.
const WORKERS_VARIABLE: &str = "TOKIO_WORKER_THREADS";

/// Maximum number of worker threads: more than any machine has cores.
const MAX_WORKERS: usize = 1024;

/// Returns the number of worker threads that the environment sets, if it does.
///
/// # Errors
///
/// It is no number of threads. The message is for people.
pub(crate) fn workers_from_environment() -> Result<Option<usize>, String> {
    let Some(value) = env::var_os(WORKERS_VARIABLE) else {
        return Ok(None);
    };
    let number = value.to_str().and_then(|text| text.parse().ok());
    let number = number.filter(|number| (1..=MAX_WORKERS).contains(number));
    number.map(Some).ok_or_else(|| {
        format!(
            "{WORKERS_VARIABLE} in the environment is \"{}\": a whole number from 1 to \
             {MAX_WORKERS} is required; unset it for a thread on each core",
            value.to_string_lossy()
        )
    })
}

/// Checks that the process may have `count` more threads at a time, by starting them.
///
/// # Errors
///
/// It may not. The message says what to do.
pub(crate) fn check(count: usize) -> io::Result<()> {
    let mut held = Vec::new();
    for started in 0..count {
        let (hold, end) = mpsc::channel::<()>();
        // It ends when `hold` is dropped.
        let thread = thread::Builder::new().spawn(move || end.recv());
        match thread {
            Ok(thread) => held.push((hold, thread)),
            Err(error) => {
                let message = format!(
                    "cannot start threads: {error} after {started} of {count}; raise the limit on \
                     processes and threads (ulimit -u, TasksMax of systemd, or pids of the \
                     container)"
                );
                return Err(io::Error::new(error.kind(), message));
            }
        }
    }
    for (hold, thread) in held {
        drop(hold);
        // A thread that only waited cannot have panicked.
        let _ = thread.join();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_threads_are_available() {
        check(3).unwrap();
    }
}
