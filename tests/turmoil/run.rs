//! One seed, from the first start to the silence at the end.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use turmoil::{Builder, Sim};

use crate::Checked;
use crate::faults::{FAIL_EVERY, Trouble};
use crate::herd::{Herd, Tally};
use crate::ledger::Report;
use crate::net::reports_sent;
use crate::phone::{self, Call};
use crate::random::Random;
use crate::setup::{Setup, true_time};
use crate::topology::NAMES;

/// What a quiet herd may take to come to rest, heartbeats included.
const REST: Duration = Duration::from_millis(1200);

/// A simulation under way.
pub(crate) struct Run {
    pub(crate) sim: Sim<'static>,
    pub(crate) herd: Rc<Herd>,
    pub(crate) random: Random,
    /// What is wrong with each link.
    pub(crate) troubles: Vec<Option<Trouble>>,
    /// When each server that is down is started again.
    pub(crate) starts: Vec<Option<Duration>>,
    pub(crate) trace: Vec<String>,
}

/// Writes into the trace of what happened.
macro_rules! note {
    ($run:expr, $($what:tt)*) => {{
        let line = format!("{:>9.3}s  {}", $run.sim.elapsed().as_secs_f64(), format!($($what)*));
        $run.trace.push(line);
    }};
}
pub(crate) use note;

/// What came of a seed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// How long after the heal all servers agreed and all links were up, as a
    /// share of what it may take.
    pub(crate) healed: f64,
    pub(crate) trace: String,
}

/// Runs one seed. Fails with what happened.
pub(crate) fn run(setup: &Setup) -> Result<Outcome, String> {
    let mut run = Run::new(setup.clone());
    let went = run.go();
    let mut trace = format!("{setup:#?}\n");
    for line in &run.trace {
        let _ = writeln!(trace, "{line}");
    }
    match went {
        Ok(healed) => Ok(Outcome {
            tally: *run.herd.tally.borrow(),
            healed,
            trace,
        }),
        Err(words) => {
            let at = run.sim.elapsed();
            Err(format!("{trace}after {at:?}: {words}"))
        }
    }
}

impl Run {
    fn new(setup: Setup) -> Self {
        let mut sim = Builder::new()
            .rng_seed(setup.seed)
            .enable_random_order()
            .simulation_duration(Duration::from_secs(3600))
            .tick_duration(setup.tick)
            .min_message_latency(setup.latency.0)
            .max_message_latency(setup.latency.1)
            .fail_rate(setup.loss)
            .build();
        let mut random = Random::new(!setup.seed);
        let herd = Herd::new(setup);
        for (server, name) in NAMES.into_iter().enumerate().take(herd.setup.servers) {
            let herd = herd.clone();
            sim.host(name, move || herd.clone().run(server));
        }
        for phone in 0..herd.setup.phones {
            let random = Random::new(random.number());
            sim.client(format!("phone-{phone}"), phone::run(herd.clone(), random));
        }
        Self {
            sim,
            random,
            troubles: vec![None; herd.setup.links.len()],
            starts: vec![None; herd.setup.servers],
            trace: Vec::new(),
            herd,
        }
    }

    /// Things fail under load; all heals; the herd agrees; and falls silent.
    fn go(&mut self) -> Result<f64, String> {
        let chaos = self.sim.elapsed() + self.herd.setup.chaos;
        while self.sim.elapsed() < chaos {
            self.fail();
            self.pass(FAIL_EVERY)?;
        }
        self.herd.is_open.set(false);
        self.heal();
        let floor = self.newest_held();
        let start = self.sim.elapsed();
        self.await_agreement()?;
        let healed = (self.sim.elapsed() - start).as_secs_f64();
        note!(self, "all agree, and every link is up");
        if self.newest_held() < floor {
            return Err(format!("{floor:?} was held at the heal, and is lost"));
        }
        self.pass(REST)?;
        self.check_silence()?;
        self.check_spread()?;
        self.check_answers()?;
        Ok(healed / self.herd.setup.healing().as_secs_f64())
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) -> Checked {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            self.step()?;
        }
        Ok(())
    }

    /// Gives whether the phones have finished.
    fn step(&mut self) -> Result<bool, String> {
        let is_finished = self.sim.step().map_err(|error| error.to_string())?;
        if let Some(panic) = crate::panics::take() {
            return Err(panic);
        }
        let now = self.sim.elapsed();
        (0..self.herd.setup.servers).try_for_each(|server| self.herd.check(now, server))?;
        Ok(is_finished)
    }

    /// The newest report of each client on any server that runs.
    fn newest_held(&self) -> Vec<Option<Report>> {
        let setup = &self.herd.setup;
        let held = |client| (0..setup.servers).map(move |server| self.herd.held(server, client));
        (0..setup.clients)
            .map(|client| held(client).max().flatten())
            .collect()
    }

    /// Waits until the phones have finished, all servers hold the same, and
    /// every link is up and has sent all.
    fn await_agreement(&mut self) -> Checked {
        let limit = self.sim.elapsed() + self.herd.setup.healing();
        loop {
            let is_finished = self.step()?;
            let Err(lacking) = self.agree() else {
                if is_finished {
                    return Ok(());
                }
                continue;
            };
            if self.sim.elapsed() > limit {
                let within = self.herd.setup.healing();
                return Err(format!("not healed within {within:?}: {lacking}"));
            }
        }
    }

    /// All servers hold the same, and every link is up and has sent all.
    fn agree(&self) -> Checked {
        let newest = self.newest_held();
        (0..self.herd.setup.servers).try_for_each(|server| self.is_settled(server, &newest))
    }

    fn is_settled(&self, server: usize, newest: &[Option<Report>]) -> Checked {
        let name = NAMES[server];
        for (client, newest) in newest.iter().enumerate() {
            let held = self.herd.held(server, client);
            if held != *newest {
                return Err(format!("{name} holds {held:?}, not {newest:?}"));
            }
        }
        let gateway = self.herd.gateway(server).ok_or(format!("{name} is down"))?;
        let last = gateway.replica().store().last();
        for (id, to) in gateway.replica().neighbours() {
            let link = gateway.board().link(id);
            if !link.is_up || link.cursor != last {
                return Err(format!(
                    "{name}'s last number is {last}, its link to {to}: {link:?}"
                ));
            }
        }
        Ok(())
    }

    /// Nothing is sent where nothing is new, and no link goes down.
    fn check_silence(&mut self) -> Checked {
        let (sent, end) = (reports_sent(), self.sim.elapsed() + REST);
        while self.sim.elapsed() < end {
            self.step()?;
            self.agree()?;
        }
        match reports_sent() - sent {
            0 => Ok(()),
            sent => Err(format!("{sent} reports were sent on a quiet net")),
        }
    }

    /// One report goes everywhere, and no more often than it may.
    fn check_spread(&mut self) -> Checked {
        let sent = reports_sent();
        let server = self.random.below(self.herd.setup.servers);
        let newer = true_time(self.sim.elapsed()) / 1_000_000_000 + 60;
        let report = (0, "+0-0".to_owned(), newer.to_string());
        let herd = self.herd.clone();
        self.sim.client("reporter", async move {
            let mut call = Call::dial(&herd, server).await.ok_or("no connection")?;
            let line = call.iamat(report);
            expect_answers(call.say(vec![line]).await?)
        });
        self.time_spread()?;
        self.await_agreement()?;
        self.pass(REST)?;
        self.agree()?;
        let (servers, links) = (self.herd.setup.servers, self.herd.setup.links.len());
        let allowed = servers - 1..=2 * links - (servers - 1);
        match reports_sent() - sent {
            sent if allowed.contains(&(sent as usize)) => Ok(()),
            sent => Err(format!("one report was sent {sent} times, not {allowed:?}")),
        }
    }

    /// On a quiet net news does not wait for a heartbeat. It may wait, at each
    /// hop, for the answer to one.
    fn time_spread(&mut self) -> Checked {
        let setup = self.herd.setup.clone();
        let last = |herd: &Herd, server| herd.gateway(server).map(|it| it.replica().store().last());
        let all = |herd: &Herd| -> Vec<_> {
            (0..setup.servers)
                .map(|server| last(herd, server))
                .collect()
        };
        let before = all(&self.herd);
        let news = |herd: &Herd| {
            all(herd)
                .iter()
                .zip(&before)
                .filter(|(now, then)| now > then)
                .count()
        };
        while news(&self.herd) == 0 {
            self.step()?;
        }
        let hop = 3 * setup.latency.1 + 4 * setup.tick;
        let limit = self.sim.elapsed() + hop * (setup.servers as u32 - 1);
        while news(&self.herd) < setup.servers {
            self.step()?;
            if self.sim.elapsed() > limit {
                return Err(format!("news takes longer than {hop:?} a hop"));
            }
        }
        Ok(())
    }

    /// Every server says of every client what all hold.
    fn check_answers(&mut self) -> Checked {
        let herd = self.herd.clone();
        self.sim.client("asker", async move {
            for server in 0..herd.setup.servers {
                let mut call = Call::dial(&herd, server).await.ok_or("no connection")?;
                let clients = 0..herd.setup.clients;
                let lines = clients.map(|client| call.whatsat(client)).collect();
                expect_answers(call.say(lines).await?)?;
            }
            Ok(())
        });
        self.await_agreement()
    }
}

fn expect_answers(are_there: bool) -> turmoil::Result {
    match are_there {
        true => Ok(()),
        false => Err("a healthy server did not answer".into()),
    }
}
