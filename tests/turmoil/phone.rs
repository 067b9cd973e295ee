//! Clients: what they send, and how they judge the answers.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

use crate::Checked;
use crate::herd::Herd;
use crate::ledger::{Report, SendingId, client_id};
use crate::random::Random;
use crate::setup::{CLIENTS_PORT, true_time};
use crate::topology::NAMES;

/// How long a phone waits for a connection or an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What stands behind the AT line where nothing is near.
const NOTHING: [&str; 6] = [
    "{\n",
    "   \"html_attributions\" : [],\n",
    "   \"results\" : [],\n",
    "   \"status\" : \"ZERO_RESULTS\"\n",
    "}\n",
    "\n",
];

/// One who reports and asks, at one server after the other, as long as the herd
/// is open.
pub(crate) async fn run(herd: Rc<Herd>, mut random: Random) -> turmoil::Result {
    while herd.is_open.get() {
        let server = random.below(herd.setup.servers);
        if let Some(mut call) = Call::dial(&herd, server).await {
            for _ in 0..random.between(1, 40) {
                if !herd.is_open.get() || !call.say_some(&mut random).await? {
                    break;
                }
            }
        }
        sleep(Duration::from_millis(random.between(0, 50))).await;
    }
    Ok(())
}

/// One connection to one server.
pub(crate) struct Call {
    herd: Rc<Herd>,
    server: usize,
    life: u32,
    stream: BufReader<TcpStream>,
}

/// A line, and what is known of its answer.
pub(crate) struct Line {
    text: String,
    asks: Asks,
}

enum Asks {
    Iamat(usize, SendingId),
    /// The server holds this of the client, or something newer.
    Whatsat(usize, Option<Report>),
    Nonsense,
}

impl Call {
    pub(crate) async fn dial(herd: &Rc<Herd>, server: usize) -> Option<Self> {
        let life = herd.life(server);
        let connect = TcpStream::connect((NAMES[server], CLIENTS_PORT));
        let stream = timeout(PATIENCE, connect).await.ok()?.ok()?;
        Some(Self {
            herd: herd.clone(),
            server,
            life,
            stream: BufReader::new(stream),
        })
    }

    /// Says a few lines at once. Gives whether all were answered.
    async fn say_some(&mut self, random: &mut Random) -> Result<bool, String> {
        let mut lines = Vec::new();
        for _ in 0..random.pick(&[1, 1, 3, 10]) {
            lines.push(match random.below(10) {
                0 => nonsense(),
                1 | 2 => self.whatsat(random.below(self.herd.setup.clients)),
                _ => self.iamat(draw_iamat(&self.herd, random)),
            });
        }
        let are_answered = self.say(lines).await?;
        sleep(Duration::from_millis(random.pick(&[0, 0, 10, 50]))).await;
        Ok(are_answered)
    }

    /// A client says where it was, and when.
    pub(crate) fn iamat(&self, (client, position, time): (usize, String, String)) -> Line {
        let text = format!("IAMAT {} {position} {time}\n", client_id(client));
        let mut ledger = self.herd.ledger.borrow_mut();
        let id = ledger.send(now(), self.server, (client, position, time));
        let asks = Asks::Iamat(client, id);
        Line { text, asks }
    }

    /// A client asks what is near another.
    pub(crate) fn whatsat(&self, client: usize) -> Line {
        let text = format!("WHATSAT {} 10 5\n", client_id(client));
        let asks = Asks::Whatsat(client, self.least(client));
        Line { text, asks }
    }

    /// Sends lines in one write, and judges the answers. Gives whether all of
    /// them came.
    pub(crate) async fn say(&mut self, lines: Vec<Line>) -> Result<bool, String> {
        let texts: String = lines.iter().map(|line| &*line.text).collect();
        if self.stream.write_all(texts.as_bytes()).await.is_err() {
            return Ok(false);
        }
        for line in lines {
            if !self.take_answer(line).await? {
                self.herd.tally.borrow_mut().unanswered += 1;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Judges the answer to one line. Gives whether it came.
    async fn take_answer(&mut self, line: Line) -> Result<bool, String> {
        let Some(answer) = self.hear().await else {
            return Ok(false);
        };
        match line.asks {
            Asks::Iamat(client, id) => self.judge_iamat(client, id, &answer)?,
            Asks::Whatsat(client, least) if answer.starts_with("AT ") => {
                self.judge_whatsat(client, least, &answer)?;
                return self.hear_nothing_near().await;
            }
            Asks::Whatsat(_, None) | Asks::Nonsense if answer == format!("? {}", line.text) => {}
            _ => {
                let (name, text) = (NAMES[self.server], line.text);
                return Err(format!("{name} answered {text:?} with {answer:?}"));
            }
        }
        Ok(true)
    }

    async fn hear_nothing_near(&mut self) -> Result<bool, String> {
        for expected in NOTHING {
            match self.hear().await {
                Some(found) if found == expected => {}
                Some(found) => return Err(format!("{found:?} came, not {expected:?}")),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.stream.read_line(&mut line)).await;
        (matches!(read, Ok(Ok(_))) && line.ends_with('\n')).then_some(line)
    }

    fn judge_iamat(&self, client: usize, id: SendingId, answer: &str) -> Checked {
        let mut ledger = self.herd.ledger.borrow_mut();
        let report = ledger.answered(now(), id, answer)?;
        self.herd.tally.borrow_mut().answered += 1;
        if self.is_same_life() {
            self.herd.expect(self.server, client, report);
        }
        Ok(())
    }

    fn judge_whatsat(&self, client: usize, least: Option<Report>, answer: &str) -> Checked {
        let report = self.herd.ledger.borrow().located(now(), client, answer)?;
        self.herd.tally.borrow_mut().located += 1;
        match Some(&report) < least.as_ref() {
            true => Err(format!("{answer:?} is older than {least:?}")),
            false => Ok(()),
        }
    }

    fn least(&self, client: usize) -> Option<Report> {
        let least = self.herd.least(self.server, client);
        least.filter(|_| self.is_same_life())
    }

    /// Does the server still live that was dialled?
    fn is_same_life(&self) -> bool {
        self.herd.life(self.server) == self.life
    }
}

fn nonsense() -> Line {
    let text = "WHATSAT  up doc?\n".to_owned();
    let asks = Asks::Nonsense;
    Line { text, asks }
}

/// A client, where it is and when: new, or something sent before.
fn draw_iamat(herd: &Herd, random: &mut Random) -> (usize, String, String) {
    if random.chance(100) {
        let earlier = herd.ledger.borrow().earlier(|all| random.below(all));
        if let Some(earlier) = earlier {
            return earlier;
        }
    }
    let client = random.below(herd.setup.clients);
    let position = format!("+34.{:06}-118.445127", random.below(1_000_000));
    // Coarse times are often equal.
    let grain = random.pick(&[1, 1_000_000, 1_000_000_000]);
    let late = random.pick(&[0, 0, 0, 1_000_000_000, 3_600_000_000_000]);
    let time = (true_time(now()) - late) / grain * grain;
    let (seconds, rest) = (time / 1_000_000_000, time % 1_000_000_000);
    let more = random.pick(&["", "", "7"]);
    (client, position, format!("{seconds}.{rest:09}{more}"))
}

fn now() -> Duration {
    turmoil::sim_elapsed().expect("phones run within the simulation")
}
