//! The problems of a herd: failures, and what else needs attention.

use crate::format;
use crate::gateway::MAX_SILENCE;
use crate::log::escaped;
use crate::model::name::Name;
use crate::proto::time::timestamp_seconds;
use crate::proto::{GetStatusResponse, LinkStatus, as_seconds};

use super::duplicates;
use super::status::{ServerStatus, StatusRound, distinct};

/// Lag from which a link is listed: more than batches under load and a long path make
/// together.
pub(crate) const MIN_LAG_SECONDS: f64 = 1.0;

/// Time without an acknowledged report from which a link that is up counts as one that carries
/// nothing: more than an attempt with its quick retries takes by default.
const MIN_STALL_SECONDS: f64 = 5.0;

/// Difference from the clocks of neighbours from which a clock is listed as wrong.
const MAX_CLOCK_LEAD_SECONDS: f64 = 1.0;

/// Difference beyond which a wrong clock is a failure: the limit by which a report may be newer
/// than its receipt. Beyond it, reports of two servers about one client are ordered wrongly.
pub(crate) const MAX_HARMLESS_LEAD_SECONDS: f64 = 10.0;

/// One problem.
pub(crate) struct Problem {
    /// The server, the link or the setting.
    pub(crate) subject: String,
    pub(crate) description: String,
    /// True if the herd is not healthy because of it.
    pub(crate) is_failure: bool,
}

impl Problem {
    fn failure(subject: &str, description: impl Into<String>) -> Self {
        Self {
            subject: subject.to_owned(),
            description: description.into(),
            is_failure: true,
        }
    }

    fn caution(subject: &str, description: impl Into<String>) -> Self {
        Self {
            is_failure: false,
            ..Self::failure(subject, description)
        }
    }
}

/// Returns true if there is no failure.
pub(crate) fn is_healthy(round: &StatusRound) -> bool {
    !all(round).iter().any(|problem| problem.is_failure)
}

/// Returns the problems of each server, then those of the herd.
pub(crate) fn all(round: &StatusRound) -> Vec<Problem> {
    let of_server = |server| of_server(server, round);
    let mut problems: Vec<Problem> = round.servers.iter().flat_map(of_server).collect();
    let duplicated = duplicates::find(round.answered());
    problems.extend(
        duplicated
            .iter()
            .map(|server| Problem::failure(&server.name, server.description())),
    );
    let version = |status: &GetStatusResponse| escaped(&status.version);
    let versions = disagreement(round, version);
    problems.extend(versions.map(|values| Problem::caution("versions differ", values)));
    let expiry = disagreement(round, expire_after);
    problems.extend(expiry.map(|values| Problem::failure("expire_after differs", values)));
    problems
}

/// Returns the age of the oldest change that the neighbour has not acknowledged.
pub(crate) fn lag_seconds(link: &LinkStatus) -> f64 {
    link.lag.as_ref().map_or(0.0, as_seconds)
}

/// Returns how far the server's clock is ahead of those of most of its neighbours, in seconds: the
/// median of what its links show, the smaller one of two. The errors of the measurements are
/// subtracted, so clocks that may be equal count as equal. Returns `None` if no link knows.
pub(crate) fn clock_lead(status: &GetStatusResponse) -> Option<f64> {
    let mut leads: Vec<f64> = status.links.iter().filter_map(own_lead).collect();
    leads.sort_by(|one, other| one.abs().total_cmp(&other.abs()));
    leads.get(leads.len().saturating_sub(1) / 2).copied()
}

/// Returns how far the server's clock is at least ahead of a neighbour's, in seconds.
fn own_lead(link: &LinkStatus) -> Option<f64> {
    let lead = -as_seconds(link.clock_offset.as_ref()?);
    let error = link.clock_offset_error.as_ref().map_or(0.0, as_seconds);
    Some((lead.abs() - error).max(0.0).copysign(lead))
}

fn of_clock(status: &GetStatusResponse) -> Option<Problem> {
    let lead = clock_lead(status)?;
    wrong_clock(&status.name, lead, "those of most of its neighbours")
}

/// Returns the problem of a clock that is `lead` seconds ahead of others, if it is one.
fn wrong_clock(subject: &str, lead: f64, others: &str) -> Option<Problem> {
    let size = lead.abs();
    let direction = if lead > 0.0 { "ahead of" } else { "behind" };
    let description = format!("its clock is {} {direction} {others}", format::span(size));
    (size > MAX_CLOCK_LEAD_SECONDS).then(|| Problem {
        subject: subject.to_owned(),
        description,
        is_failure: size > MAX_HARMLESS_LEAD_SECONDS,
    })
}

/// Returns the problem of a neighbour's clock, if the neighbour itself gave no answer. If this
/// server's clock is the wrong one, the neighbour has none.
fn of_neighbours_clock(
    status: &GetStatusResponse,
    link: &LinkStatus,
    round: &StatusRound,
) -> Option<Problem> {
    let mut answered = round.answered();
    let is_answered = answered.any(|other| other.name == link.neighbour);
    if is_answered || of_clock(status).is_some() {
        return None;
    }
    let neighbour = escaped(&link.neighbour);
    wrong_clock(
        &neighbour,
        -own_lead(link)?,
        &format!("that of {}", status.name),
    )
}

fn of_storage(status: &GetStatusResponse) -> Vec<Problem> {
    let Some(storage) = &status.storage else {
        return Vec::new();
    };
    let mut descriptions = Vec::new();
    if !storage.error.is_empty() {
        let pending = format::count(storage.lag_reports, "report");
        let error = escaped(&storage.error);
        descriptions.push(format!("storage fails: {error}; {pending} not on the disk"));
    }
    let recovery = storage.recovery.unwrap_or_default();
    let skipped = recovery.damaged
        + recovery.unknown
        + recovery.files_of_other_version
        + recovery.files_of_other_server
        + recovery.files_unreadable;
    if skipped > 0 {
        let parts = format::count(skipped, "part");
        descriptions.push(format!(
            "{parts} of its storage could not be read when it started; its log has the causes"
        ));
    }
    let problem = |text| Problem::caution(&status.name, text);
    descriptions.into_iter().map(problem).collect()
}

/// Reports clients whose answers wait for something that does not come by itself.
fn of_waiting(status: &GetStatusResponse) -> Option<Problem> {
    let storage = status.storage.as_ref();
    let is_failing = storage.is_some_and(|storage| !storage.error.is_empty());
    let has_reason = is_failing || status.links.iter().all(|link| !link.up);
    let waiting = status.client_connections_waiting;
    (has_reason && waiting > 0).then(|| {
        let connections = format::count(waiting, "client connection");
        let until = "until their reports are acknowledged (acknowledge)";
        Problem::failure(
            &status.name,
            format!("answers of {connections} wait {until}"),
        )
    })
}

fn of_server(server: &ServerStatus, round: &StatusRound) -> Vec<Problem> {
    let (title, address) = (&server.title, &server.address);
    let status = match &server.result {
        Ok(status) => status,
        Err(error) => {
            let error = escaped(&error.to_string());
            let description = if title == address {
                error
            } else {
                format!("{error} ({address})")
            };
            return vec![Problem::failure(title, description)];
        }
    };
    let mut problems = Vec::new();
    if status.draining {
        problems.push(Problem::failure(&status.name, "is shutting down"));
    }
    let reload = status.config.as_ref();
    if reload.is_some_and(|reload| !reload.last_reload_successful) {
        let description = "the last reload of its config failed; its log has the cause";
        problems.push(Problem::caution(&status.name, description));
    }
    problems.extend(of_clock(status));
    problems.extend(of_storage(status));
    problems.extend(of_waiting(status));
    let missing = |name: &&Name| !status.links.iter().any(|it| it.neighbour == name.as_str());
    let missing = server.neighbours.iter().filter(missing);
    problems.extend(missing.map(|name| {
        let description = "the config has this link and the server does not: send it SIGHUP, or \
                           restart it, with this config";
        Problem::failure(&format!("{} -> {name}", status.name), description)
    }));
    for link in &status.links {
        problems.extend(of_link(status, link));
        problems.extend(of_incoming(status, link));
        problems.extend(of_neighbours_clock(status, link, round));
    }
    problems
}

/// Returns the problem of a neighbour that answers this server and sends it nothing. If the link
/// is down, that is the problem.
fn of_incoming(status: &GetStatusResponse, link: &LinkStatus) -> Option<Problem> {
    let silence = link.incoming_silence.as_ref().map(as_seconds)?;
    if !link.up || silence <= MAX_SILENCE.as_secs_f64() {
        return None;
    }
    let (name, neighbour) = (&status.name, escaped(&link.neighbour));
    let span = format::span(silence);
    let description = if link.incoming {
        format!("nothing has arrived for {span}, though {neighbour} answers")
    } else {
        format!("nothing has ever arrived, in {span}, though {neighbour} answers")
    };
    let advice = format!("see its link to {name}, and the address of {name} in its config");
    let subject = format!("{name} <- {neighbour}");
    Some(Problem::failure(
        &subject,
        format!("{description}: {advice}"),
    ))
}

fn of_link(status: &GetStatusResponse, link: &LinkStatus) -> Option<Problem> {
    let subject = format!("{} -> {}", status.name, escaped(&link.neighbour));
    let pending = format::count(link.lag_reports, "report");
    if !link.up {
        let reason = match link.reason.as_str() {
            "" => "no reason given".to_owned(),
            reason => escaped(reason),
        };
        let description = format!(
            "down {}: {reason}; {pending} pending",
            down_for(status, link)
        );
        return Some(Problem::failure(&subject, description));
    }
    let stalled = link.stalled.as_ref().map_or(0.0, as_seconds);
    if stalled >= MIN_STALL_SECONDS {
        let description = format!(
            "up, and has carried nothing for {}; {pending} pending",
            format::span(stalled)
        );
        return Some(Problem::failure(&subject, description));
    }
    let lag = lag_seconds(link);
    let description = format!("lags by {}, {pending} pending", format::span(lag));
    (lag >= MIN_LAG_SECONDS).then(|| Problem::caution(&subject, description))
}

/// Returns the time since the link went down, by the server's clock.
fn down_for(status: &GetStatusResponse, link: &LinkStatus) -> String {
    match (&status.now, &link.since) {
        (Some(now), Some(since)) => {
            let seconds = timestamp_seconds(now) - timestamp_seconds(since);
            format!("for {}", format::span(seconds.max(0.0)))
        }
        _ => "since the server started".to_owned(),
    }
}

/// Returns the different values with the servers that have them, if there are several.
fn disagreement(
    round: &StatusRound,
    value: impl Fn(&GetStatusResponse) -> String,
) -> Option<String> {
    let values = distinct(round.answered().map(&value));
    let holders = |wanted: &String| {
        let with = round.answered().filter(|status| value(status) == *wanted);
        let names: Vec<&str> = with.map(|status| status.name.as_str()).collect();
        format!("{wanted} on {}", format::list(&names, "and"))
    };
    let described: Vec<String> = values.iter().map(holders).collect();
    (values.len() > 1).then(|| described.join("; "))
}

fn expire_after(status: &GetStatusResponse) -> String {
    match &status.expire_after {
        Some(after) => format::span(as_seconds(after)),
        None => "off".to_owned(),
    }
}
