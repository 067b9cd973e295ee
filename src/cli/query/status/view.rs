//! A herd for programs: everything that its servers told, or why they did not.
//!
//! Fields are called as in `proto/proxyherd/v1/operator.proto`; spans are in
//! seconds and say so, times are RFC 3339.

use serde::Serialize;

use crate::proto::{
    ClientStatus, ConfigStatus, GetStatusResponse, LinkStatus, PlacesStatus, RefusedConnections,
};

use super::super::{json, messages};
use super::{Answer, Round, troubles};

#[derive(Serialize)]
pub(super) struct Herd<'a> {
    well: bool,
    servers: Vec<Server<'a>>,
    /// What stands below the table, in words.
    troubles: Vec<String>,
}

/// One server: either `status` or `error` is null.
#[derive(Serialize)]
struct Server<'a> {
    /// As the config has it, or its address.
    server: &'a str,
    address: &'a str,
    error: Option<String>,
    status: Option<Status<'a>>,
}

#[derive(Serialize)]
struct Status<'a> {
    name: &'a str,
    herd: &'a str,
    version: &'a str,
    incarnation: String,
    uptime_seconds: Option<f64>,
    now: Option<String>,
    expire_after_seconds: Option<f64>,
    clients: u64,
    last_sequence: u64,
    client_lines: ClientLines,
    connections: u64,
    connections_accepted: u64,
    connections_refused: u64,
    connections_refused_by_address: u64,
    connections_refused_by_network: u64,
    reads_put_off: u64,
    web_connections_refused: u64,
    calls_refused: u64,
    calls_refused_by_name: u64,
    peer_connections_refused: Refused,
    client_tls_refused: Refused,
    places: Option<Places<'a>>,
    links: Vec<Link<'a>>,
    draining: bool,
    config: Option<Config>,
}

/// How reading the server's config went last.
#[derive(Serialize)]
struct Config {
    taken: bool,
    read_at: Option<String>,
    taken_at: Option<String>,
}

#[derive(Serialize)]
struct ClientLines {
    accepted: u64,
    stale: u64,
    refused: u64,
    located: u64,
    unknown: u64,
    malformed: u64,
}

/// Connections, by what was wrong with them.
#[derive(Serialize)]
struct Refused {
    no_certificate: u64,
    foreign_ca: u64,
    expired: u64,
    plaintext: u64,
    own_certificate: u64,
    other: u64,
}

#[derive(Serialize)]
struct Places<'a> {
    provider: &'a str,
    answered: u64,
    failed: u64,
}

#[derive(Serialize)]
struct Link<'a> {
    neighbour: &'a str,
    up: bool,
    since: Option<String>,
    reason: &'a str,
    cursor: u64,
    lag_reports: u64,
    lag_seconds: Option<f64>,
    batches_sent: u64,
    reports_sent: u64,
    calls_failed: u64,
    batches_received: u64,
    received_newer: u64,
    received_duplicate: u64,
    received_older: u64,
    last_round_trip_seconds: Option<f64>,
}

impl<'a> Herd<'a> {
    pub(super) fn of(round: &'a Round) -> Self {
        let found = troubles::all(round);
        let tell = |trouble: &troubles::Trouble| format!("{}: {}", trouble.whose, trouble.words);
        Self {
            well: troubles::is_well(round),
            servers: round.answers.iter().map(Server::of).collect(),
            troubles: found.iter().map(tell).collect(),
        }
    }
}

impl<'a> Server<'a> {
    fn of(answer: &'a Answer) -> Self {
        Self {
            server: &answer.title,
            address: &answer.address,
            error: answer.status.as_ref().err().map(ToString::to_string),
            status: answer.status.as_ref().ok().map(Status::of),
        }
    }
}

impl<'a> Status<'a> {
    fn of(status: &'a GetStatusResponse) -> Self {
        Self {
            name: &status.name,
            herd: &status.herd,
            version: &status.version,
            incarnation: json::hex(status.incarnation),
            uptime_seconds: status.uptime.as_ref().map(messages::seconds),
            now: status.now.as_ref().map(messages::instant),
            expire_after_seconds: status.expire_after.as_ref().map(messages::seconds),
            clients: status.clients,
            last_sequence: status.last_sequence,
            client_lines: ClientLines::of(status.client_lines.unwrap_or_default()),
            connections: status.connections,
            connections_accepted: status.connections_accepted,
            connections_refused: status.connections_refused,
            connections_refused_by_address: status.connections_refused_by_address,
            connections_refused_by_network: status.connections_refused_by_network,
            reads_put_off: status.reads_put_off,
            web_connections_refused: status.web_connections_refused,
            calls_refused: status.calls_refused,
            calls_refused_by_name: status.calls_refused_by_name,
            peer_connections_refused: Refused::of(status.peer_connections_refused.as_ref()),
            client_tls_refused: Refused::of(status.client_tls_refused.as_ref()),
            places: status.places.as_ref().map(Places::of),
            links: status.links.iter().map(Link::of).collect(),
            draining: status.draining,
            config: status.config.as_ref().map(Config::of),
        }
    }
}

impl Config {
    fn of(config: &ConfigStatus) -> Self {
        Self {
            taken: config.taken,
            read_at: config.read_at.as_ref().map(messages::instant),
            taken_at: config.taken_at.as_ref().map(messages::instant),
        }
    }
}

impl ClientLines {
    fn of(lines: ClientStatus) -> Self {
        let ClientStatus {
            accepted,
            stale,
            refused,
            located,
            unknown,
            malformed,
        } = lines;
        Self {
            accepted,
            stale,
            refused,
            located,
            unknown,
            malformed,
        }
    }
}

impl Refused {
    fn of(refused: Option<&RefusedConnections>) -> Self {
        let RefusedConnections {
            no_certificate,
            foreign_ca,
            expired,
            plaintext,
            own_certificate,
            other,
        } = refused.copied().unwrap_or_default();
        Self {
            no_certificate,
            foreign_ca,
            expired,
            plaintext,
            own_certificate,
            other,
        }
    }
}

impl<'a> Places<'a> {
    fn of(places: &'a PlacesStatus) -> Self {
        Self {
            provider: &places.provider,
            answered: places.answered,
            failed: places.failed,
        }
    }
}

impl<'a> Link<'a> {
    fn of(link: &'a LinkStatus) -> Self {
        Self {
            neighbour: &link.neighbour,
            up: link.up,
            since: link.since.as_ref().map(messages::instant),
            reason: &link.reason,
            cursor: link.cursor,
            lag_reports: link.lag_reports,
            lag_seconds: link.lag.as_ref().map(messages::seconds),
            batches_sent: link.batches_sent,
            reports_sent: link.reports_sent,
            calls_failed: link.calls_failed,
            batches_received: link.batches_received,
            received_newer: link.received_newer,
            received_duplicate: link.received_duplicate,
            received_older: link.received_older,
            last_round_trip_seconds: link.last_round_trip.as_ref().map(messages::seconds),
        }
    }
}
