//! The command-line arguments of a measurement.

use std::time::Duration;

use clap::Args;

use crate::model::address::Address;

/// The text after the list of options.
pub const NOTES: &str = "\
Times in the table and in the JSON are as an answer's reader sees them: from the
moment a request was handed to the system (with --rate: was due) until its answer
was read. A server that answers a batch in one write gives all of it one time.

Answers are checked: AT line, name, skew and all three fields, byte for byte; of
places the edges and the status of each answer, and all of the JSON of one in 64.
The checks need each client to report through this bench only: give another
--prefix to each of two benches that aim at one herd at the same time.

The JSON holds load, spread and settled, each null where it was not measured, and
faults. Of a load: all, iamat, whatsat and each of servers have sent, answered,
per_second and latency_us; those times, and the spread's everywhere_us,
resolution_us and us of each server, have count, min, mean, p50, p90, p99, p999
and max in microseconds. settled.everywhere_seconds is null where reports were
lacking. good tells in one word what the exit code does.

Exits with 0 if every answer was right, all came, no connection broke and, where
it was looked for, every report was found in time; with 1 if not, or if there was
no load at all; with 2 if the command line makes no sense. Ctrl-C ends the load
early and still tells what was measured; a second one ends at once.

Examples:
  proxyherd bench                                   the herd of config/herd.toml
  proxyherd bench --server 127.0.0.1:8888 --pipeline 16 --seconds 5
  proxyherd bench --rate 20000 --whatsat 10 --json
  proxyherd bench --spread                          an idle herd
  proxyherd bench --spread --under-load --rate 50000";

/// The options of a measurement, except those that select servers.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// A server to aim at, instead of those of the config; may be
    /// repeated. Anything that speaks the line protocol will do
    #[arg(verbatim_doc_comment)]
    #[arg(long = "server", value_name = "HOST:PORT", value_parser = address)]
    pub servers: Vec<Address>,
    /// Connections, shared out evenly among the servers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    #[arg(default_value_t = 50)]
    pub connections: u32,
    /// Requests of one connection that may be unanswered. Without
    /// --rate they go in batches of that size: one write, then all of
    /// the answers [default: 1; with --rate: 256]
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pipeline: Option<u32>,
    /// End after so many requests (with --spread alone: reports), those
    /// of the warm-up not counted
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(conflicts_with = "seconds")]
    pub requests: Option<u64>,
    /// End after so long, the warm-up not counted [default: 10; with
    /// --spread alone: after 1000 reports]
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "SECONDS", value_parser = some_seconds)]
    pub seconds: Option<Duration>,
    /// Load that does not count, before the load that does
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    pub warmup: Duration,
    /// Clients that report and are asked for, each by one connection.
    /// Every one reports once before the warm-up
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub clients: u32,
    /// Length of client IDs, in bytes: 1 to 255
    #[arg(long, value_name = "BYTES", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..))]
    pub id_length: u8,
    /// What client IDs begin with; a number follows
    #[arg(long, value_name = "TEXT", value_parser = prefix, default_value = "bench-")]
    pub prefix: String,
    /// How much of the load asks what is near, in percent; the rest
    /// reports
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "PERCENT", value_parser = percent, default_value = "0")]
    pub whatsat: f64,
    /// Radius of those questions, in km: 0 to 50
    #[arg(long, value_name = "KM", value_parser = clap::value_parser!(u8).range(0..=50))]
    #[arg(default_value_t = 10)]
    pub radius: u8,
    /// Most places that they ask for: 0 to 20
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=20))]
    #[arg(default_value_t = 5)]
    pub most: u32,
    /// Open loop: so many requests a second over all connections, each
    /// sent when it is due, whether or not those before it are answered
    /// (up to --pipeline of one connection). Its latency counts from
    /// when it was due
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: Option<u64>,
    /// Threads that make the load
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    #[arg(default_value_t = 1)]
    pub threads: u32,
    /// A request without an answer for so long ends its connection; a
    /// report that is not everywhere after so long is late
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "SECONDS", value_parser = some_seconds, default_value = "5")]
    pub timeout: Duration,
    /// Count lines and do not look at them: for servers that only echo
    #[arg(long, conflicts_with_all = ["verify", "spread"])]
    pub unchecked: bool,
    /// After the load, look for the newest report of every client at
    /// every server [default: where there are several servers]
    #[arg(verbatim_doc_comment)]
    #[arg(long)]
    pub verify: bool,
    /// Do not look for them
    #[arg(long, conflicts_with = "verify")]
    pub no_verify: bool,
    /// Measure how long a report takes to be known at each of the other
    /// servers: one report at a time, at one server after the other, while
    /// all of the others are asked for it without a pause
    #[arg(verbatim_doc_comment)]
    #[arg(long)]
    pub spread: bool,
    /// Measure the spread while the load runs, and not by itself
    #[arg(long, requires = "spread")]
    pub under_load: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

fn address(text: &str) -> Result<Address, String> {
    let address = Address::parse(text).map_err(|error| error.to_string())?;
    match address.port() {
        0 => Err("port 0 is nobody's".to_owned()),
        _ => Ok(address),
    }
}

/// The longest accepted time, in seconds: 30 days.
const LONGEST: f64 = 30.0 * 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s| (0.0..=LONGEST).contains(s));
    let seconds =
        seconds.ok_or("it must be a number of seconds, as in 5 or 0.5, of 30 days at most")?;
    Ok(Duration::from_secs_f64(seconds))
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    match time < Duration::from_millis(1) {
        true => Err("it must be a millisecond or more".to_owned()),
        false => Ok(time),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|p| (0.0..=100.0).contains(p));
    percent.ok_or_else(|| "it must be a number from 0 to 100".to_owned())
}

fn prefix(text: &str) -> Result<String, String> {
    match text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("it must be visible ASCII without white space".to_owned()),
    }
}
