//! The results of a run, in the form in which the tables and the JSON show them.
//!
//! The JSON is the serialized [`BenchReport`]. Times are in microseconds where a key
//! contains `us`, in seconds otherwise. A part that was not measured is `null`.

use serde::Serialize;

use super::convergence::Convergence;
use super::load::LoadResult;
use super::settings::{BenchSettings, Length, Load};
use super::spread::Spread;
use super::tally::{Faults, Latencies, RequestTally, ServerTally};
use super::workload::RequestKind;
use crate::format::count;
use crate::model::address::Address;

/// The results of a run.
#[derive(Serialize)]
pub(super) struct BenchReport {
    /// The version of the program.
    proxyherd: &'static str,
    /// True if a signal ended the run.
    pub(super) stopped_early: bool,
    /// True if there are no faults.
    good: bool,
    pub(super) load: Option<LoadReport>,
    pub(super) spread: Option<Spread>,
    pub(super) convergence: Option<Convergence>,
    pub(super) faults: FaultReport,
}

/// The parameters and the results of a load.
#[derive(Serialize)]
pub(super) struct LoadReport {
    pub(super) connections: u32,
    pub(super) threads: u32,
    pub(super) pipeline: usize,
    pub(super) clients: u32,
    pub(super) whatsat_percent: f64,
    pub(super) rate: Option<u64>,
    warmup_seconds: f64,
    /// The number of requests that ends the load.
    pub(super) limit_requests: Option<u64>,
    /// The time that ends the load.
    pub(super) limit_seconds: Option<f64>,
    /// The length of the measured part.
    pub(super) seconds: f64,
    /// The number of requests that were due and not sent by the end of the load.
    pub(super) unsent: u64,
    pub(super) all: RequestReport,
    pub(super) iamat: RequestReport,
    pub(super) whatsat: RequestReport,
    /// One entry for each server, in the order of the settings.
    pub(super) servers: Vec<ServerReport>,
}

/// The results of one server in a load.
#[derive(Serialize)]
pub(super) struct ServerReport {
    address: String,
    /// The server's name in its AT lines, or its address.
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) requests: RequestReport,
    #[serde(flatten)]
    faults: Faults,
}

/// The results of a set of requests.
#[derive(Serialize)]
pub(super) struct RequestReport {
    pub(super) sent: u64,
    /// The number of correct answers.
    pub(super) answered: u64,
    /// The number of correct answers per second.
    pub(super) per_second: f64,
    pub(super) latency_us: Latencies,
}

/// The faults of the load and of the spread.
#[derive(Serialize)]
pub(super) struct FaultReport {
    #[serde(flatten)]
    pub(super) counts: Faults,
    /// Descriptions of the first faults.
    pub(super) examples: Vec<String>,
}

impl BenchReport {
    pub(super) fn new(
        settings: &BenchSettings,
        stopped_early: bool,
        loaded: Option<LoadResult>,
        spread: Option<Spread>,
        convergence: Option<Convergence>,
    ) -> Self {
        let mut faults = FaultReport {
            counts: Faults::default(),
            examples: Vec::new(),
        };
        if let Some(loaded) = &loaded {
            faults.counts.add(loaded.tally.faults());
            faults.examples.extend(loaded.tally.examples.clone());
        }
        if let Some(spread) = &spread {
            faults.counts.add(spread.faults);
            faults.examples.extend(spread.examples.clone());
        }
        let load = settings.load.as_ref().zip(loaded);
        let mut report = Self {
            proxyherd: env!("CARGO_PKG_VERSION"),
            stopped_early,
            good: false,
            load: load.map(|(load, loaded)| LoadReport::new(&settings.servers, load, &loaded)),
            spread,
            convergence,
            faults,
        };
        report.good = report.fault_summary().is_none();
        report
    }

    /// Returns all faults in one line, or `None` if there are none.
    pub(super) fn fault_summary(&self) -> Option<String> {
        let faults = self.faults.counts;
        let late = self.spread.as_ref().map_or(0, |spread| spread.late);
        let checks = || self.convergence.iter().flat_map(|found| &found.servers);
        let missing = checks().map(|server| server.missing).sum();
        let counted = [
            (faults.wrong, "wrong answer"),
            (faults.missing, "unanswered request"),
            (faults.unexpected, "unexpected line"),
            (faults.broken, "broken connection"),
            (late, "late report"),
            (missing, "missing report"),
        ];
        let counted = counted.iter().filter(|(number, _)| *number > 0);
        let mut summary: Vec<String> = counted.map(|&(number, what)| count(number, what)).collect();
        summary.extend(checks().filter_map(|server| {
            let error = server.error.as_ref()?;
            Some(format!("cannot query {}: {error}", server.name))
        }));
        if summary.is_empty() && self.is_empty() {
            summary.push("nothing was measured".to_owned());
        }
        (!summary.is_empty()).then(|| summary.join(", "))
    }

    /// Returns true if neither a load nor a spread has a result.
    fn is_empty(&self) -> bool {
        let load = self.load.as_ref();
        let spread = self.spread.as_ref();
        load.is_none_or(|load| load.all.answered == 0)
            && spread.is_none_or(|spread| spread.everywhere.count() == 0)
    }
}

impl LoadReport {
    fn new(addresses: &[Address], load: &Load, loaded: &LoadResult) -> Self {
        let tally = &loaded.tally;
        let seconds = tally.seconds();
        let (limit_requests, limit_seconds) = match load.length {
            Length::Requests(count) => (Some(count), None),
            Length::Time(nanos) => (None, Some(nanos as f64 / 1e9)),
        };
        let servers = addresses.iter().zip(&tally.servers);
        let servers = servers.map(|(address, server)| ServerReport::new(address, server, seconds));
        Self {
            connections: load.connections,
            threads: load.threads,
            pipeline: load.pipeline,
            clients: load.clients,
            whatsat_percent: load.queries * 100.0,
            rate: load.rate,
            warmup_seconds: load.warmup as f64 / 1e9,
            limit_requests,
            limit_seconds,
            seconds,
            unsent: tally.unsent(),
            all: RequestReport::new(tally.all(), seconds),
            iamat: RequestReport::new(tally.kind(RequestKind::Iamat), seconds),
            whatsat: RequestReport::new(tally.kind(RequestKind::Whatsat), seconds),
            servers: servers.collect(),
        }
    }
}

impl ServerReport {
    fn new(address: &Address, tally: &ServerTally, seconds: f64) -> Self {
        let address = address.to_string();
        Self {
            name: tally.name.as_ref().unwrap_or(&address).clone(),
            address,
            requests: RequestReport::new(tally.all(), seconds),
            faults: tally.faults,
        }
    }
}

impl RequestReport {
    fn new(tally: RequestTally, seconds: f64) -> Self {
        let per_second = tally.answered as f64 / seconds;
        Self {
            sent: tally.sent,
            answered: tally.answered,
            // Without an answer, the measured part has no length.
            per_second: if seconds > 0.0 { per_second } else { 0.0 },
            latency_us: tally.latencies,
        }
    }
}
