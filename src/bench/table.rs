//! The results as tables for people, at most 80 columns wide.

use std::fmt::Write;

use super::convergence::Convergence;
use super::digits::time;
use super::report::{BenchReport, FaultReport, LoadReport, RequestReport};
use super::spread::Spread;
use super::tally::Latencies;
use crate::format::{count, grouped};
use crate::table::{Left, Right, TextTable};

/// The length at which a label is cut, in characters.
const MAX_LABEL_CHARS: usize = 11;

/// The titles of latency columns.
const LATENCY_TITLES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];

/// Returns the results as tables and sentences.
pub(super) fn tables(report: &BenchReport) -> String {
    let mut out = String::new();
    if let Some(load) = &report.load {
        write_parameters(&mut out, load, report.stopped_early);
        write_load(&mut out, load);
    }
    if let Some(spread) = &report.spread {
        write_spread(&mut out, spread);
    }
    if let Some(convergence) = &report.convergence {
        write_convergence(&mut out, convergence);
    }
    write_faults(&mut out, &report.faults);
    out
}

fn write_parameters(out: &mut String, load: &LoadReport, stopped_early: bool) {
    let _ = writeln!(
        out,
        "{}, {}, pipeline {}, {}, {}",
        count(load.servers.len() as u64, "server"),
        count(load.connections.into(), "connection"),
        load.pipeline,
        count(load.clients.into(), "client"),
        count(load.threads.into(), "thread"),
    );
    let kind = match load.rate {
        Some(rate) => format!("open loop of {} requests/s", grouped(rate)),
        None => "closed loop".to_owned(),
    };
    let early = match (load.limit_requests, load.limit_seconds) {
        _ if !stopped_early => String::new(),
        (Some(requests), _) => format!(", stopped before {}", count(requests, "request")),
        (None, seconds) => format!(", stopped before {} s", seconds.unwrap_or_default()),
    };
    let _ = writeln!(
        out,
        "{}% WHATSAT, {kind}, measured for {}{early}\n",
        load.whatsat_percent,
        time((load.seconds * 1e9) as u64),
    );
}

fn write_load(out: &mut String, load: &LoadReport) {
    let mut kinds = vec![("IAMAT", &load.iamat), ("WHATSAT", &load.whatsat)];
    kinds.retain(|(_, requests)| requests.sent > 0);
    if kinds.len() > 1 {
        kinds.push(("all", &load.all));
    }
    write_requests(out, "request", kinds);
    if load.servers.len() > 1 {
        let servers = load.servers.iter();
        let servers = servers.map(|server| (server.name.as_str(), &server.requests));
        write_requests(out, "server", servers);
    }
    if load.unsent > 0 {
        let _ = writeln!(
            out,
            "{} due and not sent when the load ended: the servers are too slow for this rate;\n\
             their wait until then is part of the latencies above\n",
            count(load.unsent, "request")
        );
    }
}

fn write_requests<'a>(
    out: &mut String,
    title: &str,
    rows: impl IntoIterator<Item = (&'a str, &'a RequestReport)>,
) {
    let mut columns = vec![(title, Left), ("answered", Right), ("per second", Right)];
    columns.extend(LATENCY_TITLES.map(|title| (title, Right)));
    let mut table = TextTable::new(&columns);
    for (label, requests) in rows {
        let mut row = vec![
            cut(label),
            grouped(requests.answered),
            grouped(requests.per_second as u64),
        ];
        row.extend(latency_cells(&requests.latency_us));
        table.row(row);
    }
    out.push_str(&table.text(""));
    out.push('\n');
}

fn latency_cells(latencies: &Latencies) -> [String; 5] {
    if latencies.count() == 0 {
        return [(); 5].map(|()| "-".to_owned());
    }
    let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|share| latencies.quantile(share));
    [p50, p90, p99, p999, latencies.max()].map(time)
}

/// Cuts a label at [`MAX_LABEL_CHARS`].
fn cut(label: &str) -> String {
    if label.chars().count() <= MAX_LABEL_CHARS {
        return label.to_owned();
    }
    let start = label.chars().take(MAX_LABEL_CHARS - 1);
    start.chain(['~']).collect()
}

fn write_spread(out: &mut String, spread: &Spread) {
    let _ = writeln!(
        out,
        "time of {} until each other server had it",
        count(spread.rounds, "report")
    );
    let mut columns = vec![("server", Left), ("reports", Right)];
    columns.extend(LATENCY_TITLES.map(|title| (title, Right)));
    let mut table = TextTable::new(&columns);
    let servers = spread.servers.iter();
    let servers = servers.map(|server| (server.name.as_str(), &server.times));
    let sums = [
        ("everywhere", &spread.everywhere),
        ("resolution", &spread.resolution),
    ];
    for (label, times) in servers.chain(sums) {
        let mut row = vec![cut(label), grouped(times.count())];
        row.extend(latency_cells(times));
        table.row(row);
    }
    out.push_str(&table.text(""));
    out.push_str("(each time is too high by up to the time of one query, the resolution)\n\n");
}

fn write_convergence(out: &mut String, convergence: &Convergence) {
    let clients = count(convergence.clients as u64, "client");
    let Some(everywhere) = convergence.everywhere else {
        let _ = writeln!(out, "newest report of {clients}: not at every server");
        for server in &convergence.servers {
            if server.missing > 0 {
                let (name, missing) = (&server.name, grouped(server.missing));
                let _ = writeln!(out, "  {name}: {missing} missing");
            }
        }
        out.push('\n');
        return;
    };
    let _ = writeln!(
        out,
        "newest report of {clients}: at every server {} after the load",
        time(everywhere)
    );
    let servers = convergence.servers.iter();
    let last_missing = servers.map(|server| server.last_missing).max();
    let _ = match last_missing.filter(|&nanos| nanos > 0) {
        Some(nanos) => writeln!(out, "(last missing after {})\n", time(nanos)),
        None => writeln!(out, "(never missing: that is the time of the check)\n"),
    };
}

fn write_faults(out: &mut String, faults: &FaultReport) {
    let counts = faults.counts;
    let _ = writeln!(
        out,
        "wrong {}, missing {}, unexpected {}, broken connections {}",
        grouped(counts.wrong),
        grouped(counts.missing),
        grouped(counts.unexpected),
        grouped(counts.broken)
    );
    for example in &faults.examples {
        let _ = writeln!(out, "- {example}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_labels_are_cut() {
        assert_eq!(cut("Riley"), "Riley");
        assert_eq!(cut("elevenbytes"), "elevenbytes");
        assert_eq!(cut("twelve_bytes"), "twelve_byt~");
        assert_eq!(cut("127.0.0.1:12000"), "127.0.0.1:~");
        assert_eq!(cut("ééééééééééééééé").chars().count(), MAX_LABEL_CHARS);
    }
}
