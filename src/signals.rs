//! SIGINT and SIGTERM, which end every command, and SIGXFSZ, which ends none.
//!
//! By default the first two end a process at once, and that suits a command until it has something
//! to finish. For the first process of a container (PID 1) there is no default: the system drops a
//! signal that it does not handle. So such a process handles them from its start.

use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use rustix::process::Signal as SignalNumber;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::log;

/// The process ID of the first process of a container.
const FIRST_PROCESS: u32 = 1;

/// The exit code of a process that a signal ended, less the signal's number, as shells report it.
const SIGNAL_EXIT_CODE: i32 = 128;

/// True once a command handles SIGINT and SIGTERM itself.
static IS_HANDLED: AtomicBool = AtomicBool::new(false);

/// SIGINT (Ctrl-C) and SIGTERM. Once there is one of these, they no longer end the process.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Takes the two signals over. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// The system does not permit it.
    pub(crate) fn listen() -> io::Result<Self> {
        let stop = Self::register()?;
        IS_HANDLED.store(true, Relaxed);
        Ok(stop)
    }

    fn register() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of the two, and returns it. Cancel safe.
    pub(crate) async fn wait(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
        }
    }
}

/// A signal that asks a process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSignal {
    Interrupt,
    Terminate,
}

impl StopSignal {
    /// Returns its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
        }
    }

    fn exit_code(self) -> i32 {
        SIGNAL_EXIT_CODE
            + match self {
                Self::Interrupt => SignalNumber::INT.as_raw(),
                Self::Terminate => SignalNumber::TERM.as_raw(),
            }
    }
}

/// Makes the first process of a container end on SIGINT and SIGTERM, as any other process does by
/// default, until a command takes them over. Call it before anything that may take long.
///
/// # Errors
///
/// The system permits no thread or no signal handler.
pub(crate) fn end_first_process() -> io::Result<()> {
    if process::id() != FIRST_PROCESS {
        return Ok(());
    }
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let mut stop = runtime.block_on(async { Stop::register() })?;
    let wait = async move {
        loop {
            let signal = stop.wait().await;
            if !IS_HANDLED.load(Relaxed) {
                log::flush_terminal();
                process::exit(signal.exit_code());
            }
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || runtime.block_on(wait)).map(drop)
}

/// Makes a write beyond the limit on file sizes (`ulimit -f`) fail, as on a full disk, in place of
/// ending the process. Must be called within a runtime.
///
/// # Errors
///
/// The system does not permit it.
pub(crate) fn survive_file_size_limit() -> io::Result<()> {
    // The handler stays when the stream of signals is dropped.
    signal(SignalKind::from_raw(SignalNumber::XFSZ.as_raw())).map(drop)
}
