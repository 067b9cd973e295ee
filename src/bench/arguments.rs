//! The command-line arguments of a measurement.

use std::time::Duration;

use clap::Args;

use crate::model::address::Address;

/// The text after the list of options.
pub const NOTES: &str = "\
Latencies in the tables and in the JSON are those that the reader of an answer
sees: from the moment at which a request was handed to the system (with --rate:
was due) until its answer was read. If a server answers a batch in one write, all
of its requests have the same latency.

Answers are checked byte for byte: AT line, name, skew and all three fields. Of
places, the beginning, the end and the status of each answer are checked, and the
whole JSON of one answer in 64. The checks require that each client reports only
through this bench: give each of two simultaneous benches of one herd its own
--prefix.

The JSON contains load, spread and convergence, each null if it was not measured,
and faults. In load, the objects all, iamat, whatsat and each of servers have
sent, answered, per_second and latency_us. Latencies and the spread's
everywhere_us, resolution_us and us of each server have count, min, mean, p50,
p90, p99, p999 and max in microseconds. convergence.everywhere_seconds is null if
a report was missing. good is true if the exit code is 0.

Exits with 0 if every answer was correct, none was missing, no connection broke
and, if checked, every report was at every server in time; with 1 otherwise, or if
nothing was measured; with 2 if the command line is invalid. Ctrl-C ends the load
early and prints the results so far; a second Ctrl-C exits immediately.

Examples:
  proxyherd bench                                   the herd of config/herd.toml
  proxyherd bench --server 127.0.0.1:8888 --pipeline 16 --seconds 5
  proxyherd bench --rate 20000 --whatsat 10 --json
  proxyherd bench --walk --rate 2000 --seconds 600  for the map of the web page
  proxyherd bench --spread                          an idle herd
  proxyherd bench --spread --under-load --rate 50000";

/// The options of a measurement.
#[derive(Args, Clone, Debug)]
pub struct BenchArguments {
    /// Server to measure, in place of those of the config; may be
    /// repeated. Any server of the line protocol works
    #[arg(verbatim_doc_comment)]
    #[arg(long = "server", value_name = "HOST:PORT", value_parser = address)]
    pub servers: Vec<Address>,
    /// Connections, distributed evenly over the servers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    #[arg(default_value_t = 50)]
    pub connections: u32,
    /// Maximum number of unanswered requests of one connection.
    /// Without --rate requests are sent in batches of this size: one
    /// write, then all answers [default: 1; with --rate: 256]
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pipeline: Option<u32>,
    /// End after this number of requests (with --spread alone: of
    /// reports), without those of the warm-up
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(conflicts_with = "seconds")]
    pub requests: Option<u64>,
    /// End after this time, without the warm-up [default: 10; with
    /// --spread alone: after 1000 reports]
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds)]
    pub seconds: Option<Duration>,
    /// Load before the measured load, which does not count
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    pub warmup: Duration,
    /// Clients, each reporting and queried on one connection. Each
    /// reports once before the warm-up
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub clients: u32,
    /// Length of client IDs in bytes: 1 to 255
    #[arg(long, value_name = "BYTES", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..))]
    pub id_length: u8,
    /// Start of client IDs; a number follows
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = prefix,
          default_value = "bench-")]
    pub prefix: String,
    /// Clients walk and drive at random around a thousand towns all over
    /// the world, for the map of the web page. Without it they move to
    /// and fro in eight cities
    #[arg(verbatim_doc_comment)]
    #[arg(long)]
    pub walk: bool,
    /// Share of WHATSAT queries in percent; the rest are IAMAT reports
    #[arg(long, value_name = "PERCENT", value_parser = percent, default_value = "0")]
    pub whatsat: f64,
    /// Radius of WHATSAT queries in km: 0 to 50
    #[arg(long, value_name = "KM", value_parser = clap::value_parser!(u8).range(0..=50))]
    #[arg(default_value_t = 10)]
    pub radius: u8,
    /// Number of places that a WHATSAT query requests: 0 to 20
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=20))]
    #[arg(default_value_t = 5)]
    pub limit: u32,
    /// Open loop: this number of requests a second over all
    /// connections, each sent when it is due, whether or not earlier
    /// ones are answered (up to --pipeline of one connection).
    /// Latency counts from the due time
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: Option<u64>,
    /// Threads that generate the load
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    #[arg(default_value_t = 1)]
    pub threads: u32,
    /// Time limit: a request without an answer ends its connection, and
    /// a report that is not at every server is late
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, default_value = "5")]
    pub timeout: Duration,
    /// Count lines without checking them, for servers that only echo
    #[arg(long, conflicts_with_all = ["verify", "spread"])]
    pub unchecked: bool,
    /// After the load, check every server for the newest report of
    /// every client [default: with several servers]
    #[arg(verbatim_doc_comment)]
    #[arg(long)]
    pub verify: bool,
    /// Omit that check
    #[arg(long, conflicts_with = "verify")]
    pub no_verify: bool,
    /// Measure the time until a report is at each of the other servers:
    /// one report at a time, at one server after another, while all
    /// other servers are queried for it continuously
    #[arg(verbatim_doc_comment)]
    #[arg(long)]
    pub spread: bool,
    /// Measure the spread while the load runs
    #[arg(long, requires = "spread")]
    pub under_load: bool,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

fn address(text: &str) -> Result<Address, String> {
    let address = Address::parse(text).map_err(|error| error.to_string())?;
    if address.port() == 0 {
        return Err("port 0 is not a server's".to_owned());
    }
    Ok(address)
}

/// The longest accepted time: 30 days.
const MAX_SECONDS: f64 = 30.0 * 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let is_accepted = |seconds: &f64| (0.0..=MAX_SECONDS).contains(seconds);
    let seconds = text.parse().ok().filter(is_accepted);
    let seconds =
        seconds.ok_or("it must be a number of seconds, as in 5 or 0.5, of at most 30 days")?;
    Ok(Duration::from_secs_f64(seconds))
}

fn positive_seconds(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    if time < Duration::from_millis(1) {
        return Err("it must be at least a millisecond".to_owned());
    }
    Ok(time)
}

fn percent(text: &str) -> Result<f64, String> {
    let is_accepted = |percent: &f64| (0.0..=100.0).contains(percent);
    let percent = text.parse().ok().filter(is_accepted);
    percent.ok_or_else(|| "it must be a number from 0 to 100".to_owned())
}

fn prefix(text: &str) -> Result<String, String> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it must be visible ASCII without white space".to_owned());
    }
    Ok(text.to_owned())
}
