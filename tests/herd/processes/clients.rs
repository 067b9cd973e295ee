//! The clients of a run, and their requests.

use std::collections::HashMap;
use std::sync::Mutex;

use super::ledger::wall_clock;
use crate::common::Random;

/// A request of a client, for any server.
#[derive(Clone)]
pub(crate) enum ClientRequest {
    Iamat {
        client: String,
        position: String,
        time: String,
    },
    /// An IAMAT whose time is too far in the future.
    Rejected(String),
    Whatsat(String),
}

impl ClientRequest {
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Iamat {
                client,
                position,
                time,
            } => format!("IAMAT {client} {position} {time}"),
            Self::Rejected(line) => line.clone(),
            Self::Whatsat(client) => format!("WHATSAT {client} 0 0"),
        }
    }
}

/// The number of clients that report throughout the run, at every server.
const ROAMING_CLIENTS: usize = 40;

/// The number of newest clients that are queried most often.
const RECENT_CLIENTS: usize = 30;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// All clients of a run.
#[derive(Default)]
pub(crate) struct Clients(Mutex<ClientTable>);

#[derive(Default)]
struct ClientTable {
    names: Vec<String>,
    /// The position and the time of each client's last report.
    last: HashMap<String, (String, String)>,
    /// A number that makes each position unique.
    serial: u64,
}

impl Clients {
    /// Returns all clients that have reported.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().names.clone()
    }

    /// Draws requests for one batch.
    pub(crate) fn lines(&self, random: &mut Random) -> Vec<ClientRequest> {
        let mut clients = self.0.lock().unwrap();
        let count = random.pick(&[1, 1, 1, 2, 3, 8]);
        (0..count).map(|_| clients.draw(random)).collect()
    }

    /// Returns the first report of a new client.
    pub(crate) fn newcomer(&self, random: &mut Random) -> ClientRequest {
        let mut clients = self.0.lock().unwrap();
        let name = clients.newcomer();
        clients.fresh(name, random)
    }
}

impl ClientTable {
    fn draw(&mut self, random: &mut Random) -> ClientRequest {
        match random.below(100) {
            0 => self.rejected(random),
            1..10 => self.roaming(random),
            10..20 => {
                let name = self.newcomer();
                self.fresh(name, random)
            }
            20..35 => self.repeat(random),
            35 => ClientRequest::Whatsat(format!("ghost-{}", random.below(1000))),
            _ => ClientRequest::Whatsat(self.known(random)),
        }
    }

    fn newcomer(&mut self) -> String {
        format!("client-{}", self.names.len())
    }

    fn roaming(&mut self, random: &mut Random) -> ClientRequest {
        self.fresh(format!("rover-{}", random.below(ROAMING_CLIENTS)), random)
    }

    /// Returns a client that has reported, often a recent one.
    fn known(&self, random: &mut Random) -> String {
        let all = self.names.len();
        let candidates = if random.chance(500) {
            all.clamp(1, RECENT_CLIENTS)
        } else {
            all.max(1)
        };
        let back = random.below(candidates);
        let name = self.names.len().checked_sub(back + 1);
        name.map_or("unknown".to_owned(), |index| self.names[index].clone())
    }

    /// Returns a report of a new position at the current time of the client's clock, which may be
    /// ahead.
    fn fresh(&mut self, client: String, random: &mut Random) -> ClientRequest {
        let lead = random.pick(&[0, 0, 0, 0, 1, 60, 23 * 60 * 60]);
        let now = wall_clock() as u64 + lead * NANOS_PER_SECOND;
        let time = time(now, random);
        let position = self.position(random);
        self.report(client, position, time)
    }

    /// Returns a report of an earlier time of the client, or of an older one. The order of
    /// reports decides which one is kept.
    fn repeat(&mut self, random: &mut Random) -> ClientRequest {
        let client = self.known(random);
        let Some((position, time)) = self.last.get(&client).cloned() else {
            return ClientRequest::Whatsat(client);
        };
        match random.below(6) {
            0..3 => {
                let position = self.position(random);
                self.report(client, position, time)
            }
            3 => self.report(client, position, time),
            4 => {
                let point = if time.contains('.') { "" } else { "." };
                let time = if time.len() < 28 {
                    format!("{time}{point}0")
                } else {
                    time
                };
                self.report(client, position, time)
            }
            _ => {
                let older = wall_clock() as u64 - random.between(1, 20) * NANOS_PER_SECOND;
                let (time, position) = (self::time(older, random), self.position(random));
                self.report(client, position, time)
            }
        }
    }

    fn rejected(&mut self, random: &mut Random) -> ClientRequest {
        let future = wall_clock() as u64 + 48 * 60 * 60 * NANOS_PER_SECOND;
        let (client, position) = (self.known(random), self.position(random));
        ClientRequest::Rejected(format!(
            "IAMAT {client} {position} {}",
            time(future, random)
        ))
    }

    fn report(&mut self, client: String, position: String, time: String) -> ClientRequest {
        let report = (position.clone(), time.clone());
        if self.last.insert(client.clone(), report).is_none() {
            self.names.push(client.clone());
        }
        ClientRequest::Iamat {
            client,
            position,
            time,
        }
    }

    /// Returns a unique position.
    fn position(&mut self, random: &mut Random) -> String {
        self.serial += 1;
        let (north, east) = (random.pick(&['+', '-']), random.pick(&['+', '-']));
        let end = random.pick(&["", "", "/"]);
        let (latitude, longitude) = (random.below(90), random.below(180));
        format!("{north}{latitude}.{:07}{east}{longitude}{end}", self.serial)
    }
}

/// Formats a time with few or many digits.
fn time(nanos: u64, random: &mut Random) -> String {
    let text = format!(
        "{}.{:09}",
        nanos / NANOS_PER_SECOND,
        nanos % NANOS_PER_SECOND
    );
    let whole = text.len() - 10;
    match random.below(8) {
        0 => text[..whole].to_owned(),
        1 => text[..whole + 2].to_owned(),
        2 => text[..whole + 4].to_owned(),
        3 => format!("{text}{:03}", random.below(1000)),
        _ => text,
    }
}
