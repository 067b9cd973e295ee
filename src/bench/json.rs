//! The results as one JSON object.
//!
//! Times are in microseconds where a key contains `us`, in seconds otherwise. A part that
//! was not measured is `null`.

use serde::Serialize;

use super::convergence::Convergence;
use super::load::Loaded;
use super::report::BenchReport;
use super::settings::{Length, Load};
use super::spread::Spread;
use super::table::per_second;
use super::tally::{Requests, Times};
use super::workload::Kind;

/// Returns the results as pretty-printed JSON with a trailing newline.
pub(super) fn json(outcome: &BenchReport<'_>) -> String {
    let all = All::of(outcome);
    let mut text = serde_json::to_string_pretty(&all).expect("numbers and texts become JSON");
    text.push('\n');
    text
}

#[derive(Serialize)]
struct All {
    proxyherd: &'static str,
    stopped_early: bool,
    good: bool,
    load: Option<LoadPart>,
    spread: Option<SpreadPart>,
    settled: Option<SettledPart>,
    faults: FaultsPart,
}

#[derive(Serialize)]
struct LoadPart {
    connections: u32,
    threads: u32,
    pipeline: usize,
    clients: u32,
    whatsat_percent: f64,
    rate: Option<u64>,
    warmup_seconds: f64,
    asked_requests: Option<u64>,
    asked_seconds: Option<f64>,
    seconds: f64,
    unsent: u64,
    all: RequestsPart,
    iamat: RequestsPart,
    whatsat: RequestsPart,
    servers: Vec<ServerPart>,
}

#[derive(Serialize)]
struct ServerPart {
    address: String,
    name: String,
    #[serde(flatten)]
    requests: RequestsPart,
    wrong: u64,
    missing: u64,
    unexpected: u64,
    broken: u64,
}

#[derive(Serialize)]
struct RequestsPart {
    sent: u64,
    answered: u64,
    per_second: f64,
    latency_us: Option<TimesPart>,
}

#[derive(Serialize)]
struct TimesPart {
    count: u64,
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Serialize)]
struct SpreadPart {
    reports: u64,
    late: u64,
    everywhere_us: Option<TimesPart>,
    resolution_us: Option<TimesPart>,
    servers: Vec<SpreadServerPart>,
}

#[derive(Serialize)]
struct SpreadServerPart {
    address: String,
    name: String,
    us: Option<TimesPart>,
}

#[derive(Serialize)]
struct SettledPart {
    clients: usize,
    everywhere_seconds: Option<f64>,
    servers: Vec<SettledServerPart>,
}

#[derive(Serialize)]
struct SettledServerPart {
    address: String,
    name: String,
    lacking: u64,
    lacked_until_seconds: f64,
    complete_seconds: f64,
    error: Option<String>,
}

#[derive(Serialize)]
struct FaultsPart {
    wrong: u64,
    missing: u64,
    unexpected: u64,
    broken: u64,
    examples: Vec<String>,
}

impl All {
    fn of(outcome: &BenchReport<'_>) -> Self {
        let load = outcome.settings.load.as_ref().zip(outcome.loaded.as_ref());
        let spread = outcome.spread.as_ref();
        let settled = outcome.settled.as_ref();
        Self {
            proxyherd: env!("CARGO_PKG_VERSION"),
            stopped_early: outcome.stopped_early,
            good: outcome.complaint().is_none(),
            load: load.map(|(load, loaded)| LoadPart::of(outcome, load, loaded)),
            spread: spread.map(|spread| SpreadPart::of(outcome, spread)),
            settled: settled.map(|settled| SettledPart::of(outcome, settled)),
            faults: FaultsPart::of(outcome),
        }
    }
}

impl LoadPart {
    fn of(outcome: &BenchReport<'_>, load: &Load, loaded: &Loaded) -> Self {
        let tally = &loaded.tally;
        let seconds = tally.seconds();
        let (asked_requests, asked_seconds) = match load.length {
            Length::Requests(count) => (Some(count), None),
            Length::Time(nanos) => (None, Some(nanos as f64 / 1e9)),
        };
        let servers = tally.servers.iter().enumerate();
        let servers = servers.map(|(number, server)| ServerPart {
            address: outcome.settings.servers[number].to_string(),
            name: outcome.name(number),
            requests: RequestsPart::of(&server.all(), seconds),
            wrong: server.faults.wrong,
            missing: server.faults.missing,
            unexpected: server.faults.unexpected,
            broken: server.faults.broken,
        });
        Self {
            connections: load.connections,
            threads: load.threads,
            pipeline: load.pipeline,
            clients: load.clients,
            whatsat_percent: load.questions * 100.0,
            rate: load.rate,
            warmup_seconds: load.warmup as f64 / 1e9,
            asked_requests,
            asked_seconds,
            seconds,
            unsent: tally.unsent(),
            all: RequestsPart::of(&tally.all(), seconds),
            iamat: RequestsPart::of(&tally.kind(Kind::Iamat), seconds),
            whatsat: RequestsPart::of(&tally.kind(Kind::Whatsat), seconds),
            servers: servers.collect(),
        }
    }
}

impl RequestsPart {
    fn of(requests: &Requests, seconds: f64) -> Self {
        Self {
            sent: requests.sent,
            answered: requests.answered,
            per_second: per_second(requests.answered, seconds),
            latency_us: TimesPart::of(&requests.times),
        }
    }
}

impl TimesPart {
    fn of(times: &Times) -> Option<Self> {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        (times.count() > 0).then(|| Self {
            count: times.count(),
            min: micros(times.min()),
            mean: times.mean() / 1e3,
            p50: micros(times.quantile(0.5)),
            p90: micros(times.quantile(0.9)),
            p99: micros(times.quantile(0.99)),
            p999: micros(times.quantile(0.999)),
            max: micros(times.max()),
        })
    }
}

impl SpreadPart {
    fn of(outcome: &BenchReport<'_>, spread: &Spread) -> Self {
        let servers = spread.servers.iter().enumerate();
        let servers = servers.map(|(number, times)| SpreadServerPart {
            address: outcome.settings.servers[number].to_string(),
            name: outcome.name(number),
            us: TimesPart::of(times),
        });
        Self {
            reports: spread.rounds,
            late: spread.late,
            everywhere_us: TimesPart::of(&spread.everywhere),
            resolution_us: TimesPart::of(&spread.resolution),
            servers: servers.collect(),
        }
    }
}

impl SettledPart {
    fn of(outcome: &BenchReport<'_>, settled: &[Convergence]) -> Self {
        let seconds = |nanos: u64| nanos as f64 / 1e9;
        let servers = settled.iter().enumerate();
        let servers = servers.map(|(number, server)| SettledServerPart {
            address: outcome.settings.servers[number].to_string(),
            name: outcome.name(number),
            lacking: server.lacking,
            lacked_until_seconds: seconds(server.lacked_until),
            complete_seconds: seconds(server.complete),
            error: server.error.clone(),
        });
        let clients = outcome.loaded.iter().map(|loaded| loaded.reported.len());
        Self {
            clients: clients.sum(),
            everywhere_seconds: outcome.settled_after().map(seconds),
            servers: servers.collect(),
        }
    }
}

impl FaultsPart {
    fn of(outcome: &BenchReport<'_>) -> Self {
        let faults = outcome.faults();
        Self {
            wrong: faults.wrong,
            missing: faults.missing,
            unexpected: faults.unexpected,
            broken: faults.broken,
            examples: outcome.examples().cloned().collect(),
        }
    }
}
