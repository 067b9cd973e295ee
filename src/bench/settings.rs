//! Arguments into settings that make sense together.

use crate::model::address::Address;

use super::arguments::Arguments;
use super::clock::nanos;
use super::payload::Payload;

/// How many requests may be unanswered on one connection of an open-loop load
/// where nothing else is said.
const OPEN_PIPELINE: u32 = 256;

/// How long a load is where nothing is said, in nanoseconds.
const DEFAULT_TIME: u64 = 10_000_000_000;

/// How many reports are spread where nothing is said.
const DEFAULT_ROUNDS: u64 = 1_000;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct BenchSettings {
    /// The servers, each once.
    pub(super) servers: Vec<Address>,
    /// The load, unless the spread is measured by itself.
    pub(super) load: Option<Load>,
    /// Whether, and for how long, the spread is measured.
    pub(super) spread: Option<Length>,
    /// Whether the newest report of every client is looked for in the end.
    pub(super) verifies: bool,
    /// Print JSON.
    pub(super) json: bool,
    pub(super) prefix: String,
    pub(super) id_length: usize,
    /// How long an answer, or a report, may take, in nanoseconds.
    pub(super) timeout: u64,
}

/// When a measurement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// After so many requests, or reports.
    Requests(u64),
    /// After so many nanoseconds.
    Time(u64),
}

/// A load.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) connections: u32,
    pub(super) threads: u32,
    pub(super) pipeline: usize,
    pub(super) length: Length,
    /// In nanoseconds.
    pub(super) warmup: u64,
    /// In nanoseconds.
    pub(super) timeout: u64,
    pub(super) clients: u32,
    /// The share of questions, from 0 to 1.
    pub(super) questions: f64,
    pub(super) radius: u8,
    pub(super) most: u32,
    /// Requests a second, of an open-loop load.
    pub(super) rate: Option<u64>,
    pub(super) is_checked: bool,
}

impl BenchSettings {
    /// What `arguments` ask for, aimed at `servers`. Fails with words for
    /// people where parts of it contradict each other.
    pub fn new(arguments: &Arguments, servers: Vec<Address>) -> Result<Self, String> {
        let Arguments {
            id_length,
            prefix,
            spread,
            under_load,
            json,
            ..
        } = arguments;
        check_ids(arguments)?;
        check_servers(arguments, &servers)?;
        let has_load = !spread || *under_load;
        if has_load {
            check_load(arguments, servers.len())?;
        } else {
            check_no_load(arguments)?;
        }
        let length = asked_length(arguments);
        let verifies = has_load
            && !arguments.no_verify
            && !arguments.unchecked
            && (arguments.verify || servers.len() > 1);
        Ok(Self {
            load: has_load.then(|| load(arguments, length.unwrap_or(Length::Time(DEFAULT_TIME)))),
            spread: spread.then(|| match under_load {
                true => Length::Requests(u64::MAX),
                false => length.unwrap_or(Length::Requests(DEFAULT_ROUNDS)),
            }),
            servers,
            verifies,
            json: *json,
            prefix: prefix.clone(),
            id_length: usize::from(*id_length),
            timeout: nanos(arguments.timeout),
        })
    }
}

fn load(arguments: &Arguments, length: Length) -> Load {
    let pipeline = match (arguments.pipeline, arguments.rate) {
        (Some(pipeline), _) => pipeline,
        (None, Some(_)) => OPEN_PIPELINE,
        (None, None) => 1,
    };
    Load {
        connections: arguments.connections,
        threads: arguments.threads,
        pipeline: pipeline as usize,
        length,
        warmup: nanos(arguments.warmup),
        timeout: nanos(arguments.timeout),
        clients: arguments.clients,
        questions: arguments.whatsat / 100.0,
        radius: arguments.radius,
        most: arguments.most,
        rate: arguments.rate,
        is_checked: !arguments.unchecked,
    }
}

fn asked_length(arguments: &Arguments) -> Option<Length> {
    let requests = arguments.requests.map(Length::Requests);
    requests.or(arguments.seconds.map(|time| Length::Time(nanos(time))))
}

fn check_ids(arguments: &Arguments) -> Result<(), String> {
    let Arguments {
        id_length, prefix, ..
    } = arguments;
    let id_length = usize::from(*id_length);
    if prefix.len() >= id_length {
        return Err(format!(
            "--id-length {id_length} leaves no room for a number behind the prefix \"{prefix}\": \
             take a longer ID or a shorter --prefix"
        ));
    }
    let most = Payload::most_clients(prefix, id_length);
    match u64::from(arguments.clients) > most {
        true => Err(format!(
            "there are only {most} IDs of {id_length} bytes behind the prefix \"{prefix}\", and \
             {} clients: take fewer --clients or a longer --id-length",
            arguments.clients
        )),
        false => Ok(()),
    }
}

fn check_servers(arguments: &Arguments, servers: &[Address]) -> Result<(), String> {
    for (index, server) in servers.iter().enumerate() {
        if servers[..index].contains(server) {
            return Err(format!("server {server} is named twice"));
        }
    }
    match arguments.spread && servers.len() < 2 {
        true => Err("--spread needs two servers or more".to_owned()),
        false => Ok(()),
    }
}

fn check_load(arguments: &Arguments, servers: usize) -> Result<(), String> {
    let Arguments {
        connections,
        clients,
        threads,
        ..
    } = arguments;
    if (*connections as usize) < servers {
        return Err(format!(
            "{servers} servers need {servers} connections or more, and there are {connections}"
        ));
    }
    if clients < connections {
        return Err(format!(
            "each of {connections} connections speaks for other clients, and there are {clients}: \
             take more --clients or fewer --connections"
        ));
    }
    if threads > connections {
        return Err(format!(
            "{threads} threads have nothing to do with {connections} connections: take fewer --threads"
        ));
    }
    match arguments.unchecked && arguments.whatsat > 0.0 {
        true => Err("--unchecked counts lines, and the answer to a WHATSAT has many".to_owned()),
        false => Ok(()),
    }
}

/// By itself, the spread is measured without a load.
fn check_no_load(arguments: &Arguments) -> Result<(), String> {
    let asked = [
        (arguments.rate.is_some(), "--rate"),
        (arguments.pipeline.is_some(), "--pipeline"),
        (arguments.whatsat > 0.0, "--whatsat"),
        (arguments.verify, "--verify"),
        (arguments.threads > 1, "--threads"),
    ];
    match asked.iter().find(|(is_asked, _)| *is_asked) {
        Some((_, option)) => Err(format!(
            "--spread by itself makes no load, so that {option} has no meaning: add --under-load"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn settings(line: &str) -> Result<BenchSettings, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let arguments = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let servers = arguments.arguments.servers.clone();
        BenchSettings::new(&arguments.arguments, servers)
    }

    const ONE: &str = "--server a:1";
    const TWO: &str = "--server a:1 --server b:1";

    #[test]
    fn defaults_depend_on_what_is_measured() {
        let load = |line: &str| settings(line).unwrap().load.unwrap();
        assert_eq!(load(ONE).length, Length::Time(DEFAULT_TIME));
        assert_eq!(load(ONE).pipeline, 1);
        assert_eq!(load(&format!("{ONE} --rate 5")).pipeline, 256);
        assert_eq!(
            load(&format!("{ONE} --requests 7")).length,
            Length::Requests(7)
        );
        assert!(!settings(ONE).unwrap().verifies);
        assert!(settings(&format!("{ONE} --verify")).unwrap().verifies);
        assert!(settings(TWO).unwrap().verifies);
        assert!(!settings(&format!("{TWO} --no-verify")).unwrap().verifies);

        let spread = settings(&format!("{TWO} --spread")).unwrap();
        assert_eq!(spread.spread, Some(Length::Requests(1_000)));
        assert!(spread.load.is_none());
        let both = settings(&format!("{TWO} --spread --under-load --seconds 3")).unwrap();
        assert_eq!(both.load.unwrap().length, Length::Time(3_000_000_000));
    }

    #[test]
    fn nonsense_is_refused_with_a_way_out() {
        for (line, words) in [
            ("--server a:1 --server a:1", "server a:1 is named twice"),
            ("--server a", "it must end in a colon and a port"),
            ("--server a:0", "port 0 is nobody's"),
            ("--server a:1 --spread", "--spread needs two servers"),
            (
                "--server a:1 --server b:1 --connections 1",
                "2 servers need 2",
            ),
            ("--server a:1 --clients 9", "take more --clients"),
            ("--server a:1 --threads 51", "take fewer --threads"),
            ("--server a:1 --id-length 6", "leaves no room for a number"),
            ("--server a:1 --id-length 9", "only 1000 IDs of 9 bytes"),
            ("--server a:1 --unchecked --whatsat 5", "has many"),
            ("--server a:1 --unchecked --verify", "cannot be used with"),
            ("--server a:1 --verify --no-verify", "cannot be used with"),
            (
                "--server a:1 --requests 5 --seconds 5",
                "cannot be used with",
            ),
            ("--server a:1 --under-load", "--spread"),
            ("--server a:1 --whatsat 101", "a number from 0 to 100"),
            ("--server a:1 --seconds 0", "a millisecond or more"),
            ("--server a:1 --seconds -1", "unexpected argument"),
            ("--server a:1 --seconds NaN", "a number of seconds"),
            (
                "--server a:1 --server b:1 --spread --rate 5",
                "add --under-load",
            ),
            ("--server a:1 --pipeline 0", "0 is not in 1..=100000"),
        ] {
            let error = settings(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
