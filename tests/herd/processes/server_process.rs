//! One process of a server, and the reports that it has returned.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::report::Report;
use crate::common::{Client, Ended, Process, eventually, loopback, memory};

/// The ports of a process.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) clients: u16,
    pub(crate) peers: u16,
}

pub(crate) struct ServerProcess {
    pub(crate) name: &'static str,
    /// The number of the process in the run, from 0.
    pub(crate) number: usize,
    pub(crate) ports: Ports,
    process: Mutex<Option<Process>>,
    /// The newest report of each client that it has returned, or must have.
    known: Mutex<HashMap<String, Arc<Report>>>,
    is_frozen: AtomicBool,
    is_crowded: AtomicBool,
    is_ending: AtomicBool,
    /// The number of current exchanges with clients.
    exchanges: AtomicUsize,
}

impl ServerProcess {
    pub(crate) fn new(name: &'static str, number: usize, ports: Ports, process: Process) -> Self {
        Self {
            name,
            number,
            ports,
            process: Mutex::new(Some(process)),
            known: Mutex::default(),
            is_frozen: AtomicBool::new(false),
            is_crowded: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            exchanges: AtomicUsize::new(0),
        }
    }

    pub(crate) fn connect(&self) -> std::io::Result<Client> {
        Client::try_connect(loopback(self.ports.clients))
    }

    /// Returns the newest report of a client that it has returned.
    pub(crate) fn knows(&self, client: &str) -> Option<Arc<Report>> {
        self.known.lock().unwrap().get(client).cloned()
    }

    /// Records that the process has this report or a newer one.
    pub(crate) fn learn(&self, report: &Arc<Report>) {
        let mut known = self.known.lock().unwrap();
        let newest = known
            .entry(report.client.clone())
            .or_insert_with(|| report.clone());
        if report.compare(newest).is_gt() {
            *newest = report.clone();
        }
    }

    /// Returns the newest report of every client that it has returned.
    pub(crate) fn all_known(&self) -> Vec<Arc<Report>> {
        self.known.lock().unwrap().values().cloned().collect()
    }

    /// Returns true after SIGTERM or SIGKILL. From then on connections may end.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(SeqCst)
    }

    /// Returns true while it is frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        self.is_frozen.load(SeqCst)
    }

    /// Returns true while strangers use its files.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded.load(SeqCst)
    }

    pub(crate) fn set_crowded(&self, is_crowded: bool) {
        self.is_crowded.store(is_crowded, SeqCst);
    }

    /// Returns its resident memory in bytes, if the system reports it.
    pub(crate) fn memory(&self) -> Option<u64> {
        self.with(|process| memory(process.id()))
    }

    /// Counts an exchange with a client while it lasts.
    pub(crate) fn count_exchange<T>(&self, exchange: impl FnOnce() -> T) -> T {
        self.exchanges.fetch_add(1, SeqCst);
        let result = exchange();
        self.exchanges.fetch_sub(1, SeqCst);
        result
    }

    /// Stops the process with SIGSTOP. It keeps its memory and its connections.
    pub(crate) fn freeze(&self) {
        self.with(|process| process.freeze());
        self.is_frozen.store(true, SeqCst);
    }

    /// Continues the process.
    pub(crate) fn thaw(&self) {
        self.is_frozen.store(false, SeqCst);
        self.with(|process| process.signal("CONT"));
    }

    /// Kills the process, and returns its standard error.
    pub(crate) fn kill(&self) -> String {
        self.is_ending.store(true, SeqCst);
        let process = self.process.lock().unwrap().take().expect("it runs");
        let stderr = process.stderr();
        process.kill();
        stderr
    }

    /// Kills the process if it runs.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, SeqCst);
        drop(self.process.lock().unwrap().take());
    }

    /// Sends SIGTERM, and waits until the process has ended and all of its answers are read.
    pub(crate) fn stop(&self) -> Ended {
        self.is_ending.store(true, SeqCst);
        let process = self.process.lock().unwrap().take().expect("it runs");
        process.signal("TERM");
        let ended = process.end();
        eventually("all answers are read", || {
            (self.exchanges.load(SeqCst) == 0).then_some(())
        });
        ended
    }

    /// Returns its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.with(|process| process.stderr())
    }

    fn with<T>(&self, act: impl FnOnce(&Process) -> T) -> T {
        act(self.process.lock().unwrap().as_ref().expect("it runs"))
    }
}
