//! `proxyherd import`: the reports of files into a server.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::operator_client::{QueryError, RemoteServer};
use crate::proto::{ImportRequest, ImportResponse};
use crate::storage::format::{Content, FORMAT_VERSION, FrameReader};

use super::fan_out::{describe, first_that_answers};
use super::format::{count, escaped, grouped};
use super::outcome::{CommandError, EXIT_CODES, Outcome};
use super::targets::Targets;
use super::{Screen, json};

/// Merge the reports of exports, or of files of a storage, into a running server
///
/// From there the reports spread like others. A report that is older than what the
/// server has changes nothing: files can be imported in any order, and several times.
/// What is damaged in a file is skipped.
///
/// The server is the first one that answers. If the herd uses TLS, the certificate must
/// be that of a server.
///
/// Exit code 1 means that a file could not be imported, or not in full.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXIT_CODES)]
pub(in crate::cli) struct ImportArguments {
    /// The files; - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Also merge reports of another herd
    #[arg(long)]
    other_herd: bool,
    #[command(flatten)]
    pub(super) targets: Targets,
}

/// What became of the reports in a file.
#[derive(Debug, Default, Serialize)]
struct Imported {
    file: String,
    newer: u64,
    duplicate: u64,
    stale: u64,
    /// Number of places in the file that were skipped.
    skipped: u64,
}

pub(super) async fn run(
    arguments: ImportArguments,
    screen: &Screen,
) -> Result<Outcome, CommandError> {
    let servers = arguments.targets.servers()?;
    let (server, status) = first_that_answers(&servers).await.map_err(|error| {
        let error = error.error();
        CommandError::failure(format!(
            "{error}\nan import needs a running server; start one first"
        ))
    })?;
    let (mut all, is_json) = (Vec::new(), arguments.targets.json);
    for path in &arguments.files {
        let imported = import(path, &server, arguments.other_herd).await?;
        if !is_json {
            screen.print(line(&imported, &status.name)).await?;
        }
        all.push(imported);
    }
    if is_json {
        screen.print(json::pretty(&all)).await?;
    }
    let is_whole = all.iter().all(|imported| imported.skipped == 0);
    Ok(Outcome::success_if(is_whole))
}

fn line(imported: &Imported, server: &str) -> String {
    let Imported {
        file,
        newer,
        duplicate,
        stale,
        skipped,
    } = imported;
    let [newer, duplicate, stale] = [newer, duplicate, stale].map(|number| grouped(*number));
    let damage = match skipped {
        0 => String::new(),
        places => format!("; skipped {}", count(*places, "damaged part")),
    };
    format!(
        "imported {file} into {}: {newer} newer, {duplicate} duplicate, {stale} stale{damage}\n",
        escaped(server)
    )
}

async fn import(
    path: &Path,
    server: &RemoteServer,
    other_herd: bool,
) -> Result<Imported, CommandError> {
    let name = match path.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => escaped(&path.display().to_string()),
    };
    let unreadable =
        |error: io::Error| CommandError::failure(format!("cannot read {name}: {error}"));
    let mut reader = FrameReader::new(open(path).map_err(unreadable)?);
    let mut imported = Imported {
        file: name.clone(),
        ..Imported::default()
    };
    let (mut is_begun, mut end) = (false, 0);
    while let Some(frame) = reader.next_frame().map_err(unreadable)? {
        if !is_begun && frame.version != FORMAT_VERSION {
            return Err(CommandError::failure(format!(
                "{name} has version {} of the format, and this program reads version \
                 {FORMAT_VERSION}: use the program that wrote it",
                frame.version
            )));
        }
        is_begun = true;
        end = frame.end;
        imported.skipped += u64::from(frame.is_after_damage);
        match frame.content {
            Content::Changes(changes) => match changes.push() {
                Some(push) => {
                    let request = ImportRequest {
                        changes: push.0.to_vec(),
                        other_herd,
                    };
                    let response = server.import(request).await;
                    imported.add(response.map_err(|error| failed(&name, server, &error))?);
                }
                None => imported.skipped += 1,
            },
            Content::Unknown => imported.skipped += 1,
            Content::Header(_) | Content::Facts(_) => {}
        }
    }
    if !is_begun {
        return Err(CommandError::failure(format!(
            "cannot import {name}: it is no export and no file of a storage"
        )));
    }
    // It ends within a frame, as a file does that was cut off.
    imported.skipped += u64::from(reader.offset() > end);
    Ok(imported)
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        Ok(Box::new(io::stdin()))
    } else {
        Ok(Box::new(File::open(path)?))
    }
}

fn failed(name: &str, server: &RemoteServer, error: &QueryError) -> CommandError {
    let remedy = match error {
        QueryError::Rejected(_) => "",
        _ => "; import it again: what was merged changes nothing then",
    };
    let error = describe(server, error);
    CommandError::failure(format!("cannot import {name}: {error}{remedy}"))
}

impl Imported {
    fn add(&mut self, response: ImportResponse) {
        self.newer += response.newer;
        self.duplicate += response.duplicate;
        self.stale += response.stale;
    }
}
