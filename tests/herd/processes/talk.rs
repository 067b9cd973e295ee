//! A client's talk with one life of a server: what it says, and the judgement of
//! what it hears.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::crowd::Ask;
use super::life::Life;
use super::report::Report;
use super::world::World;
use crate::common::Client;

/// What follows an AT line where nothing is near, with its two newlines.
const NOTHING_NEAR: &str = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"ZERO_RESULTS\"\n}\n\n";

/// Why a talk ended.
pub(crate) enum End {
    /// The server was killed or told to stop.
    Over,
    /// A promise was broken.
    Broken(String),
}

/// How many of many lines are said in one breath.
const BREATH: usize = 100;

/// Says many lines to a server that is not to end meanwhile, and gives the
/// newest report that each told, if it did.
pub(crate) fn say_all(
    world: &World,
    life: &Life,
    asks: Vec<Ask>,
) -> Result<Vec<Option<Arc<Report>>>, String> {
    let mut heard = Vec::new();
    let all = Talk::begin(world, life).and_then(|mut talk| {
        for asks in asks.chunks(BREATH) {
            heard.extend(talk.say(asks.to_vec())?);
        }
        Ok(heard)
    });
    all.map_err(|end| match end {
        End::Over => format!("{} has ended", life.name),
        End::Broken(words) => words,
    })
}

pub(crate) struct Talk<'a> {
    world: &'a World,
    life: &'a Life,
    client: Client,
}

/// A line that was said, and what must be true of its answer.
struct Said {
    ask: Ask,
    /// For an IAMAT: when.
    sent: i128,
    /// For a WHATSAT: what the server knew before.
    known: Option<Arc<Report>>,
}

impl<'a> Talk<'a> {
    pub(crate) fn begin(world: &'a World, life: &'a Life) -> Result<Self, End> {
        let client = life.connect().map_err(|error| broken_off(life, &error))?;
        // Its ports may be another's by now, but not if it still ran then.
        match life.is_ending() {
            true => Err(End::Over),
            false => Ok(Self {
                world,
                life,
                client,
            }),
        }
    }

    /// Says lines in one breath, and judges the answers. Gives the newest report
    /// that each told, if it did.
    pub(crate) fn say(&mut self, asks: Vec<Ask>) -> Result<Vec<Option<Arc<Report>>>, End> {
        let life = self.life;
        life.talk(|| self.exchange(asks))
    }

    fn exchange(&mut self, asks: Vec<Ask>) -> Result<Vec<Option<Arc<Report>>>, End> {
        let lines: Vec<String> = asks.iter().map(Ask::line).collect();
        let said: Vec<Said> = asks.into_iter().map(|ask| self.note(ask)).collect();
        let start = Instant::now();
        let sent = self.client.try_send(lines.join("\n") + "\n");
        sent.map_err(|error| broken_off(self.life, &error))?;
        let (mut heard, mut times) = (Vec::new(), Vec::new());
        // What it has answered in this breath, it knew for what comes behind.
        let mut now_known = HashMap::new();
        for (mut said, line) in said.into_iter().zip(&lines) {
            said.known = newer(said.known, now_known.get(said.ask.client()).cloned());
            let report = self.hear(&said, line)?;
            times.push(start.elapsed());
            if let Some(report) = &report {
                self.life.learn(report);
                now_known.insert(report.client.clone(), report.clone());
            }
            heard.push(report);
        }
        self.world.tally.lock().unwrap().answers += heard.len();
        if self.life.ran_since(start) {
            self.world.speed.note(times);
        }
        Ok(heard)
    }

    fn note(&self, ask: Ask) -> Said {
        let (mut sent, mut known) = (0, None);
        match &ask {
            Ask::Iamat {
                client,
                position,
                time,
            } => {
                let ledger = &self.world.ledger;
                sent = ledger.sends(self.life.name, client, position, time);
            }
            Ask::Whatsat(client) => known = self.life.knows(client),
            Ask::Refused(_) => {}
        }
        Said { ask, sent, known }
    }

    fn hear(&mut self, said: &Said, line: &str) -> Result<Option<Arc<Report>>, End> {
        let answer = self.line()?;
        let judged = match (&said.ask, answer == format!("? {line}")) {
            (Ask::Refused(_), true) => return Ok(None),
            (Ask::Whatsat(_), true) if said.known.is_none() => return Ok(None),
            (Ask::Iamat { .. }, false) => self.judge_own(said, &answer),
            (Ask::Whatsat(client), false) => {
                self.nothing_near()?;
                self.judge_newest(client, said.known.as_deref(), &answer)
            }
            _ => Err("that is no answer to it".to_owned()),
        };
        let broken = |words| {
            let (life, known) = (self.life, said.known.as_ref());
            let known = known.map_or("nothing".to_owned(), |known| known.to_string());
            End::Broken(format!(
                "{} (life {}) answered {line:?} with {answer:?}, having answered {known:?}: {words}",
                life.name, life.number
            ))
        };
        judged.map(|report| Some(Arc::new(report))).map_err(broken)
    }

    /// An IAMAT's answer is its own AT line.
    fn judge_own(&self, said: &Said, answer: &str) -> Result<Report, String> {
        let report = Report::parse(answer).ok_or("that is no AT line")?;
        let of_line = Ask::Iamat {
            client: report.client.clone(),
            position: report.position.clone(),
            time: report.time.clone(),
        };
        if report.origin != self.life.name || of_line.line() != said.ask.line() {
            return Err("that is another line's".to_owned());
        }
        self.world.ledger.answered(said.sent, &report)?;
        Ok(report)
    }

    /// A WHATSAT's answer was sent by somebody, and is not older than what this
    /// server knew before.
    fn judge_newest(
        &self,
        client: &str,
        known: Option<&Report>,
        answer: &str,
    ) -> Result<Report, String> {
        let report = Report::parse(answer).ok_or("that is no AT line")?;
        self.world.ledger.saw(&report)?;
        if report.client != client {
            return Err("that is another client".to_owned());
        }
        match known {
            Some(known) if report.compare(known).is_lt() => Err("that is older".to_owned()),
            _ => Ok(report),
        }
    }

    fn nothing_near(&mut self) -> Result<(), End> {
        let mut json = String::new();
        for _ in NOTHING_NEAR.lines() {
            json = json + &self.line()? + "\n";
        }
        match json == NOTHING_NEAR {
            true => Ok(()),
            false => Err(End::Broken(format!("{}: {json:?} is near", self.life.name))),
        }
    }

    fn line(&mut self) -> Result<String, End> {
        let line = self.client.try_line();
        let mut line = line.map_err(|error| broken_off(self.life, &error))?;
        if line.pop() != Some(b'\n') {
            return Err(broken_off(self.life, &io::ErrorKind::UnexpectedEof.into()));
        }
        String::from_utf8(line).map_err(|error| End::Broken(error.to_string()))
    }
}

impl Ask {
    fn client(&self) -> &str {
        match self {
            Self::Iamat { client, .. } | Self::Whatsat(client) => client,
            Self::Refused(_) => "",
        }
    }
}

fn newer(a: Option<Arc<Report>>, b: Option<Arc<Report>>) -> Option<Arc<Report>> {
    match (a, b) {
        (Some(a), Some(b)) if b.compare(&a).is_gt() => Some(b),
        (a, b) => a.or(b),
    }
}

/// Only a server that ends may break off.
fn broken_off(life: &Life, error: &io::Error) -> End {
    match life.is_ending() {
        true => End::Over,
        false => End::Broken(format!(
            "{} (life {}) runs, and does not answer: {error}",
            life.name, life.number
        )),
    }
}
