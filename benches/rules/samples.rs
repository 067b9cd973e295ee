//! Reports of many clients, and servers with them.

use std::sync::Arc;

use proxyherd::gateway::{self, Clock, Gateway};
use proxyherd::model::client::ClientId;
use proxyherd::model::name::Name;
use proxyherd::model::position::Position;
use proxyherd::model::report::{Origin, Report};
use proxyherd::model::timestamp::{Skew, Timestamp, UnixNanos};
use proxyherd::replication::Incarnation;
use proxyherd::replication::replica::{Replica, ServerIdentity};

/// The number of clients of a server, too large for the caches of a processor.
pub(crate) const CLIENTS: usize = 100_000;

pub(crate) const POSITION: &str = "+34.068930-118.445127";
pub(crate) const TIME: &str = "1621464827.959498503";
const EARLIER: &str = "1621464826.959498503";

/// A number without a common factor with [`CLIENTS`].
const STRIDE: usize = 7919;

/// Returns the IDs of all clients, each of 20 bytes.
pub(crate) fn ids() -> Vec<String> {
    (0..CLIENTS).map(|n| format!("bench-{n:014}")).collect()
}

/// Returns a client's report near UCLA.
pub(crate) fn report<'a>(client: &'a str, time: &'a str) -> Report<'a> {
    Report {
        client: ClientId::parse(client.as_bytes()).unwrap(),
        origin: Origin::parse(b"Riley").unwrap(),
        position: Position::parse(POSITION.as_bytes()).unwrap(),
        time: Timestamp::parse(time.as_bytes()).unwrap(),
        skew: Skew(12_345),
    }
}

/// Returns one of the two neighbours Riley and Jaquez, without a report.
pub(crate) fn server(name: &str) -> Arc<Gateway> {
    let parse = |name| Name::parse(name).unwrap();
    let members = ["Riley", "Jaquez"];
    let index = members.iter().position(|&member| member == name).unwrap();
    let identity = ServerIdentity {
        herd: parse("bench"),
        name: parse(name),
        incarnation: Incarnation::new(1 + index as u64).unwrap(),
    };
    let neighbours = vec![parse(members[1 - index])];
    let members = members.map(parse).to_vec();
    let replica = Replica::new(identity, members, neighbours, [1, 2, 3, 4]);
    let clock = Clock::new(|| UnixNanos(0));
    Arc::new(Gateway::new(
        replica,
        clock,
        gateway::ServerSettings::default(),
    ))
}

/// Returns Riley with two reports of every client, the second ones in another order. As on a
/// running server, adjacent changes in the feed are not adjacent in memory.
pub(crate) fn full_server() -> Arc<Gateway> {
    let (riley, ids) = (server("Riley"), ids());
    for id in &ids {
        admit(riley.replica(), &report(id, EARLIER));
    }
    for n in 0..CLIENTS {
        admit(riley.replica(), &report(&ids[n * STRIDE % CLIENTS], TIME));
    }
    riley
}

/// Merges a report of a client.
pub(crate) fn admit(replica: &Replica, report: &Report<'_>) {
    replica.admit(report, UnixNanos(0), usize::MAX).unwrap();
}
