//! The check after a load that the newest report of every client is at every server, and
//! the time until then.
//!
//! Each server is queried for each client, in the order of the last reports, newest first,
//! and repeatedly for those that it does not hold yet. A pass takes time, so the result has
//! two bounds: the last time at which a report was missing, and the time at which all
//! reports were found.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::answer::at_line;
use super::dial::connect;
use super::payload::Payload;
use super::settings::BenchSettings;
use super::shared::{Shared, Stage};

/// The number of pipelined queries.
const ASKED_AT_ONCE: usize = 64;

/// The pause before the next pass over missing reports.
const PAUSE: Duration = Duration::from_millis(1);

/// The newest report of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported {
    pub(super) client: u32,
    /// The report's time, in nanoseconds since 1970.
    pub(super) nanos: u64,
    /// The index of the server that received it.
    pub(super) server: usize,
}

/// The result for one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Convergence {
    /// The number of reports that the server never returned.
    pub(super) lacking: u64,
    /// Nanoseconds from the load's end until a report was last missing; 0 if none was.
    pub(super) lacked_until: u64,
    /// Nanoseconds from the load's end until all reports were found.
    pub(super) complete: u64,
    /// The reason why the check could not be completed.
    pub(super) error: Option<String>,
}

/// Looks up all of `reported` at every server. The last pass is the first that begins after
/// the time limit. `ended` is the end of the load, `names` are the servers' names.
pub(super) fn settle(
    settings: &BenchSettings,
    mut reported: Vec<Reported>,
    names: &[Option<String>],
    ended: u64,
    shared: &Shared,
) -> Vec<Convergence> {
    shared.enter(Stage::Settling);
    reported.sort_unstable_by_key(|report| std::cmp::Reverse(report.nanos));
    let reported = &reported;
    thread::scope(|scope| {
        let asking: Vec<_> = (settings.servers.iter())
            .map(|server| {
                scope.spawn(move || {
                    let mut seeker = Seeker {
                        payload: Payload::new(&settings.prefix, settings.id_length, "0", 0),
                        names,
                        ended,
                        timeout: settings.timeout,
                        shared,
                        found: Convergence::default(),
                        text: Vec::new(),
                    };
                    let asked = connect(server, settings.timeout)
                        .map_err(|error| error.to_string())
                        .and_then(|stream| {
                            let sought = seeker.seek(&stream, reported);
                            sought.map_err(|error| error.to_string())
                        });
                    seeker.found.error = asked.err();
                    seeker.found
                })
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Convergence>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        asking.into_iter().map(join).collect()
    })
}

/// The lookups at one server.
struct Seeker<'a> {
    payload: Payload,
    names: &'a [Option<String>],
    ended: u64,
    timeout: u64,
    shared: &'a Shared,
    found: Convergence,
    text: Vec<u8>,
}

impl Seeker<'_> {
    fn seek(&mut self, stream: &TcpStream, reported: &[Reported]) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_nanos(self.timeout)))?;
        let mut answers = BufReader::with_capacity(64 * 1024, stream);
        let mut sought = reported.to_vec();
        self.found.lacking = sought.len() as u64;
        loop {
            // With many clients one pass may take longer than the limit, and reports that
            // were missing early in it may have arrived since.
            let is_last = self.since_end() > self.timeout;
            let mut lacking = Vec::new();
            for some in sought.chunks(ASKED_AT_ONCE) {
                self.ask(stream, &mut answers, some, &mut lacking)?;
                if self.shared.is_stopped() {
                    return Ok(());
                }
            }
            if lacking.is_empty() || is_last {
                return Ok(());
            }
            sought = lacking;
            thread::sleep(PAUSE);
        }
    }

    /// Queries some clients, and keeps those whose report is missing.
    fn ask(
        &mut self,
        mut stream: &TcpStream,
        answers: &mut impl BufRead,
        some: &[Reported],
        lacking: &mut Vec<Reported>,
    ) -> io::Result<()> {
        self.text.clear();
        for report in some {
            self.payload.whatsat(&mut self.text, report.client);
        }
        stream.write_all(&self.text)?;
        for report in some {
            if self.is_known(answers, report)? {
                self.found.lacking -= 1;
                self.found.complete = self.since_end();
            } else {
                self.found.lacked_until = self.since_end();
                lacking.push(*report);
            }
        }
        self.shared.count(some.len() as u64);
        Ok(())
    }

    fn is_known(&mut self, answers: &mut impl BufRead, report: &Reported) -> io::Result<bool> {
        let mut line = Vec::new();
        read_line(answers, &mut line)?;
        let mut skipped = Vec::new();
        while line.starts_with(b"AT ") && skipped != b"\n" {
            skipped.clear();
            read_line(answers, &mut skipped)?;
        }
        self.text.clear();
        self.payload
            .iamat(&mut self.text, report.client, report.nanos);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let name = at_line(line, Payload::fields(&self.text));
        let origin = self.names[report.server].as_ref();
        Ok(name.is_ok_and(|name| origin.is_none_or(|origin| origin.as_bytes() == name)))
    }

    fn since_end(&self) -> u64 {
        self.shared.clock.now().saturating_sub(self.ended)
    }
}

fn read_line(answers: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    match answers.read_until(b'\n', line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
