//! The state of a server as one message, which status, JSON and metrics are read from.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::log::Log;
use crate::model::name::Name;
use crate::model::timestamp::UnixNanos;
use crate::places::Places;
use crate::proto::time::{duration, signed_duration, timestamp};
use crate::proto::{ConfigStatus, GetStatusResponse, LinkStatus, PlacesStatus, StorageStatus};
use crate::replication::NeighbourId;
use crate::replication::feed_reader::FeedReader;

use super::{Gateway, ReloadOutcome, StorageProgress};

/// Everything that the state of a server is read from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StatusSource {
    gateway: Arc<Gateway>,
    places: Places,
    log: Log,
    started: Instant,
    started_at: UnixNanos,
}

impl StatusSource {
    /// Describes a server that starts now and counts its queries of places in `places`.
    pub fn new(gateway: Arc<Gateway>, places: Places, log: Log) -> Self {
        Self {
            started: Instant::now(),
            started_at: gateway.clock().now(),
            gateway,
            places,
            log,
        }
    }

    /// Returns the gateway of the server.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Returns the places provider of the server.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Returns the current state.
    pub fn read(&self) -> GetStatusResponse {
        let gateway = &self.gateway;
        let replica = gateway.replica();
        let store = replica.store();
        let links = replica.neighbours();
        let settings = gateway.settings();
        GetStatusResponse {
            name: replica.name().to_string(),
            herd: replica.herd().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: replica.incarnation().get(),
            started_at: Some(timestamp(self.started_at.0)),
            uptime: Some(duration(self.started.elapsed())),
            now: Some(timestamp(gateway.clock().now().0)),
            draining: gateway.shutdown().has_begun(),
            config: Some(config_status(gateway.reloads().last())),
            log_lines_dropped: self.log.dropped(),
            expire_after: replica.expire_after().map(duration),
            clients: store.clients() as u64,
            clients_limit: settings.gateway.max_clients as u64,
            feed_entries: store.feed_entries() as u64,
            last_sequence: store.last(),
            servers_with_web: settings.web.servers.iter().map(Name::to_string).collect(),
            client_connections_limit: settings.clients.max_connections as u64,
            places: Some(places_status(&self.places)),
            storage: gateway
                .storage()
                .map(|storage| gateway.storage_status(storage)),
            links: links
                .map(|(id, name)| gateway.link_status(id, name))
                .collect(),
            ..gateway.counters().read()
        }
    }
}

fn config_status(last: ReloadOutcome) -> ConfigStatus {
    ConfigStatus {
        last_reload_successful: last.is_successful,
        last_reload_at: Some(timestamp(last.at.0)),
        last_success_at: Some(timestamp(last.success_at.0)),
    }
}

fn places_status(places: &Places) -> PlacesStatus {
    PlacesStatus {
        provider: places.provider().to_owned(),
        answered: places.counters().answered(),
        failed: places.counters().failed(),
    }
}

impl Gateway {
    fn storage_status(&self, storage: &StorageProgress) -> StorageStatus {
        let durable = storage.durable();
        let (lag_reports, lag) = self.lag(durable);
        let latest = storage.snapshot();
        let succeeded = latest.succeeded_at.map(|at| duration(at.elapsed()));
        StorageStatus {
            durable_sequence: durable,
            lag_reports,
            lag: lag.map(duration),
            since_success: succeeded,
            bytes: latest.bytes,
            files: latest.files,
            bytes_written: latest.bytes_written,
            syncs: latest.syncs,
            compactions: latest.compactions,
            errors: latest.errors,
            error: latest.error,
            recovery: Some(*storage.recovery()),
        }
    }

    fn link_status(&self, neighbour: NeighbourId, name: &Name) -> LinkStatus {
        let (state, traffic) = (
            self.links().state(neighbour),
            self.links().traffic(neighbour),
        );
        let incoming = self.links().incoming(neighbour);
        let duplicates = incoming.duplicates.map_or(0, |found| found.further);
        let (lag_reports, lag) = self.lag(state.cursor);
        let carried = state.carried_at.map(|at| at.elapsed());
        let stalled = lag.map(|lag| carried.map_or(lag, |carried| carried.min(lag)));
        LinkStatus {
            neighbour: name.to_string(),
            up: state.is_up,
            since: Some(timestamp(state.since.0)),
            state_changes: state.changes,
            reason: state.reason,
            cursor: state.cursor,
            lag_reports,
            lag: lag.map(duration),
            stalled: stalled.map(duration),
            last_round_trip: traffic.last_round_trip().map(duration),
            clock_offset: state
                .clock_offset
                .map(|offset| signed_duration(offset.nanos.into())),
            incoming: incoming.incarnation.is_some(),
            incoming_silence: Some(duration(incoming.silence)),
            incoming_incarnation: incoming.incarnation.unwrap_or(0),
            neighbour_duplicates: duplicates as u64,
            clock_offset_error: state.clock_offset.map(|offset| duration(offset.max_error)),
            ..traffic.counters.read()
        }
    }

    /// Returns the maximum number of changes after the cursor, and the age of the oldest of them
    /// that is not replaced.
    fn lag(&self, cursor: u64) -> (u64, Option<Duration>) {
        let store = self.replica.store();
        let changes = store.last().saturating_sub(cursor);
        if changes == 0 {
            return (0, None);
        }
        let mut learned_at = None;
        FeedReader::after(cursor).read(store, usize::MAX, |stored| {
            learned_at = Some(stored.receipt().at);
            ControlFlow::Break(())
        });
        // The feed holds each client once.
        let reports = changes.min(store.clients() as u64);
        let age = |at: UnixNanos| {
            // Zero if the clock went back.
            let nanos = self.clock.now().0.saturating_sub(at.0);
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
        };
        (reports, learned_at.map(age))
    }
}
