//! What is not well, or worth a look, in words.

use crate::proto::{GetStatusResponse, LinkStatus};

use super::super::messages;
use super::{Answer, Round, distinct};

/// Lag from which a link is worth a look, in seconds: above what batches under
/// load and a long way make together.
pub(super) const LAGS: f64 = 1.0;

/// One thing to look after.
pub(super) struct Trouble {
    /// Whose it is.
    pub(super) whose: String,
    /// What it is.
    pub(super) words: String,
    /// Does it make the herd count as not well?
    pub(super) is_bad: bool,
}

impl Trouble {
    fn new(whose: &str, words: String, is_bad: bool) -> Self {
        let whose = whose.to_owned();
        Self {
            whose,
            words,
            is_bad,
        }
    }
}

/// Is the herd as it should be?
pub(super) fn is_well(round: &Round) -> bool {
    !all(round).iter().any(|trouble| trouble.is_bad)
}

/// All there are: of each server, then of the herd.
pub(super) fn all(round: &Round) -> Vec<Trouble> {
    let mut found: Vec<Trouble> = round.answers.iter().flat_map(of_server).collect();
    let versions = |status: &GetStatusResponse| messages::escaped(&status.version);
    found.extend(disagreement(round, "versions differ", versions, false));
    found.extend(disagreement(
        round,
        "expire_after differs",
        expire_after,
        true,
    ));
    found
}

/// How long the oldest change that the neighbour lacks has been waiting, in
/// seconds.
pub(super) fn lag(link: &LinkStatus) -> f64 {
    link.lag.as_ref().map_or(0.0, messages::seconds)
}

fn of_server(answer: &Answer) -> Vec<Trouble> {
    let status = match &answer.status {
        Ok(status) => status,
        Err(failure) if answer.title == answer.address => {
            return vec![Trouble::new(&answer.title, failure.to_string(), true)];
        }
        Err(failure) => {
            let words = format!("{failure} ({})", answer.address);
            return vec![Trouble::new(&answer.title, words, true)];
        }
    };
    let mut found = Vec::new();
    if status.draining {
        found.push(Trouble::new(
            &status.name,
            "is shutting down".to_owned(),
            true,
        ));
    }
    if status.config.as_ref().is_some_and(|config| !config.taken) {
        let words = "could not take up its config when it was read again: its log says why";
        found.push(Trouble::new(&status.name, words.to_owned(), false));
    }
    found.extend(status.links.iter().filter_map(|link| of_link(status, link)));
    found
}

fn of_link(status: &GetStatusResponse, link: &LinkStatus) -> Option<Trouble> {
    let whose = format!("{} -> {}", status.name, messages::escaped(&link.neighbour));
    let behind = messages::count(link.lag_reports, "report");
    if !link.up {
        let why = match link.reason.as_str() {
            "" => "it gives no reason".to_owned(),
            reason => messages::escaped(reason),
        };
        let words = format!("down {}: {why}; {behind} behind", down_for(status, link));
        return Some(Trouble::new(&whose, words, true));
    }
    let lag = lag(link);
    let words = || format!("lags {}, {behind} behind", messages::span(lag));
    (lag >= LAGS).then(|| Trouble::new(&whose, words(), false))
}

/// For how long, by the server's own clock.
fn down_for(status: &GetStatusResponse, link: &LinkStatus) -> String {
    match (&status.now, &link.since) {
        (Some(now), Some(since)) => {
            let nanos = messages::unix_nanos(now) - messages::unix_nanos(since);
            format!("for {}", messages::span((nanos as f64 / 1e9).max(0.0)))
        }
        _ => "since it started".to_owned(),
    }
}

/// Tells where servers that answered give different values.
fn disagreement(
    round: &Round,
    title: &str,
    value: impl Fn(&GetStatusResponse) -> String,
    is_bad: bool,
) -> Option<Trouble> {
    let values = distinct(round.up().map(&value));
    let holders = |wanted: &String| {
        let with = round.up().filter(|status| value(status) == *wanted);
        let names: Vec<&str> = with.map(|status| status.name.as_str()).collect();
        format!("{wanted} on {}", messages::list(&names, "and"))
    };
    let told: Vec<String> = values.iter().map(holders).collect();
    (values.len() > 1).then(|| Trouble::new(title, told.join("; "), is_bad))
}

fn expire_after(status: &GetStatusResponse) -> String {
    match &status.expire_after {
        Some(after) => messages::span(messages::seconds(after)),
        None => "off".to_owned(),
    }
}
