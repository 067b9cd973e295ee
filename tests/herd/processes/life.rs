//! One life of a server: a process, and what it has let on to know.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::report::Report;
use crate::common::{Client, Ended, Process, eventually, loopback};

/// Where a life is reached.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) clients: u16,
    pub(crate) peers: u16,
}

pub(crate) struct Life {
    pub(crate) name: &'static str,
    /// Which life of the herd's servers it is, the first being 0.
    pub(crate) number: usize,
    pub(crate) ports: Ports,
    process: Mutex<Option<Process>>,
    /// The newest report of each client that it has answered, or must have.
    known: Mutex<HashMap<String, Arc<Report>>>,
    /// When it was frozen, and until when.
    stops: Mutex<Vec<(Instant, Option<Instant>)>>,
    is_ending: AtomicBool,
    /// How many exchanges with clients are under way.
    talks: AtomicUsize,
}

impl Life {
    pub(crate) fn new(name: &'static str, number: usize, ports: Ports, process: Process) -> Self {
        Self {
            name,
            number,
            ports,
            process: Mutex::new(Some(process)),
            known: Mutex::default(),
            stops: Mutex::default(),
            is_ending: AtomicBool::new(false),
            talks: AtomicUsize::new(0),
        }
    }

    pub(crate) fn connect(&self) -> std::io::Result<Client> {
        Client::try_connect(loopback(self.ports.clients))
    }

    /// The newest report of a client that it has answered before.
    pub(crate) fn knows(&self, client: &str) -> Option<Arc<Report>> {
        self.known.lock().unwrap().get(client).cloned()
    }

    /// It holds this report, or a newer one.
    pub(crate) fn learn(&self, report: &Arc<Report>) {
        let mut known = self.known.lock().unwrap();
        let newest = known
            .entry(report.client.clone())
            .or_insert_with(|| report.clone());
        if report.compare(newest).is_gt() {
            *newest = report.clone();
        }
    }

    /// All that it has let on to know.
    pub(crate) fn all_known(&self) -> Vec<Arc<Report>> {
        self.known.lock().unwrap().values().cloned().collect()
    }

    /// Was it told to end, or killed? From then on it may break off.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(SeqCst)
    }

    /// Did it run all the time from `start` to now?
    pub(crate) fn ran_since(&self, start: Instant) -> bool {
        let stops = self.stops.lock().unwrap();
        !self.is_ending()
            && stops
                .iter()
                .all(|&(_, end)| end.is_some_and(|end| end < start))
    }

    /// Counts an exchange with a client while it lasts.
    pub(crate) fn talk<T>(&self, talk: impl FnOnce() -> T) -> T {
        self.talks.fetch_add(1, SeqCst);
        let said = talk();
        self.talks.fetch_sub(1, SeqCst);
        said
    }

    /// Stops it in its tracks: it keeps its memory and its connections.
    pub(crate) fn freeze(&self) {
        self.stops.lock().unwrap().push((Instant::now(), None));
        self.with(|process| process.freeze());
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.with(|process| process.signal("CONT"));
        if let Some((_, end)) = self.stops.lock().unwrap().last_mut() {
            *end = Some(Instant::now());
        }
    }

    /// Ends it as SIGKILL does. Gives what it has told until then.
    pub(crate) fn kill(&self) -> String {
        self.is_ending.store(true, SeqCst);
        let process = self.process.lock().unwrap().take().expect("it runs");
        let told = process.stderr();
        process.kill();
        told
    }

    /// Kills it if that did not happen yet.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, SeqCst);
        drop(self.process.lock().unwrap().take());
    }

    /// Asks it to end, and waits until it has and all of its answers are read.
    pub(crate) fn stop(&self) -> Ended {
        self.is_ending.store(true, SeqCst);
        let process = self.process.lock().unwrap().take().expect("it runs");
        process.signal("TERM");
        let ended = process.end();
        eventually("its answers are read", || {
            (self.talks.load(SeqCst) == 0).then_some(())
        });
        ended
    }

    /// What it has told so far.
    pub(crate) fn told(&self) -> String {
        self.with(|process| process.stderr())
    }

    fn with<T>(&self, act: impl FnOnce(&Process) -> T) -> T {
        act(self.process.lock().unwrap().as_ref().expect("it runs"))
    }
}
