//! Arguments, validated as a whole.

use crate::model::address::Address;
use crate::places;

use super::arguments::BenchArguments;
use super::clock::nanos;
use super::payload::Payload;
use super::walk::Walk;

/// The default number of unanswered requests on one connection of an open-loop load.
const DEFAULT_OPEN_PIPELINE: u32 = 256;

/// The default length of a load.
const DEFAULT_LOAD_NANOS: u64 = 10_000_000_000;

/// The default number of reports of a spread.
const DEFAULT_SPREAD_REPORTS: u64 = 1_000;

/// The measurements of a run. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub struct BenchSettings {
    /// The distinct servers.
    pub(super) servers: Vec<Address>,
    /// The load, or `None` if only the spread is measured.
    pub(super) load: Option<Load>,
    /// The length of the spread, or `None` if it is not measured.
    pub(super) spread: Option<Length>,
    /// True if every server is checked for the newest report of every client after the load.
    pub(super) checks_convergence: bool,
    /// True to print JSON instead of tables.
    pub(super) json: bool,
    /// The start of client IDs.
    pub(super) prefix: String,
    /// The length of client IDs in bytes.
    pub(super) id_length: usize,
    /// The movement of clients.
    pub(super) walk: Walk,
    /// The time limit of an answer, and of a report until it is at every server.
    pub(super) timeout: u64,
}

/// The end of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// After a number of requests or reports.
    Requests(u64),
    /// After a time in nanoseconds.
    Time(u64),
}

/// The parameters of a load.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) connections: u32,
    pub(super) threads: u32,
    /// The maximum number of unanswered requests of one connection.
    pub(super) pipeline: usize,
    pub(super) length: Length,
    /// The time before the measured part, in nanoseconds.
    pub(super) warmup: u64,
    /// The time limit of an answer, in nanoseconds.
    pub(super) timeout: u64,
    pub(super) clients: u32,
    /// The share of WHATSATs, from 0 to 1.
    pub(super) queries: f64,
    /// The radius of WHATSATs in kilometers.
    pub(super) radius: u8,
    /// The number of places that a WHATSAT requests.
    pub(super) limit: u32,
    /// The requests per second of an open-loop load, `None` for a closed loop.
    pub(super) rate: Option<u64>,
    /// True if answers are checked, false if lines are only counted.
    pub(super) is_checked: bool,
}

impl BenchSettings {
    /// Returns true if the results are printed as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Combines `arguments` and the addresses of the servers.
    ///
    /// # Errors
    ///
    /// Returns a message for people if arguments contradict each other.
    pub fn new(arguments: &BenchArguments, servers: Vec<Address>) -> Result<Self, String> {
        let BenchArguments {
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
        let length = requested_length(arguments);
        let checks_convergence = has_load
            && !arguments.no_verify
            && !arguments.unchecked
            && (arguments.verify || servers.len() > 1);
        Ok(Self {
            load: has_load.then(|| {
                load(
                    arguments,
                    length.unwrap_or(Length::Time(DEFAULT_LOAD_NANOS)),
                )
            }),
            spread: spread.then(|| {
                if *under_load {
                    Length::Requests(u64::MAX)
                } else {
                    length.unwrap_or(Length::Requests(DEFAULT_SPREAD_REPORTS))
                }
            }),
            servers,
            checks_convergence,
            json: *json,
            prefix: prefix.clone(),
            id_length: usize::from(*id_length),
            walk: walk(arguments)?,
            timeout: nanos(arguments.timeout),
        })
    }

    /// Returns the templates of requests whose queries end in `radius` and `limit`.
    pub(super) fn payload(&self, radius: &str, limit: u32) -> Payload {
        Payload::new(&self.prefix, self.id_length, radius, limit).with_walk(&self.walk)
    }
}

fn walk(arguments: &BenchArguments) -> Result<Walk, String> {
    if !arguments.walk {
        return Ok(Walk::default());
    }
    let places = places::compiled_in_points();
    let places = places.map_err(|error| format!("the list of places is broken: {error}"))?;
    Ok(Walk::random(&places))
}

fn load(arguments: &BenchArguments, length: Length) -> Load {
    let pipeline = match (arguments.pipeline, arguments.rate) {
        (Some(pipeline), _) => pipeline,
        (None, Some(_)) => DEFAULT_OPEN_PIPELINE,
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
        queries: arguments.whatsat / 100.0,
        radius: arguments.radius,
        limit: arguments.limit,
        rate: arguments.rate,
        is_checked: !arguments.unchecked,
    }
}

fn requested_length(arguments: &BenchArguments) -> Option<Length> {
    let requests = arguments.requests.map(Length::Requests);
    requests.or(arguments.seconds.map(|time| Length::Time(nanos(time))))
}

fn check_ids(arguments: &BenchArguments) -> Result<(), String> {
    let BenchArguments {
        id_length, prefix, ..
    } = arguments;
    let id_length = usize::from(*id_length);
    if prefix.len() >= id_length {
        return Err(format!(
            "--id-length {id_length} leaves no room for a number after the prefix \"{prefix}\"; \
             use a longer ID or a shorter --prefix"
        ));
    }
    let max_clients = Payload::max_clients(prefix, id_length);
    if u64::from(arguments.clients) > max_clients {
        return Err(format!(
            "{} clients exceed the {max_clients} IDs of {id_length} bytes with the prefix \
             \"{prefix}\"; use fewer --clients or a longer --id-length",
            arguments.clients
        ));
    }
    Ok(())
}

fn check_servers(arguments: &BenchArguments, servers: &[Address]) -> Result<(), String> {
    for (index, server) in servers.iter().enumerate() {
        if servers[..index].contains(server) {
            return Err(format!("server {server} is given twice; remove one"));
        }
    }
    if arguments.spread && servers.len() < 2 {
        return Err("--spread requires two servers or more; add --server HOST:PORT".to_owned());
    }
    Ok(())
}

fn check_load(arguments: &BenchArguments, servers: usize) -> Result<(), String> {
    let BenchArguments {
        connections,
        clients,
        threads,
        ..
    } = arguments;
    if (*connections as usize) < servers {
        return Err(format!(
            "{connections} connections are too few for {servers} servers; use more --connections"
        ));
    }
    if clients < connections {
        return Err(format!(
            "{clients} clients are too few for {connections} connections, which share no client; \
             use more --clients or fewer --connections"
        ));
    }
    if threads > connections {
        return Err(format!(
            "{threads} threads are too many for {connections} connections; use fewer --threads"
        ));
    }
    if arguments.unchecked && arguments.whatsat > 0.0 {
        return Err(
            "--unchecked counts one line for each answer, and the answer to a WHATSAT has several; \
             omit --whatsat"
                .to_owned(),
        );
    }
    Ok(())
}

/// Rejects options of a load if there is none.
fn check_no_load(arguments: &BenchArguments) -> Result<(), String> {
    let options = [
        (arguments.rate.is_some(), "--rate"),
        (arguments.pipeline.is_some(), "--pipeline"),
        (arguments.whatsat > 0.0, "--whatsat"),
        (arguments.verify, "--verify"),
        (arguments.threads > 1, "--threads"),
    ];
    match options.iter().find(|(is_given, _)| *is_given) {
        Some((_, option)) => Err(format!(
            "{option} has no effect, because --spread alone generates no load; add --under-load"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct TestArguments {
        #[command(flatten)]
        arguments: BenchArguments,
    }

    fn settings(line: &str) -> Result<BenchSettings, String> {
        let arguments = std::iter::once("bench").chain(line.split_whitespace());
        let arguments =
            TestArguments::try_parse_from(arguments).map_err(|error| error.to_string())?;
        let servers = arguments.arguments.servers.clone();
        BenchSettings::new(&arguments.arguments, servers)
    }

    const ONE: &str = "--server a:1";
    const TWO: &str = "--server a:1 --server b:1";

    #[test]
    fn defaults_depend_on_the_measurement() {
        let load = |line: &str| settings(line).unwrap().load.unwrap();
        assert_eq!(load(ONE).length, Length::Time(DEFAULT_LOAD_NANOS));
        assert_eq!(load(ONE).pipeline, 1);
        assert_eq!(load(&format!("{ONE} --rate 5")).pipeline, 256);
        assert_eq!(
            load(&format!("{ONE} --requests 7")).length,
            Length::Requests(7)
        );
        assert!(!settings(ONE).unwrap().checks_convergence);
        assert!(
            settings(&format!("{ONE} --verify"))
                .unwrap()
                .checks_convergence
        );
        assert!(settings(TWO).unwrap().checks_convergence);
        assert!(
            !settings(&format!("{TWO} --no-verify"))
                .unwrap()
                .checks_convergence
        );

        let spread = settings(&format!("{TWO} --spread")).unwrap();
        assert_eq!(spread.spread, Some(Length::Requests(1_000)));
        assert!(spread.load.is_none());
        let both = settings(&format!("{TWO} --spread --under-load --seconds 3")).unwrap();
        assert_eq!(both.load.unwrap().length, Length::Time(3_000_000_000));
    }

    #[test]
    fn contradictions_are_rejected_with_advice() {
        for (line, message) in [
            ("--server a:1 --server a:1", "server a:1 is given twice"),
            ("--server a", "it must end in a colon and a port"),
            ("--server a:0", "port 0 is not a server's"),
            ("--server a:1 --spread", "--spread requires two servers"),
            (
                "--server a:1 --server b:1 --connections 1",
                "use more --connections",
            ),
            ("--server a:1 --clients 9", "use more --clients"),
            ("--server a:1 --threads 51", "use fewer --threads"),
            ("--server a:1 --id-length 6", "leaves no room for a number"),
            (
                "--server a:1 --id-length 9",
                "exceed the 1000 IDs of 9 bytes",
            ),
            ("--server a:1 --unchecked --whatsat 5", "omit --whatsat"),
            ("--server a:1 --unchecked --verify", "cannot be used with"),
            ("--server a:1 --verify --no-verify", "cannot be used with"),
            (
                "--server a:1 --requests 5 --seconds 5",
                "cannot be used with",
            ),
            ("--server a:1 --under-load", "--spread"),
            ("--server a:1 --whatsat 101", "a number from 0 to 100"),
            ("--server a:1 --seconds 0", "at least a millisecond"),
            ("--server a:1 --seconds -1", "unexpected argument"),
            ("--server a:1 --seconds NaN", "a number of seconds"),
            (
                "--server a:1 --server b:1 --spread --rate 5",
                "add --under-load",
            ),
            ("--server a:1 --pipeline 0", "0 is not in 1..=100000"),
        ] {
            let error = settings(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
