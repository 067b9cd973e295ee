//! What clients sent and were told: what every report must trace to.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use proxyherd::model::report;

use crate::Checked;
use crate::setup::{CLIENT_MARK, Setup};
use crate::topology::NAMES;

/// A report, in the order of its fields: of two, the greater is the newer. The
/// order is the protocol's, written down once more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Report {
    time: i64,
    origin: String,
    position: String,
    skew: Reverse<i64>,
    time_text: String,
}

impl From<report::Report<'_>> for Report {
    fn from(report: report::Report<'_>) -> Self {
        Self {
            time: nanos(report.time.text()).expect("a stored time is one"),
            origin: report.origin.text().to_owned(),
            position: report.position.text().to_owned(),
            skew: Reverse(report.skew.0),
            time_text: report.time.text().to_owned(),
        }
    }
}

/// What is in an `AT` line, less its client.
fn read_at_line(line: &str, client: usize) -> Option<Report> {
    let fields: Vec<&str> = line.strip_suffix('\n')?.split(' ').collect();
    let &["AT", origin, skew, id, position, time] = &fields[..] else {
        return None;
    };
    let (sign, digits) = skew.split_at_checked(1)?;
    let is_exact = digits.split_once('.').is_some_and(|(_, it)| it.len() == 9);
    let sign = match sign {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    (is_exact && id == client_id(client)).then_some(Report {
        time: nanos(time)?,
        origin: origin.to_owned(),
        position: position.to_owned(),
        skew: Reverse(sign * nanos(digits)?),
        time_text: time.to_owned(),
    })
}

/// Seconds with an optional fraction, to the ninth digit of it.
fn nanos(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nine: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    Some(seconds.parse::<i64>().ok()? * 1_000_000_000 + nine.parse::<i64>().ok()?)
}

pub(crate) fn client_id(client: usize) -> String {
    format!("{CLIENT_MARK}{client}")
}

/// One sending of one IAMAT to one server.
struct Sending {
    client: usize,
    server: usize,
    position: String,
    time: String,
    at: Duration,
    /// As it was answered.
    skew: Option<i64>,
}

/// A [`Sending`], by its place in the ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendingId(usize);

pub(crate) struct Ledger {
    setup: Rc<Setup>,
    sendings: Vec<Sending>,
    /// By client, origin, position and time.
    index: HashMap<(usize, String, String, String), Vec<usize>>,
}

impl Ledger {
    pub(crate) fn new(setup: Rc<Setup>) -> Self {
        Self {
            setup,
            sendings: Vec::new(),
            index: HashMap::new(),
        }
    }

    /// Something that was sent before, to be sent once more.
    pub(crate) fn earlier(
        &self,
        pick: impl FnOnce(usize) -> usize,
    ) -> Option<(usize, String, String)> {
        if self.sendings.is_empty() {
            return None;
        }
        let sending = &self.sendings[pick(self.sendings.len())];
        Some((
            sending.client,
            sending.position.clone(),
            sending.time.clone(),
        ))
    }

    /// A client is about to send this.
    pub(crate) fn send(
        &mut self,
        at: Duration,
        server: usize,
        (client, position, time): (usize, String, String),
    ) -> SendingId {
        let id = self.sendings.len();
        let key = (
            client,
            NAMES[server].to_owned(),
            position.clone(),
            time.clone(),
        );
        self.index.entry(key).or_default().push(id);
        self.sendings.push(Sending {
            client,
            server,
            position,
            time,
            at,
            skew: None,
        });
        SendingId(id)
    }

    /// Judges the answer to an IAMAT, and gives the report that it became.
    pub(crate) fn answered(
        &mut self,
        now: Duration,
        SendingId(id): SendingId,
        answer: &str,
    ) -> Result<Report, String> {
        let sending = &self.sendings[id];
        let report = read_at_line(answer, sending.client).filter(|report| {
            report.origin == NAMES[sending.server]
                && report.position == sending.position
                && report.time_text == sending.time
                && self.may_have_skew(sending, report, now)
        });
        let report = report.ok_or_else(|| {
            let Sending {
                client,
                position,
                time,
                ..
            } = sending;
            format!("{client} {position} {time} was answered with {answer:?}")
        })?;
        self.sendings[id].skew = Some(report.skew.0);
        Ok(report)
    }

    /// Judges the `AT` line of an answer to a WHATSAT, and gives its report.
    pub(crate) fn located(
        &self,
        now: Duration,
        client: usize,
        line: &str,
    ) -> Result<Report, String> {
        let report = read_at_line(line, client)
            .ok_or_else(|| format!("no AT line of {client}: {line:?}"))?;
        self.trace(now, client, &report)?;
        Ok(report)
    }

    /// A report that a server holds is one that a client sent.
    pub(crate) fn trace(&self, now: Duration, client: usize, report: &Report) -> Checked {
        let Report {
            origin,
            position,
            time_text,
            ..
        } = report.clone();
        let found = self.index.get(&(client, origin, position, time_text));
        let is_it = |id: &usize| {
            let sending = &self.sendings[*id];
            match sending.skew {
                Some(skew) => skew == report.skew.0,
                None => self.may_have_skew(sending, report, now),
            }
        };
        match found.is_some_and(|ids| ids.iter().any(is_it)) {
            true => Ok(()),
            false => Err(format!("nobody sent {report:?} of {client}")),
        }
    }

    /// The skew is of a moment between the sending and now.
    fn may_have_skew(&self, sending: &Sending, report: &Report, now: Duration) -> bool {
        let clock = |at| self.setup.clock(sending.server, at) - report.time;
        (clock(sending.at)..=clock(now)).contains(&report.skew.0)
    }
}
