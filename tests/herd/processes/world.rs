//! What the threads of a run share.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::crowd::Crowd;
use super::herd::Herd;
use super::ledger::Ledger;
use super::load::Load;
use super::speed::Speed;
use super::tally::Tally;

pub(crate) struct World {
    pub(crate) herd: Herd,
    pub(crate) crowd: Crowd,
    pub(crate) ledger: Ledger,
    pub(crate) load: Load,
    pub(crate) speed: Speed,
    pub(crate) tally: Mutex<Tally>,
    is_resting: AtomicBool,
    broken: Mutex<Option<String>>,
}

impl World {
    /// A herd of which every server runs, and nobody who speaks to it yet.
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self {
            herd: Herd::start(),
            crowd: Crowd::default(),
            ledger: Ledger::default(),
            load: Load::default(),
            speed: Speed::default(),
            tally: Mutex::default(),
            is_resting: AtomicBool::new(false),
            broken: Mutex::default(),
        })
    }

    /// Is nothing more to be said?
    pub(crate) fn is_resting(&self) -> bool {
        self.is_resting.load(SeqCst)
    }

    /// Ends the load. Was no promise broken beneath it?
    pub(crate) fn end_load(&self) -> Result<(), String> {
        self.is_resting.store(true, SeqCst);
        match self.load.end() {
            true => self.check(),
            false => Err("a client of the test panicked".to_owned()),
        }
    }

    /// Ends all servers, and then all clients.
    pub(crate) fn end(&self) {
        for life in self.herd.lives() {
            life.end();
        }
        // What comes to light now is of no account: servers were killed.
        let _ = self.end_load();
    }

    /// A promise was broken. The first to be so is told.
    pub(crate) fn fail(&self, words: String) {
        self.broken.lock().unwrap().get_or_insert(words);
    }

    /// Was none broken yet?
    pub(crate) fn check(&self) -> Result<(), String> {
        self.broken.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}
