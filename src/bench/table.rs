//! The results for people: at most 80 columns.

use std::fmt::Write;

use super::convergence::Convergence;
use super::digits::time;
use super::load::Loaded;
use super::report::BenchReport;
use super::settings::{Length, Load};
use super::spread::Spread;
use super::tally::{Requests, Times};
use super::workload::Kind;
use crate::format::{count, grouped};

/// Longest name of a row, in characters.
const LABEL: usize = 12;

/// The whole table.
pub(super) fn table(outcome: &BenchReport<'_>) -> String {
    let mut out = String::new();
    if let (Some(load), Some(loaded)) = (&outcome.settings.load, &outcome.loaded) {
        describe(&mut out, outcome, load, loaded);
        tell_load(&mut out, outcome, loaded);
    }
    if let Some(spread) = &outcome.spread {
        tell_spread(&mut out, outcome, spread);
    }
    if let Some(settled) = &outcome.settled {
        tell_settled(&mut out, outcome, settled);
    }
    tell_faults(&mut out, outcome);
    out
}

/// What was done.
fn describe(out: &mut String, outcome: &BenchReport<'_>, load: &Load, loaded: &Loaded) {
    let servers = outcome.settings.servers.len();
    let _ = writeln!(
        out,
        "{}, {}, pipeline {}, {}, {}",
        count(servers as u64, "server"),
        count(load.connections.into(), "connection"),
        load.pipeline,
        count(load.clients.into(), "client"),
        count(load.threads.into(), "thread"),
    );
    let pace = match load.rate {
        Some(rate) => format!("{} a second due", grouped(rate)),
        None => "as fast as answers come".to_owned(),
    };
    let early = match (outcome.stopped_early, load.length) {
        (false, _) => String::new(),
        (true, Length::Requests(all)) => format!(", stopped before {}", grouped(all)),
        (true, Length::Time(all)) => format!(", stopped before {}", time(all)),
    };
    let seconds = time((loaded.tally.seconds() * 1e9) as u64);
    let percent = load.questions * 100.0;
    let _ = writeln!(
        out,
        "{percent}% WHATSAT, {pace}, measured for {seconds}{early}\n"
    );
}

fn tell_load(out: &mut String, outcome: &BenchReport<'_>, loaded: &Loaded) {
    let tally = &loaded.tally;
    let seconds = tally.seconds();
    heading(out, "", "answered", "per second");
    let kinds = Kind::ALL.map(|kind| (kind.name(), tally.kind(kind)));
    let asked: Vec<_> = kinds
        .iter()
        .filter(|(_, requests)| requests.sent > 0)
        .collect();
    for (name, requests) in &asked {
        row(out, name, requests, seconds);
    }
    if asked.len() > 1 {
        row(out, "all", &tally.all(), seconds);
    }
    if tally.servers.len() > 1 {
        out.push('\n');
        heading(out, "server", "answered", "per second");
        for (number, server) in tally.servers.iter().enumerate() {
            row(out, &outcome.name(number), &server.all(), seconds);
        }
    }
    out.push('\n');
    if tally.unsent() > 0 {
        let _ = writeln!(
            out,
            "the servers did not keep up: {} were due and not sent when the load ended;\n\
             how long those had waited by then counts in the times above",
            count(tally.unsent(), "request")
        );
    }
}

fn heading(out: &mut String, label: &str, count: &str, rate: &str) {
    let _ = writeln!(
        out,
        "{label:LABEL$}{count:>11}{rate:>12}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "p50", "p90", "p99", "p99.9", "max"
    );
}

fn row(out: &mut String, label: &str, requests: &Requests, seconds: f64) {
    let rate = per_second(requests.answered, seconds);
    let (answered, rate) = (grouped(requests.answered), grouped(rate as u64));
    let label = short(label);
    let _ = write!(out, "{label:LABEL$}{answered:>11}{rate:>12}");
    times(out, &requests.times);
}

fn times(out: &mut String, times: &Times) {
    if times.count() == 0 {
        let none = "-";
        let _ = writeln!(out, "{none:>9}{none:>9}{none:>9}{none:>9}{none:>9}");
        return;
    }
    let shares = [0.5, 0.9, 0.99, 0.999].map(|share| time(times.quantile(share)));
    for text in &shares {
        let _ = write!(out, "{text:>9}");
    }
    let _ = writeln!(out, "{:>9}", time(times.max()));
}

/// How many a second; none in no time.
pub(super) fn per_second(count: u64, seconds: f64) -> f64 {
    match seconds > 0.0 {
        true => count as f64 / seconds,
        false => 0.0,
    }
}

/// A label with a space behind it in its column.
fn short(label: &str) -> String {
    match label.chars().count() < LABEL {
        true => label.to_owned(),
        false => label.chars().take(LABEL - 2).chain(['~']).collect(),
    }
}

fn tell_spread(out: &mut String, outcome: &BenchReport<'_>, spread: &Spread) {
    let _ = writeln!(
        out,
        "spread of {}, until known at each other server",
        count(spread.rounds, "report")
    );
    heading(out, "server", "reports", "");
    let row = |out: &mut String, label: &str, of: &Times| {
        let (label, count) = (short(label), grouped(of.count()));
        let _ = write!(out, "{label:LABEL$}{count:>11}{:>12}", "");
        times(out, of);
    };
    for (number, server) in spread.servers.iter().enumerate() {
        row(out, &outcome.name(number), server);
    }
    row(out, "everywhere", &spread.everywhere);
    row(out, "resolution", &spread.resolution);
    out.push_str("(each time is too high by one question's way at most: the resolution)\n\n");
}

fn tell_settled(out: &mut String, outcome: &BenchReport<'_>, settled: &[Convergence]) {
    let clients = outcome.loaded.iter().map(|loaded| loaded.reported.len());
    let clients = count(clients.sum::<usize>() as u64, "client");
    if let Some(after) = outcome.settled_after() {
        let lacked = settled.iter().map(|server| server.lacked_until).max();
        let _ = writeln!(
            out,
            "newest report of {clients}: seen everywhere {} after the load's end",
            time(after)
        );
        let _ = match lacked.filter(|&lacked| lacked > 0) {
            Some(lacked) => writeln!(out, "(last seen missing after {})\n", time(lacked)),
            None => writeln!(out, "(never seen missing; so long it took to look)\n"),
        };
        return;
    }
    let _ = writeln!(out, "newest report of {clients}: not everywhere");
    for (number, server) in settled.iter().enumerate() {
        if server.lacking > 0 {
            let (name, lacking) = (outcome.name(number), grouped(server.lacking));
            let _ = writeln!(out, "  {name}: {lacking} not seen");
        }
    }
    out.push('\n');
}

fn tell_faults(out: &mut String, outcome: &BenchReport<'_>) {
    let faults = outcome.faults();
    let _ = writeln!(
        out,
        "wrong {}, missing {}, unexpected {}, broken connections {}",
        grouped(faults.wrong),
        grouped(faults.missing),
        grouped(faults.unexpected),
        grouped(faults.broken)
    );
    for example in outcome.examples() {
        let _ = writeln!(out, "- {example}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_to_their_column() {
        assert_eq!(short("Riley"), "Riley");
        assert_eq!(short("elevenbytes"), "elevenbytes");
        assert_eq!(short("twelve_bytes"), "twelve_byt~");
        assert_eq!(short("127.0.0.1:12000"), "127.0.0.1:~");
        assert!(short("ééééééééééééééé").chars().count() < LABEL);
    }
}
