//! The clients: who they are, where and when they say they are.

use std::collections::HashMap;
use std::sync::Mutex;

use super::ledger::wall_clock;
use crate::common::Random;

/// What a client says, at any server.
#[derive(Clone)]
pub(crate) enum Ask {
    Iamat {
        client: String,
        position: String,
        time: String,
    },
    /// An IAMAT from too far in the future to be true.
    Refused(String),
    Whatsat(String),
}

impl Ask {
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Iamat {
                client,
                position,
                time,
            } => format!("IAMAT {client} {position} {time}"),
            Self::Refused(line) => line.clone(),
            Self::Whatsat(client) => format!("WHATSAT {client} 0 0"),
        }
    }
}

/// Clients that report all the time, at every server.
const ROVERS: usize = 40;

/// So many of the newest clients are asked for the most.
const RECENT: usize = 30;

const SECOND: u64 = 1_000_000_000;

/// All clients of a run.
#[derive(Default)]
pub(crate) struct Crowd(Mutex<Clients>);

#[derive(Default)]
struct Clients {
    names: Vec<String>,
    /// What each said last: its position and its time.
    last: HashMap<String, (String, String)>,
    /// Makes each position another.
    serial: u64,
}

impl Crowd {
    /// All that have reported.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().names.clone()
    }

    /// Draws a few lines to be said in one breath.
    pub(crate) fn lines(&self, random: &mut Random) -> Vec<Ask> {
        let mut clients = self.0.lock().unwrap();
        let count = random.pick(&[1, 1, 1, 2, 3, 8]);
        (0..count).map(|_| clients.draw(random)).collect()
    }

    /// A client reports that never did before.
    pub(crate) fn newcomer(&self, random: &mut Random) -> Ask {
        let mut clients = self.0.lock().unwrap();
        let name = clients.newcomer();
        clients.fresh(name, random)
    }
}

impl Clients {
    fn draw(&mut self, random: &mut Random) -> Ask {
        match random.below(100) {
            0 => self.refused(random),
            1..10 => self.rover(random),
            10..20 => {
                let name = self.newcomer();
                self.fresh(name, random)
            }
            20..35 => self.repeat(random),
            35 => Ask::Whatsat(format!("ghost-{}", random.below(1000))),
            _ => Ask::Whatsat(self.known(random)),
        }
    }

    fn newcomer(&mut self) -> String {
        format!("client-{}", self.names.len())
    }

    fn rover(&mut self, random: &mut Random) -> Ask {
        self.fresh(format!("rover-{}", random.below(ROVERS)), random)
    }

    /// One that has reported, often one that did so lately.
    fn known(&self, random: &mut Random) -> String {
        let all = self.names.len();
        let back = match random.chance(500) {
            true => random.below(all.clamp(1, RECENT)),
            false => random.below(all.max(1)),
        };
        let name = self.names.len().checked_sub(back + 1);
        name.map_or("nobody".to_owned(), |place| self.names[place].clone())
    }

    /// Somewhere it has not been, now.
    fn fresh(&mut self, client: String, random: &mut Random) -> Ask {
        let now = wall_clock() as u64;
        let time = time(now, random);
        let position = self.position(random);
        self.say(client, position, time)
    }

    /// Something about a time that it has spoken of, or an older one: what the
    /// order of reports must decide.
    fn repeat(&mut self, random: &mut Random) -> Ask {
        let client = self.known(random);
        let Some((position, time)) = self.last.get(&client).cloned() else {
            return Ask::Whatsat(client);
        };
        match random.below(6) {
            0..3 => {
                let position = self.position(random);
                self.say(client, position, time)
            }
            3 => self.say(client, position, time),
            4 => {
                let point = if time.contains('.') { "" } else { "." };
                let time = match time.len() < 28 {
                    true => format!("{time}{point}0"),
                    false => time,
                };
                self.say(client, position, time)
            }
            _ => {
                let older = wall_clock() as u64 - random.between(1, 20) * SECOND;
                let (time, position) = (self::time(older, random), self.position(random));
                self.say(client, position, time)
            }
        }
    }

    fn refused(&mut self, random: &mut Random) -> Ask {
        let future = wall_clock() as u64 + 48 * 60 * 60 * SECOND;
        let (client, position) = (self.known(random), self.position(random));
        Ask::Refused(format!(
            "IAMAT {client} {position} {}",
            time(future, random)
        ))
    }

    fn say(&mut self, client: String, position: String, time: String) -> Ask {
        let said = (position.clone(), time.clone());
        if self.last.insert(client.clone(), said).is_none() {
            self.names.push(client.clone());
        }
        Ask::Iamat {
            client,
            position,
            time,
        }
    }

    /// A position that nobody has named before.
    fn position(&mut self, random: &mut Random) -> String {
        self.serial += 1;
        let (north, east) = (random.pick(&['+', '-']), random.pick(&['+', '-']));
        let end = random.pick(&["", "", "/"]);
        let (latitude, longitude) = (random.below(90), random.below(180));
        format!("{north}{latitude}.{:07}{east}{longitude}{end}", self.serial)
    }
}

/// A time as clients write it: with few digits or many.
fn time(nanos: u64, random: &mut Random) -> String {
    let text = format!("{}.{:09}", nanos / SECOND, nanos % SECOND);
    let whole = text.len() - 10;
    match random.below(8) {
        0 => text[..whole].to_owned(),
        1 => text[..whole + 2].to_owned(),
        2 => text[..whole + 4].to_owned(),
        3 => format!("{text}{:03}", random.below(1000)),
        _ => text,
    }
}
