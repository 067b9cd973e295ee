//! `proxyherd export`: all reports of a server as a file.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tonic::Streaming;

use crate::gateway::Clock;
use crate::output::{PatientWriter, print};
use crate::proto::PushFrame;
use crate::replication::Incarnation;
use crate::replication::feed_reader::FeedReader;
use crate::replication::lineage::Lineage;
use crate::server::{self, StoredState};
use crate::storage::format::{self as file_format, Header};
use crate::wire::{self, PushError};

use super::fan_out::{describe, first_that_answers};
use super::format::{count, escaped};
use super::json;
use super::outcome::{CommandError, EXIT_CODES, Outcome};
use super::targets::Targets;
use crate::operator_client::QueryError;

/// Write all reports of a server to a file
///
/// The file is a backup, the seed of another herd, or what a site without a network
/// sends to others: `proxyherd import` merges it into any server. It is complete when
/// it has its name.
///
/// The server is the first one that answers. If none does, and a server of the config
/// has its storage on this machine and does not run, the file is made from that.
///
/// Exit code 1 means that no file was made, or that a part of the storage could not be
/// read.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXIT_CODES)]
pub(in crate::cli) struct ExportArguments {
    /// The file to write; - for standard output
    file: PathBuf,
    #[command(flatten)]
    pub(super) targets: Targets,
}

/// The source of an export.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Server,
    Storage,
}

/// What an export wrote.
#[derive(Debug, Serialize)]
struct Exported {
    server: String,
    herd: String,
    source: Source,
    reports: u64,
    bytes: u64,
    /// Number of parts of the storage that could not be read.
    unreadable: u64,
}

pub(super) async fn run(arguments: ExportArguments) -> Result<Outcome, CommandError> {
    let ExportArguments { file, targets } = arguments;
    let mut out = Output::open(&file)?;
    let servers = targets.servers()?;
    let exported = match first_that_answers(&servers).await {
        Ok((server, _)) => {
            let failed = |error| CommandError::failure(describe(&server, &error));
            let messages = server.export().await.map_err(failed)?;
            let received = from_server(messages, targets.timeout(), &mut out).await;
            received.map_err(|error| match error {
                ExportError::Query(error) => failed(error),
                ExportError::Write(error) => cannot_write(&file, &error),
            })?
        }
        Err(error) => match stored(&targets)? {
            Some(state) => {
                from_storage(&state, &mut out).map_err(|error| cannot_write(&file, &error))?
            }
            None => return Err(error),
        },
    };
    out.finish().map_err(|error| cannot_write(&file, &error))?;
    report(&exported, &file, targets.json)?;
    Ok(Outcome::success_if(exported.unreadable == 0))
}

/// Prints what was written: to standard error, if the file is standard output.
fn report(exported: &Exported, file: &Path, is_json: bool) -> Result<(), CommandError> {
    let Exported {
        server,
        reports,
        bytes,
        ..
    } = exported;
    let text = if is_json {
        json::pretty(exported)
    } else {
        let source = match exported.source {
            Source::Server => server.clone(),
            Source::Storage => format!("the storage of {server}, which does not run,"),
        };
        let (reports, bytes) = (count(*reports, "report"), count(*bytes, "byte"));
        let lost = match exported.unreadable {
            0 => String::new(),
            parts => format!("; {} could not be read", count(parts, "part")),
        };
        let name = if is_stdout(file) {
            "standard output".to_owned()
        } else {
            escaped(&file.display().to_string())
        };
        format!("exported {reports} of {source} to {name}: {bytes}{lost}\n")
    };
    if is_stdout(file) {
        PatientWriter(io::stderr()).write_all(text.as_bytes())?;
    } else {
        print(&text)?;
    }
    Ok(())
}

fn cannot_write(file: &Path, error: &io::Error) -> CommandError {
    let file = file.display();
    CommandError::failure(format!(
        "cannot write {file}: {error}; nothing was exported"
    ))
}

fn is_stdout(file: &Path) -> bool {
    file == Path::new("-")
}

/// The reason why an export broke off.
enum ExportError {
    Query(QueryError),
    Write(io::Error),
}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

async fn from_server(
    mut messages: Streaming<PushFrame>,
    limit: std::time::Duration,
    out: &mut Output,
) -> Result<Exported, ExportError> {
    let mut exported = None;
    loop {
        let next = tokio::time::timeout(limit, messages.message()).await;
        let next = next.map_err(|_| ExportError::Query(QueryError::Timeout(limit)))?;
        match next.map_err(|status| ExportError::Query(status.into()))? {
            Some(message) => write(&message, Source::Server, &mut exported, out)?,
            None => break,
        }
    }
    let nothing = || ExportError::Query(QueryError::Invalid("an empty export".to_owned()));
    exported.ok_or_else(nothing)
}

fn from_storage(state: &StoredState, out: &mut Output) -> io::Result<Exported> {
    let (replica, report) = (&state.replica, &state.report);
    let mut reader = FeedReader::after(0);
    let mut exported = None;
    loop {
        let message = wire::next_export(replica, &mut reader);
        match write(&message, Source::Storage, &mut exported, out) {
            Ok(()) => {}
            Err(ExportError::Write(error)) => return Err(error),
            Err(ExportError::Query(_)) => unreachable!("the message was made here"),
        }
        if reader.position() >= replica.store().last() {
            break;
        }
    }
    let mut exported = exported.expect("a message was written");
    exported.unreadable = report.damaged + report.unknown + report.unused.len() as u64;
    Ok(exported)
}

/// Writes a message, after a header if it is the first.
fn write(
    message: &PushFrame,
    source: Source,
    exported: &mut Option<Exported>,
    out: &mut Output,
) -> Result<(), ExportError> {
    let invalid = |error: PushError| ExportError::Query(QueryError::Invalid(error.to_string()));
    let push = wire::read_push(message).map_err(invalid)?;
    let reports = push.reports().map_err(invalid)?.len() as u64;
    let header = push.header;
    let mut bytes = Vec::new();
    let exported = match exported {
        Some(exported) => exported,
        None => {
            let incarnation = Incarnation::new(header.sender_incarnation);
            let no_incarnation = || QueryError::Invalid("it named no incarnation".to_owned());
            let header = Header {
                herd: header.herd.to_owned(),
                server: header.sender.to_owned(),
                incarnation: incarnation.ok_or_else(|| ExportError::Query(no_incarnation()))?,
                lineage: Lineage::default(),
            };
            header.write(&mut bytes);
            exported.insert(Exported {
                server: escaped(&header.server),
                herd: escaped(&header.herd),
                source,
                reports: 0,
                bytes: 0,
                unreadable: 0,
            })
        }
    };
    if reports > 0 {
        file_format::write_changes(&mut bytes, message);
    }
    exported.reports += reports;
    exported.bytes += bytes.len() as u64;
    out.write(&bytes)?;
    Ok(())
}

/// Returns the state of the first server that has its storage on this machine and does not run.
fn stored(targets: &Targets) -> Result<Option<StoredState>, CommandError> {
    let Some(config) = targets.config()? else {
        return Ok(None);
    };
    let named = config
        .servers
        .iter()
        .filter(|server| targets.includes(server));
    for server in named {
        let read = server::read_stored(&config.plan(server), &Clock::system());
        if let Some(state) = read.map_err(CommandError::failure)? {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// The file that is written, or standard output.
enum Output {
    Stdout,
    /// The file has another name until it is complete.
    File {
        file: File,
        unfinished: PathBuf,
        path: PathBuf,
    },
}

impl Output {
    fn open(path: &Path) -> Result<Self, CommandError> {
        if is_stdout(path) {
            if io::stdout().is_terminal() {
                return Err(CommandError::usage(
                    "an export is not text, and standard output is a terminal: redirect it, or name \
                     a file",
                ));
            }
            return Ok(Self::Stdout);
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let file = File::create(&unfinished).map_err(|error| cannot_write(&unfinished, &error))?;
        Ok(Self::File {
            file,
            unfinished,
            path: path.to_owned(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => PatientWriter(io::stdout()).write_all(bytes),
            Self::File { file, .. } => file.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        match &self {
            Self::Stdout => Ok(()),
            Self::File {
                file,
                unfinished,
                path,
            } => {
                file.sync_all()?;
                fs::rename(unfinished, path)
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Self::File { unfinished, .. } = self {
            // It has another name if it is complete.
            let _ = fs::remove_file(unfinished);
        }
    }
}
