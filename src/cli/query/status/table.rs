//! The table of `status`: a line for each server.

use std::time::Duration;

use crate::operator_client::{ServerStatus, StatusRound, problems};
use crate::proto::{GetStatusResponse, as_seconds};
use crate::table::{Left, Right, TextTable};

use super::super::format;
use super::super::terminal::{Highlight, Screen};

/// Returns the table, with counts since the servers started, or with rates since the
/// previous round. Lines of servers with a problem are coloured.
pub(super) fn text(round: &StatusRound, previous: Option<&StatusRound>, screen: &Screen) -> String {
    let [accepted, stale, rejected] = match previous {
        None => ["accepted", "stale", "rejected"],
        Some(_) => ["acc/s", "stale/s", "rej/s"],
    };
    let mut table = TextTable::new(&[
        ("server", Left),
        ("up", Right),
        ("clients", Right),
        ("conns", Right),
        (accepted, Right),
        (stale, Right),
        (rejected, Right),
        ("links", Right),
        ("lag", Right),
        ("clock", Right),
    ]);
    for (i, server) in round.servers.iter().enumerate() {
        let since = previous.map(|previous| Earlier {
            status: previous.servers[i].result.as_ref().ok(),
            elapsed: round.at - previous.at,
        });
        table.row(row(server, since));
    }
    let highlights = round.servers.iter().map(highlight);
    let highlights = [Some(Highlight::Title)].into_iter().chain(highlights);
    let lines = table.lines("").zip(highlights);
    let paint = |(line, highlight): (String, Option<Highlight>)| match highlight {
        Some(highlight) => screen.paint(highlight, &line) + "\n",
        None => line + "\n",
    };
    lines.map(paint).collect()
}

/// The status of a server in the previous round, if it answered.
struct Earlier<'a> {
    status: Option<&'a GetStatusResponse>,
    elapsed: Duration,
}

fn highlight(server: &ServerStatus) -> Option<Highlight> {
    let status = match &server.result {
        Ok(status) if !status.draining && status.links.iter().all(|link| link.up) => status,
        _ => return Some(Highlight::Bad),
    };
    let lead = problems::clock_lead(status).unwrap_or(0.0);
    if lead.abs() > problems::MAX_HARMLESS_LEAD_SECONDS {
        return Some(Highlight::Bad);
    }
    (max_lag(status) >= problems::MIN_LAG_SECONDS).then_some(Highlight::Caution)
}

fn row(server: &ServerStatus, earlier: Option<Earlier<'_>>) -> Vec<String> {
    let Ok(status) = &server.result else {
        return vec![server.title.clone(), "DOWN".to_owned()];
    };
    let [accepted, stale, rejected] = line_counts(status, earlier);
    let links_up = status.links.iter().filter(|link| link.up).count();
    vec![
        status.name.clone(),
        uptime(status),
        format::short(status.clients as f64),
        format::short(status.client_connections as f64),
        accepted,
        stale,
        rejected,
        format!("{links_up}/{}", status.links.len()),
        format::span(max_lag(status)),
        clock(status),
    ]
}

/// Formats how far the server's clock is ahead of those of most of its neighbours.
fn clock(status: &GetStatusResponse) -> String {
    match problems::clock_lead(status) {
        None => "-".to_owned(),
        Some(lead) if lead > 0.0 => format!("+{}", format::span(lead)),
        Some(lead) if lead < 0.0 => format::span(lead),
        Some(_) => "0s".to_owned(),
    }
}

fn uptime(status: &GetStatusResponse) -> String {
    if status.draining {
        return "stops".to_owned();
    }
    format::span(status.uptime.as_ref().map_or(0.0, as_seconds))
}

/// Returns accepted, stale and rejected IAMATs: counts, or rates if there is an earlier
/// round.
fn line_counts(status: &GetStatusResponse, earlier: Option<Earlier<'_>>) -> [String; 3] {
    let counts = |status: &GetStatusResponse| {
        let lines = status.client_lines.unwrap_or_default();
        let rejected = lines.rejected_max_future + lines.rejected_max_clients;
        [lines.accepted, lines.stale, rejected]
    };
    let now = counts(status);
    let Some(Earlier {
        status: then,
        elapsed,
    }) = earlier
    else {
        return now.map(|count| format::short(count as f64));
    };
    // The counts of another incarnation began at zero.
    match then.filter(|then| then.incarnation == status.incarnation) {
        None => ["-"; 3].map(str::to_owned),
        Some(then) => {
            let then = counts(then);
            let rate = |i: usize| now[i].saturating_sub(then[i]) as f64 / elapsed.as_secs_f64();
            [0, 1, 2].map(|i| format::short(rate(i)))
        }
    }
}

/// Returns the greatest lag of the server's links, in seconds.
fn max_lag(status: &GetStatusResponse) -> f64 {
    let lags = status.links.iter().map(problems::lag_seconds);
    lags.fold(0.0, f64::max)
}
