//! The lines of a log, in its format.
//!
//! Text on standard output names the server, since several may write there; in a file the file's
//! name does. JSON names it always.

use tracing::{Event, Level, Metadata};

use super::escape::{escape_into, json_into};
use super::event::{EventJson, is_of_this_crate};
use super::settings::{LogFormat, LogSettings};
use super::timestamp::LogTimestamp;

/// The name of the server in lines on standard output that belong to none.
const NO_SERVER: &str = "-";

/// The form of the lines of one log.
#[derive(Debug)]
pub(super) struct LineStyle {
    format: LogFormat,
    server: String,
    is_on_stdout: bool,
}

/// The parts of a transcript's lines that do not change.
#[derive(Debug)]
pub(super) struct TranscriptStyle {
    pub(super) format: LogFormat,
    /// What follows the time.
    pub(super) source: Box<[u8]>,
}

impl LineStyle {
    /// Creates the style of the log of `server`.
    pub(super) fn new(settings: &LogSettings, server: &str) -> Self {
        Self {
            format: settings.format,
            server: server.to_owned(),
            is_on_stdout: settings.is_on_stdout(),
        }
    }

    /// Returns true if the log goes to standard output, which others may share.
    pub(super) fn is_on_stdout(&self) -> bool {
        self.is_on_stdout
    }

    /// Formats an event of `server`, whose message and fields as text are `text`:
    /// `2026-11-22T09:31:05.123456Z INFO  link is up neighbour=Jaquez`, or
    /// `{"timestamp":"2026-11-22T09:31:05.123456Z","level":"INFO","server":"Riley",...}`.
    pub(super) fn event(&self, event: &Event<'_>, server: Option<&str>, text: &[u8]) -> Vec<u8> {
        let metadata = event.metadata();
        match self.format {
            LogFormat::Text => {
                let mut line = self.text_head(*metadata.level(), server);
                append_text(&mut line, metadata, text);
                line
            }
            LogFormat::Json => {
                let mut line = json_head(*metadata.level(), server);
                let EventJson { message, fields } = EventJson::of(event);
                append_member(&mut line, "target", metadata.target());
                line.extend_from_slice(b",\"message\":");
                line.extend_from_slice(&message);
                if !fields.is_empty() {
                    line.extend_from_slice(b",\"fields\":{");
                    line.extend_from_slice(&fields);
                    line.push(b'}');
                }
                line.extend_from_slice(b"}\n");
                line
            }
        }
    }

    /// Formats a warning of the log itself.
    pub(super) fn warning(&self, message: &str) -> Vec<u8> {
        match self.format {
            LogFormat::Text => {
                let mut line = self.text_head(Level::WARN, Some(&self.server));
                escape_into(&mut line, message.as_bytes());
                line.push(b'\n');
                line
            }
            LogFormat::Json => {
                let mut line = json_head(Level::WARN, Some(&self.server));
                append_member(&mut line, "target", module_path!());
                append_member(&mut line, "message", message);
                line.extend_from_slice(b"}\n");
                line
            }
        }
    }

    /// Returns the style of the transcript of one connection: `kind` is client or neighbour.
    pub(super) fn transcript(&self, kind: &str, name: &str) -> TranscriptStyle {
        let mut source = Vec::new();
        match self.format {
            LogFormat::Text => {
                let server = self.is_on_stdout.then(|| format!(" {}", self.server));
                let server = server.unwrap_or_default();
                escape_into(&mut source, format!("{server} {kind} {name} ").as_bytes());
            }
            LogFormat::Json => {
                source.push(b'"'); // of the time
                append_member(&mut source, "server", &self.server);
                append_member(&mut source, kind, name);
                source.extend_from_slice(b",\"direction\":\"");
            }
        }
        TranscriptStyle {
            format: self.format,
            source: source.into_boxed_slice(),
        }
    }

    /// Returns the head of a line of text: time, server if lines name it, level.
    fn text_head(&self, level: Level, server: Option<&str>) -> Vec<u8> {
        let mut line = LogTimestamp::now().as_bytes().to_vec();
        if self.is_on_stdout {
            line.push(b' ');
            escape_into(&mut line, server.unwrap_or(NO_SERVER).as_bytes());
        }
        line.extend_from_slice(format!(" {:<5} ", level.as_str()).as_bytes());
        line
    }
}

/// Appends the target, if it is a library's, the text of an event, and a line end.
pub(super) fn append_text(line: &mut Vec<u8>, metadata: &Metadata<'_>, text: &[u8]) {
    if !is_of_this_crate(metadata.target()) {
        escape_into(line, metadata.target().as_bytes());
        line.extend_from_slice(b": ");
    }
    line.extend_from_slice(text);
    line.push(b'\n');
}

/// Returns the begin of a JSON object: time, level, server if there is one.
fn json_head(level: Level, server: Option<&str>) -> Vec<u8> {
    let mut line = b"{\"timestamp\":\"".to_vec();
    line.extend_from_slice(LogTimestamp::now().as_bytes());
    line.extend_from_slice(format!("\",\"level\":\"{level}\"").as_bytes());
    if let Some(server) = server {
        append_member(&mut line, "server", server);
    }
    line
}

/// Appends a member to an object that has one. `key` needs no escapes.
fn append_member(line: &mut Vec<u8>, key: &str, value: &str) {
    line.extend_from_slice(format!(",\"{key}\":").as_bytes());
    json_into(line, value.as_bytes());
}
