//! The state that the threads of a run share.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::clients::Clients;
use super::coverage::Coverage;
use super::herd::Herd;
use super::ledger::Ledger;
use super::load::Load;

pub(crate) struct World {
    pub(crate) herd: Herd,
    pub(crate) clients: Clients,
    pub(crate) ledger: Ledger,
    pub(crate) load: Load,
    pub(crate) coverage: Mutex<Coverage>,
    is_load_over: AtomicBool,
    error: Mutex<Option<String>>,
}

impl World {
    /// Starts a herd without clients.
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self {
            herd: Herd::start(),
            clients: Clients::default(),
            ledger: Ledger::default(),
            load: Load::default(),
            coverage: Mutex::default(),
            is_load_over: AtomicBool::new(false),
            error: Mutex::default(),
        })
    }

    /// Returns true after the end of the load.
    pub(crate) fn is_load_over(&self) -> bool {
        self.is_load_over.load(SeqCst)
    }

    /// Ends the load, and returns the first error.
    pub(crate) fn end_load(&self) -> Result<(), String> {
        self.is_load_over.store(true, SeqCst);
        if !self.load.end() {
            return Err("a client of the test panicked".to_owned());
        }
        self.check()
    }

    /// Ends all servers, then all clients.
    pub(crate) fn end(&self) {
        for process in self.herd.processes() {
            process.end();
        }
        // Errors are expected, because servers are killed.
        let _ = self.end_load();
    }

    /// Records an error. The first one is kept.
    pub(crate) fn fail(&self, error: String) {
        self.error.lock().unwrap().get_or_insert(error);
    }

    /// Returns the first error.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.error.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}
