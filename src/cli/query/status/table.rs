//! A line for each server.

use std::time::Duration;

use crate::proto::{ClientStatus, GetStatusResponse};

use super::super::messages;
use super::super::screen::Paint;
use super::super::table::{Cell, Side, Table};
use super::{Answer, Round, troubles};

/// All servers, with counts since they started; with rates since the round
/// `before`, where that is given.
pub(super) fn table(round: &Round, before: Option<&Round>) -> Table {
    let [accepted, stale, refused] = match before {
        None => ["accepted", "stale", "refused"],
        Some(_) => ["acc/s", "stale/s", "ref/s"],
    };
    let mut table = Table::new(&[
        ("server", Side::Left),
        ("up", Side::Right),
        ("clients", Side::Right),
        ("conns", Side::Right),
        (accepted, Side::Right),
        (stale, Side::Right),
        (refused, Side::Right),
        ("links", Side::Right),
        ("lag", Side::Right),
    ]);
    for (i, answer) in round.answers.iter().enumerate() {
        let earlier =
            before.map(|before| (before.answers[i].status.as_ref().ok(), round.at - before.at));
        table.row(row(answer, earlier));
    }
    table
}

/// What the server said before, if it did, and how long ago.
type Earlier<'a> = (Option<&'a GetStatusResponse>, Duration);

fn row(answer: &Answer, earlier: Option<Earlier<'_>>) -> Vec<Cell> {
    let status = match &answer.status {
        Ok(status) => status,
        Err(_) => {
            return vec![
                answer.title.as_str().into(),
                Cell::painted("DOWN", Paint::Bad),
            ];
        }
    };
    let mut cells = vec![
        status.name.as_str().into(),
        up(status),
        messages::short(status.clients as f64).into(),
        messages::short(status.connections as f64).into(),
    ];
    cells.extend(lines(status, earlier).map(Cell::from));
    cells.extend([links(status), lag(status)]);
    cells
}

fn up(status: &GetStatusResponse) -> Cell {
    let uptime = status.uptime.as_ref().map_or(0.0, messages::seconds);
    match status.draining {
        true => Cell::painted("stops", Paint::Bad),
        false => Cell::painted(messages::span(uptime), Paint::Good),
    }
}

/// IAMATs that were accepted, stale and refused.
fn lines(status: &GetStatusResponse, earlier: Option<Earlier<'_>>) -> [String; 3] {
    let counts = |status: &GetStatusResponse| {
        let lines = status.client_lines.unwrap_or_default();
        let ClientStatus {
            accepted,
            stale,
            refused,
            ..
        } = lines;
        [accepted, stale, refused]
    };
    let now = counts(status);
    let Some((then, ago)) = earlier else {
        return now.map(|count| messages::short(count as f64));
    };
    // Counts of another life say nothing about this one.
    match then.filter(|then| then.incarnation == status.incarnation) {
        None => ["-"; 3].map(str::to_owned),
        Some(then) => {
            let then = counts(then);
            let rate = |i: usize| now[i].saturating_sub(then[i]) as f64 / ago.as_secs_f64();
            [0, 1, 2].map(|i| messages::short(rate(i)))
        }
    }
}

fn links(status: &GetStatusResponse) -> Cell {
    let up = status.links.iter().filter(|link| link.up).count();
    let text = format!("{up}/{}", status.links.len());
    let paint = if up == status.links.len() {
        Paint::Good
    } else {
        Paint::Bad
    };
    Cell::painted(text, paint)
}

/// The worst of its links.
fn lag(status: &GetStatusResponse) -> Cell {
    let lags = status.links.iter().map(troubles::lag);
    let worst = lags.fold(0.0, f64::max);
    match worst >= troubles::LAGS {
        true => Cell::painted(messages::span(worst), Paint::Caution),
        false => messages::span(worst).into(),
    }
}
