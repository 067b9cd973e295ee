//! A client's session with one process of a server: its requests, and the check of each
//! answer.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::clients::ClientRequest;
use super::report::Report;
use super::server_process::ServerProcess;
use super::world::World;
use crate::common::Client;

/// The places after an AT line if there are none, with their two newlines.
const NOTHING_NEAR: &str = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"ZERO_RESULTS\"\n}\n\n";

/// The end of a session.
pub(crate) enum SessionEnd {
    /// The server received SIGKILL or SIGTERM.
    Over,
    /// An answer is wrong, for this reason.
    Broken(String),
}

/// The maximum number of requests in a batch.
const MAX_BATCH: usize = 100;

/// Sends many requests to a server that must not end meanwhile. Returns the report of each
/// answer.
pub(crate) fn send_all(
    world: &World,
    process: &ServerProcess,
    requests: Vec<ClientRequest>,
) -> Result<Vec<Option<Arc<Report>>>, String> {
    let mut reports = Vec::new();
    let all = Session::begin(world, process).and_then(|mut session| {
        for requests in requests.chunks(MAX_BATCH) {
            reports.extend(session.send(requests.to_vec())?);
        }
        Ok(reports)
    });
    all.map_err(|end| match end {
        SessionEnd::Over => format!("{} has ended", process.name),
        SessionEnd::Broken(error) => error,
    })
}

pub(crate) struct Session<'a> {
    world: &'a World,
    process: &'a ServerProcess,
    client: Client,
}

/// A sent request, and the conditions of its answer.
struct SentRequest {
    request: ClientRequest,
    /// The send time of an IAMAT.
    sent_at: i128,
    /// The report that the server had before a WHATSAT.
    known: Option<Arc<Report>>,
}

impl<'a> Session<'a> {
    pub(crate) fn begin(world: &'a World, process: &'a ServerProcess) -> Result<Self, SessionEnd> {
        let client = process
            .connect()
            .map_err(|error| broken_off(process, &error))?;
        // After its end, another process may have its ports.
        if process.is_ending() {
            return Err(SessionEnd::Over);
        }
        Ok(Self {
            world,
            process,
            client,
        })
    }

    /// Sends requests in one batch, and checks the answers. Returns the report of each answer.
    pub(crate) fn send(
        &mut self,
        requests: Vec<ClientRequest>,
    ) -> Result<Vec<Option<Arc<Report>>>, SessionEnd> {
        let process = self.process;
        process.count_exchange(|| self.exchange(requests))
    }

    fn exchange(
        &mut self,
        requests: Vec<ClientRequest>,
    ) -> Result<Vec<Option<Arc<Report>>>, SessionEnd> {
        let lines: Vec<String> = requests.iter().map(ClientRequest::line).collect();
        let sent_requests: Vec<SentRequest> = requests
            .into_iter()
            .map(|request| self.note(request))
            .collect();
        let was_beside_frozen = self.is_beside_frozen();
        let was_crowded = self.process.is_crowded();
        let written = self.client.try_send(lines.join("\n") + "\n");
        written.map_err(|error| broken_off(self.process, &error))?;
        let mut reports = Vec::new();
        // The server has the reports of earlier answers of the batch.
        let mut now_known = HashMap::new();
        for (mut sent, line) in sent_requests.into_iter().zip(&lines) {
            sent.known = newer(sent.known, now_known.get(sent.request.client()).cloned());
            let report = self.receive(&sent, line)?;
            if let Some(report) = &report {
                self.process.learn(report);
                now_known.insert(report.client.clone(), report.clone());
            }
            reports.push(report);
        }
        let mut coverage = self.world.coverage.lock().unwrap();
        coverage.answers += reports.len();
        if was_beside_frozen && self.is_beside_frozen() {
            coverage.answers_beside_frozen += reports.len();
        }
        if was_crowded && self.process.is_crowded() {
            coverage.answers_in_crowd += reports.len();
        }
        drop(coverage);
        Ok(reports)
    }

    fn note(&self, request: ClientRequest) -> SentRequest {
        let (mut sent_at, mut known) = (0, None);
        match &request {
            ClientRequest::Iamat {
                client,
                position,
                time,
            } => {
                let ledger = &self.world.ledger;
                sent_at = ledger.sends(self.process.name, client, position, time);
            }
            ClientRequest::Whatsat(client) => known = self.process.knows(client),
            ClientRequest::Rejected(_) => {}
        }
        SentRequest {
            request,
            sent_at,
            known,
        }
    }

    fn receive(
        &mut self,
        sent: &SentRequest,
        line: &str,
    ) -> Result<Option<Arc<Report>>, SessionEnd> {
        let answer = self.line()?;
        let checked = match (&sent.request, answer == format!("? {line}")) {
            (ClientRequest::Rejected(_), true) => return Ok(None),
            (ClientRequest::Whatsat(_), true) if sent.known.is_none() => return Ok(None),
            (ClientRequest::Iamat { .. }, false) => self.check_own(sent, &answer),
            (ClientRequest::Whatsat(client), false) => {
                self.nothing_near()?;
                self.check_newest(client, sent.known.as_deref(), &answer)
            }
            _ => Err("not an answer to this request".to_owned()),
        };
        let broken = |error| {
            let (process, known) = (self.process, sent.known.as_ref());
            let known = known.map_or("nothing".to_owned(), |known| known.to_string());
            SessionEnd::Broken(format!(
                "{} (process {}) answered {line:?} with {answer:?} after {known:?}: {error}",
                process.name, process.number
            ))
        };
        checked.map(|report| Some(Arc::new(report))).map_err(broken)
    }

    /// Checks the AT line that answers an IAMAT.
    fn check_own(&self, sent: &SentRequest, answer: &str) -> Result<Report, String> {
        let report = Report::parse(answer).ok_or("not an AT line")?;
        let of_line = ClientRequest::Iamat {
            client: report.client.clone(),
            position: report.position.clone(),
            time: report.time.clone(),
        };
        if report.origin != self.process.name || of_line.line() != sent.request.line() {
            return Err("the answer to another line".to_owned());
        }
        self.world.ledger.answered(sent.sent_at, &report)?;
        Ok(report)
    }

    /// Checks the AT line that answers a WHATSAT: it was sent, and it is not older than the report
    /// that the server had before.
    fn check_newest(
        &self,
        client: &str,
        known: Option<&Report>,
        answer: &str,
    ) -> Result<Report, String> {
        let report = Report::parse(answer).ok_or("not an AT line")?;
        self.world.ledger.saw(&report)?;
        if report.client != client {
            return Err("another client".to_owned());
        }
        match known {
            Some(known) if report.compare(known).is_lt() => Err("an older report".to_owned()),
            _ => Ok(report),
        }
    }

    /// Returns true if the server runs beside a frozen one.
    fn is_beside_frozen(&self) -> bool {
        let processes = self.world.herd.processes();
        !self.process.is_frozen() && processes.iter().any(|process| process.is_frozen())
    }

    fn nothing_near(&mut self) -> Result<(), SessionEnd> {
        let mut json = String::new();
        for _ in NOTHING_NEAR.lines() {
            json = json + &self.line()? + "\n";
        }
        if json != NOTHING_NEAR {
            return Err(SessionEnd::Broken(format!(
                "{}: places {json:?}",
                self.process.name
            )));
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String, SessionEnd> {
        let line = self.client.try_line();
        let mut line = line.map_err(|error| broken_off(self.process, &error))?;
        if line.pop() != Some(b'\n') {
            return Err(broken_off(
                self.process,
                &io::ErrorKind::UnexpectedEof.into(),
            ));
        }
        String::from_utf8(line).map_err(|error| SessionEnd::Broken(error.to_string()))
    }
}

impl ClientRequest {
    fn client(&self) -> &str {
        match self {
            Self::Iamat { client, .. } | Self::Whatsat(client) => client,
            Self::Rejected(_) => "",
        }
    }
}

fn newer(a: Option<Arc<Report>>, b: Option<Arc<Report>>) -> Option<Arc<Report>> {
    match (a, b) {
        (Some(a), Some(b)) if b.compare(&a).is_gt() => Some(b),
        (a, b) => a.or(b),
    }
}

/// Returns the end of a session with a connection error, which only a server that ends may
/// cause.
fn broken_off(process: &ServerProcess, error: &io::Error) -> SessionEnd {
    if process.is_ending() {
        return SessionEnd::Over;
    }
    SessionEnd::Broken(format!(
        "{} (process {}) runs, and does not answer: {error}",
        process.name, process.number
    ))
}
