//! How the server is.

use tokio::time::Instant;

use crate::gateway::{Gateway, LineCounters, ReloadOutcome};
use crate::model::name::Name;
use crate::places::Places;
use crate::proto::{
    ClientStatus, ConfigStatus, GetStatusResponse, LinkStatus, PlacesStatus, RefusedConnections,
};
use crate::replication::NeighbourId;
use crate::tls::{HandshakeErrorCounters, HandshakeErrorKind};

use super::wire::{duration, timestamp};

pub(super) fn status(gateway: &Gateway, places: &Places, started: Instant) -> GetStatusResponse {
    let (replica, counts) = (gateway.replica(), gateway.counts());
    let me = replica.identity();
    GetStatusResponse {
        name: me.name.to_string(),
        herd: me.herd.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        incarnation: me.incarnation.get(),
        uptime: Some(duration(started.elapsed())),
        now: Some(timestamp(gateway.clock().now())),
        expire_after: replica.expire_after().map(duration),
        clients: replica.store().clients() as u64,
        last_sequence: replica.store().last(),
        client_lines: Some(client_lines(&counts.lines())),
        connections: counts.connections(),
        connections_accepted: counts.connections_ever(),
        connections_refused: counts.turned_away().get(),
        calls_refused: counts.refused_calls().get(),
        places: Some(PlacesStatus {
            provider: places.provider().to_owned(),
            answered: places.counters().answered(),
            failed: places.counters().failed(),
        }),
        links: replica
            .neighbours()
            .map(|(link, name)| link_status(gateway, link, name))
            .collect(),
        draining: gateway.board().is_closing(),
        config: Some(config_status(gateway.reloads().last())),
        connections_refused_by_address: counts.crowded_out().get(),
        connections_refused_by_network: counts.denied().get(),
        reads_put_off: counts.put_off().get(),
        web_connections_refused: counts.web_denied().get() + counts.web_turned_away().get(),
        calls_refused_by_name: counts.refused_by_name().get(),
        peer_connections_refused: Some(refused(counts.peers_refused())),
        client_tls_refused: Some(refused(counts.clients_refused())),
    }
}

fn config_status(last: ReloadOutcome) -> ConfigStatus {
    ConfigStatus {
        taken: last.is_taken,
        read_at: Some(timestamp(last.at)),
        taken_at: Some(timestamp(last.taken_at)),
    }
}

fn refused(refused: &HandshakeErrorCounters) -> RefusedConnections {
    let count = |reason| refused.of(reason).get();
    RefusedConnections {
        no_certificate: count(HandshakeErrorKind::NoCertificate),
        foreign_ca: count(HandshakeErrorKind::ForeignCa),
        expired: count(HandshakeErrorKind::Expired),
        plaintext: count(HandshakeErrorKind::Plaintext),
        own_certificate: count(HandshakeErrorKind::OwnCertificate),
        other: count(HandshakeErrorKind::Other),
    }
}

fn client_lines(lines: &LineCounters) -> ClientStatus {
    ClientStatus {
        accepted: lines.accepted,
        stale: lines.stale,
        refused: lines.from_the_future + lines.past_the_limit,
        located: lines.located,
        unknown: lines.unknown,
        malformed: lines.malformed,
    }
}

fn link_status(gateway: &Gateway, neighbour: NeighbourId, name: &Name) -> LinkStatus {
    let (state, traffic) = (
        gateway.board().link(neighbour),
        gateway.board().traffic(neighbour),
    );
    let lag = gateway.lag(neighbour);
    LinkStatus {
        neighbour: name.to_string(),
        up: state.is_up,
        since: Some(timestamp(state.since)),
        reason: state.reason,
        cursor: state.cursor,
        lag_reports: lag.reports,
        lag: lag.oldest.map(duration),
        batches_sent: traffic.batches_sent.get(),
        reports_sent: traffic.reports_sent.get(),
        calls_failed: traffic.calls_failed.get(),
        batches_received: traffic.batches_received.get(),
        received_newer: traffic.received_newer.get(),
        received_duplicate: traffic.received_same.get(),
        received_older: traffic.received_older.get(),
        last_round_trip: traffic.last_round_trip().map(duration),
    }
}
