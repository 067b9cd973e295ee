//! Clients who report and ask while a herd is in trouble: how long they waited,
//! and what every server must know in the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::T;
use crate::common::{Client, Herd, LIMIT};

/// Clients of each server who report in turn.
const CLIENTS: usize = 20;

/// Each talks for so many rounds at least, so that one long wait in a short talk
/// is not one in a hundred.
const ROUNDS: usize = 150;

/// A few hundred rounds a second, and no more: others use this machine.
const PAUSE: Duration = Duration::from_millis(2);

/// What a client may wait for an answer on a machine that is busy with other
/// tests: one in two, and 99 in 100. Undisturbed it is a few milliseconds at
/// most; one that waits for a neighbour in trouble waits half a second at least.
const MEDIAN: Duration = Duration::from_millis(50);
const NEARLY_ALL: Duration = Duration::from_millis(400);

/// Clients that talk with servers until they are told to stop.
pub(crate) struct Load {
    go_on: Arc<AtomicBool>,
    talks: Vec<JoinHandle<Talk>>,
}

/// What the clients of one server saw.
#[derive(Default)]
struct Talk {
    waits: Vec<Duration>,
    /// The answer to each client's last report.
    last: HashMap<String, String>,
}

/// What all clients saw.
pub(crate) struct Served {
    /// Sorted.
    waits: Vec<Duration>,
    last: HashMap<String, String>,
}

impl Load {
    /// Clients of these servers, in a thread for each server. What they report
    /// is later than what those of an earlier load did with another `turn`.
    pub(crate) fn start(herd: &Herd, servers: &[&str], turn: usize) -> Self {
        let go_on = Arc::new(AtomicBool::new(true));
        let talk = |&server: &&str| {
            let (client, server, go_on) = (herd.client(server), server.to_owned(), go_on.clone());
            std::thread::spawn(move || talk(client, &server, turn, &go_on))
        };
        Self {
            talks: servers.iter().map(talk).collect(),
            go_on,
        }
    }

    pub(crate) fn stop(mut self) -> Served {
        self.go_on.store(false, Relaxed);
        let (mut waits, mut last) = (Vec::new(), HashMap::new());
        for talk in self.talks.drain(..) {
            let talk = talk.join().expect("every client was answered");
            waits.extend(talk.waits);
            last.extend(talk.last);
        }
        waits.sort();
        Served { waits, last }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.go_on.store(false, Relaxed);
    }
}

fn talk(mut client: Client, server: &str, turn: usize, go_on: &AtomicBool) -> Talk {
    let mut talk = Talk::default();
    for round in 0.. {
        let name = format!("at-{server}-{}", round % CLIENTS);
        let start = Instant::now();
        let line = client.ask(&format!("IAMAT {name} +1+1 {T}.{turn}{round:08}"));
        assert!(line.starts_with(&format!("AT {server} ")), "{line}");
        client.send(format!("WHATSAT {name} 10 0\n"));
        assert_eq!(client.places().0, line);
        talk.waits.push(start.elapsed());
        talk.last.insert(name, line);
        if round >= ROUNDS && !go_on.load(Relaxed) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    talk
}

impl Served {
    /// Nobody waited for a neighbour.
    #[track_caller]
    pub(crate) fn assert_quick(&self, during: &str) {
        let share = |share: f64| self.waits[(self.waits.len() as f64 * share) as usize];
        let (median, nearly_all) = (share(0.5), share(0.99));
        println!(
            "{during}: {} rounds, median {median:?}, 99th percentile {nearly_all:?}, longest {:?}",
            self.waits.len(),
            share(0.999_999)
        );
        assert!(median < MEDIAN && nearly_all < NEARLY_ALL, "{during}");
    }

    /// Waits until every server that runs holds the last report of every client,
    /// and exactly one entry in its feed for each client that it knows. Gives
    /// how long that took.
    #[track_caller]
    pub(crate) fn await_everywhere(&self, herd: &Herd) -> Duration {
        let start = Instant::now();
        while let Some(missing) = self.missing(herd) {
            assert!(start.elapsed() < LIMIT, "not in time: {missing}");
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = start.elapsed();
        for server in herd.running() {
            let store = herd.gateway(&server).replica().store();
            assert_eq!(store.feed_entries(), store.clients(), "at {server}");
        }
        took
    }

    fn missing(&self, herd: &Herd) -> Option<String> {
        let servers = herd.running();
        let reports = self.last.iter();
        let mut held = reports.flat_map(|report| servers.iter().map(move |at| (at, report)));
        let lacks = |at: &str, client: &str, line: &str| {
            herd.at_line(at, client).as_deref().map(str::trim_end) != Some(line)
        };
        held.find(|(at, (client, line))| lacks(at, client, line))
            .map(|(at, (_, line))| format!("{at} lacks {line}"))
    }
}
