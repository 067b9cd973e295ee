//! The transcript: the lines between a server and its clients and neighbours.
//!
//! ```text
//! 2026-11-22T09:31:05.123456Z client 127.0.0.1:50312 in  IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503
//! 2026-11-22T09:31:05.123456Z client 127.0.0.1:50312 out AT Riley +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503
//! 2026-11-22T09:31:05.131002Z neighbour Jaquez in  AT Bernard -0.000012021 mango.cs.ucla.edu +34.068930-118.445127 1621464828.1
//! ```
//!
//! With `format = "json"` each line is an object:
//!
//! ```json
//! {"timestamp":"2026-11-22T09:31:05.123456Z","server":"Riley","client":"127.0.0.1:50312","direction":"in","line":"WHATSAT kiwi.cs.ucla.edu 10 5"}
//! ```
//!
//! Each connection fills a page of its own and appends it to the log as a whole, so the log's lock
//! is taken once for each burst of lines. An idle connection has no page; a busy one allocates one
//! for each burst, about as large as the last one.

use std::fmt::Display;

use super::escape::{escape_into, json_into};
use super::handle::Log;
use super::line::TranscriptStyle;
use super::settings::LogFormat;
use super::timestamp::LogTimestamp;

/// Number of bytes at which a page is appended to the log without a call. A page is at most this
/// and one line. Larger: more memory for each busy connection; smaller: the log's lock is taken
/// more often.
const PAGE_BYTES: usize = 16 * 1024;

/// Minimum allocation for a page: a command and its response.
const MIN_PAGE_BYTES: usize = 512;

/// Bytes of a line beside its time, its source and its text, which are reserved with it: the keys
/// of JSON, and a number of places.
const MAX_EXTRA_BYTES: usize = 64;

/// The transcript of one client connection or neighbour: the lines received from it and sent to it.
/// Dropping it appends the remaining lines to the log. On a log that is off it does and costs
/// nothing.
///
/// It belongs to one task; call [`Transcript::append_page`] whenever that task is about to wait.
#[derive(Debug)]
pub struct Transcript {
    log: Log,
    /// `None` for a log that is off.
    style: Option<TranscriptStyle>,
    timestamp: LogTimestamp,
    page: Vec<u8>,
    lines: usize,
    /// Capacity to allocate for the next page.
    next_page: usize,
}

impl Transcript {
    /// Creates the transcript of one connection of a client.
    pub fn client(log: &Log, address: impl Display) -> Transcript {
        Transcript::new(log, "client", address)
    }

    /// Creates the transcript of the neighbour of that name.
    pub fn neighbour(log: &Log, name: &str) -> Transcript {
        Transcript::new(log, "neighbour", name)
    }

    /// Returns true if lines are written; otherwise the caller need not format any.
    pub fn is_on(&self) -> bool {
        self.log.is_on()
    }

    /// Sets the time of the lines that follow, in nanoseconds since 1970, UTC. Until it is called
    /// they carry the time at which the transcript was created.
    pub fn set_time(&mut self, unix_nanos: i64) {
        if self.is_on() {
            self.timestamp.set(unix_nanos);
        }
    }

    /// Records a line received, given without its line end.
    pub fn received(&mut self, line: &[u8]) {
        self.write(Direction::In, line, None);
    }

    /// Records a line sent; one line end at its end is removed.
    pub fn sent(&mut self, line: &[u8]) {
        self.write(Direction::Out, without_end(line), None);
    }

    /// Records the response to a WHATSAT: its AT line, and the number of places in it.
    pub fn sent_places(&mut self, at_line: &[u8], places: usize) {
        self.write(Direction::Out, without_end(at_line), Some(places));
    }

    /// Appends the recorded lines to the log and frees the page. Until then they are in no file,
    /// however long that takes: call it before waiting for anything.
    pub fn append_page(&mut self) {
        if self.page.is_empty() {
            return;
        }
        self.log.append(&self.page, self.lines);
        self.next_page = self
            .page
            .len()
            .next_power_of_two()
            .clamp(MIN_PAGE_BYTES, PAGE_BYTES);
        self.page = Vec::new();
        self.lines = 0;
    }

    fn new(log: &Log, kind: &str, name: impl Display) -> Transcript {
        // The log may be muted now, and written later.
        let style = log.style();
        Transcript {
            log: log.clone(),
            style: style.map(|style| style.transcript(kind, &name.to_string())),
            timestamp: LogTimestamp::now(),
            page: Vec::new(),
            lines: 0,
            next_page: MIN_PAGE_BYTES,
        }
    }

    fn write(&mut self, direction: Direction, line: &[u8], places: Option<usize>) {
        let Some(style) = self.style.as_ref().filter(|_| self.log.is_on()) else {
            return;
        };
        if self.page.capacity() == 0 {
            let length = LogTimestamp::LEN + style.source.len() + line.len() + MAX_EXTRA_BYTES;
            self.page
                .reserve(self.next_page.max(MIN_PAGE_BYTES).max(length));
        }
        match style.format {
            LogFormat::Text => {
                self.page.extend_from_slice(self.timestamp.as_bytes());
                self.page.extend_from_slice(&style.source);
                self.page.extend_from_slice(match direction {
                    Direction::In => b"in  ",
                    Direction::Out => b"out ",
                });
                escape_into(&mut self.page, line);
                if let Some(places) = places {
                    let noun = if places == 1 { "place" } else { "places" };
                    let end = format!(" and {places} {noun}");
                    self.page.extend_from_slice(end.as_bytes());
                }
            }
            LogFormat::Json => {
                self.page.extend_from_slice(b"{\"timestamp\":\"");
                self.page.extend_from_slice(self.timestamp.as_bytes());
                self.page.extend_from_slice(&style.source);
                self.page.extend_from_slice(match direction {
                    Direction::In => b"in\",\"line\":",
                    Direction::Out => b"out\",\"line\":",
                });
                json_into(&mut self.page, line);
                if let Some(places) = places {
                    let member = format!(",\"places\":{places}");
                    self.page.extend_from_slice(member.as_bytes());
                }
                self.page.push(b'}');
            }
        }
        self.page.push(b'\n');
        self.lines += 1;
        if self.page.len() >= PAGE_BYTES {
            self.append_page();
        }
    }
}

/// The direction of a line.
#[derive(Clone, Copy, Debug)]
enum Direction {
    /// From the client or neighbour.
    In,
    /// To it.
    Out,
}

impl Drop for Transcript {
    fn drop(&mut self) {
        self.append_page();
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogSettings;
    use std::fs;
    use tempfile::TempDir;

    const NOON: i64 = 1_795_339_865_123_456_789;

    fn open(dir: &TempDir) -> Log {
        let settings = LogSettings {
            dir: dir.path().to_owned(),
            ..LogSettings::default()
        };
        Log::open(&settings, "Riley").unwrap()
    }

    fn read(dir: &TempDir, log: &Log) -> String {
        assert!(log.flush());
        fs::read_to_string(dir.path().join("Riley.log")).unwrap()
    }

    #[test]
    fn lines_have_time_source_and_direction() {
        let dir = TempDir::new().unwrap();
        let log = open(&dir);
        let mut client = Transcript::client(&log, "127.0.0.1:50312");
        client.set_time(NOON);
        client.received(b"IAMAT kiwi +34.0-118.4 1.5");
        client.sent(b"AT Riley +0.2 kiwi +34.0-118.4 1.5\n");
        client.set_time(NOON + 1_000_000_000);
        client.sent_places(b"AT Riley +0.2 kiwi +34.0-118.4 1.5", 5);
        client.sent_places(b"AT Riley +0.2 kiwi +34.0-118.4 1.5\n", 1);
        client.append_page();
        let mut neighbour = Transcript::neighbour(&log, "Jaquez");
        neighbour.set_time(NOON);
        neighbour.received(b"AT Riley +0.2 kiwi +34.0-118.4 1.5");
        drop(neighbour);
        assert_eq!(
            read(&dir, &log),
            "2026-11-22T09:31:05.123456Z client 127.0.0.1:50312 in  IAMAT kiwi +34.0-118.4 1.5\n\
             2026-11-22T09:31:05.123456Z client 127.0.0.1:50312 out AT Riley +0.2 kiwi +34.0-118.4 1.5\n\
             2026-11-22T09:31:06.123456Z client 127.0.0.1:50312 out AT Riley +0.2 kiwi +34.0-118.4 1.5 and 5 places\n\
             2026-11-22T09:31:06.123456Z client 127.0.0.1:50312 out AT Riley +0.2 kiwi +34.0-118.4 1.5 and 1 place\n\
             2026-11-22T09:31:05.123456Z neighbour Jaquez in  AT Riley +0.2 kiwi +34.0-118.4 1.5\n"
        );
    }

    #[test]
    fn lines_of_json_have_time_server_source_and_direction() {
        let dir = TempDir::new().unwrap();
        let settings = LogSettings {
            dir: dir.path().to_owned(),
            format: LogFormat::Json,
            ..LogSettings::default()
        };
        let log = Log::open(&settings, "Riley").unwrap();
        let mut client = Transcript::client(&log, "127.0.0.1:50312");
        client.set_time(NOON);
        client.received(b"WHATSAT \"kiwi\" 10 5\r");
        client.sent_places(b"AT Riley +0.2 kiwi +34.0-118.4 1.5\n", 5);
        drop(client);
        let mut neighbour = Transcript::neighbour(&log, "Jaquez");
        neighbour.set_time(NOON);
        neighbour.received(b"AT Riley \xff");
        drop(neighbour);
        assert_eq!(
            read(&dir, &log),
            r#"{"timestamp":"2026-11-22T09:31:05.123456Z","server":"Riley","client":"127.0.0.1:50312","direction":"in","line":"WHATSAT \"kiwi\" 10 5\\r"}
{"timestamp":"2026-11-22T09:31:05.123456Z","server":"Riley","client":"127.0.0.1:50312","direction":"out","line":"AT Riley +0.2 kiwi +34.0-118.4 1.5","places":5}
{"timestamp":"2026-11-22T09:31:05.123456Z","server":"Riley","neighbour":"Jaquez","direction":"in","line":"AT Riley \\xff"}
"#
        );
    }

    #[test]
    fn a_line_from_outside_cannot_forge_another() {
        let dir = TempDir::new().unwrap();
        let log = open(&dir);
        let mut client = Transcript::client(&log, "1.2.3.4:5\nforged");
        client.set_time(NOON);
        client.received(b"a\r");
        client.sent(b"? a\n2026-11-22T09:31:05.123456Z client 9.9.9.9:9 in  b\x1b[2J\xff\n");
        drop(client);
        assert_eq!(
            read(&dir, &log),
            "2026-11-22T09:31:05.123456Z client 1.2.3.4:5\\nforged in  a\\r\n\
             2026-11-22T09:31:05.123456Z client 1.2.3.4:5\\nforged out ? a\\n2026-11-22T09:31:05.123456Z client 9.9.9.9:9 in  b\\x1b[2J\\xff\n"
        );
    }

    #[test]
    fn pages_are_bounded_and_an_idle_connection_has_none() {
        let dir = TempDir::new().unwrap();
        let log = open(&dir);
        let mut client = Transcript::client(&log, "127.0.0.1:50312");
        let line = [b'a'; 1000];
        for _ in 0..100 {
            client.received(&line);
            assert!(client.page.len() < PAGE_BYTES);
            assert!(client.page.capacity() <= 2 * PAGE_BYTES);
        }
        client.append_page();
        assert_eq!(client.page.capacity(), 0);
        assert_eq!(read(&dir, &log).lines().count(), 100);
    }

    #[test]
    fn on_a_log_that_is_off_nothing_is_recorded() {
        let mut client = Transcript::client(&Log::off(), "127.0.0.1:50312");
        assert!(!client.is_on());
        client.set_time(NOON);
        client.received(b"IAMAT");
        client.sent_places(b"AT", 3);
        assert_eq!((client.page.capacity(), client.style.is_none()), (0, true));
    }
}
