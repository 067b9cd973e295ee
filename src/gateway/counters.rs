//! The counters of a server, and the table of its metrics.
//!
//! A counter is a field here, a field of a status message in `proto/`, and a row of a table here.
//! The status that operators query, the JSON of the command line and the metrics page are all read
//! from that message, so they show the same numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::metrics::Series::{By, One};
use crate::metrics::{Counter, Histogram, Metric};
use crate::proto::time::timestamp_seconds;
use crate::proto::{
    ClientLines, ConfigStatus, GetStatusResponse, LinkStatus, PlacesStatus, RecoveryStatus,
    RejectedCalls, RejectedConnections, RejectedWebCalls, StorageStatus, as_seconds,
};
use crate::replication::replica::MergeStats;
use crate::tls::{HandshakeErrorCounters, HandshakeErrorKind};

/// Declares a struct of counters that have the names of fields of a status message.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident reads $message:ident { $($field:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $(
                #[doc = concat!("See `", stringify!($field), "` of the message in `proto/`.")]
                pub $field: Counter,
            )+
        }

        impl $name {
            /// Returns a message with the current numbers.
            #[allow(clippy::needless_update)] // Some messages have further fields.
            pub(super) fn read(&self) -> $message {
                $message { $($field: self.$field.get(),)+ ..$message::default() }
            }

            /// Adds the numbers of a message.
            pub fn add(&self, increments: &$message) {
                $(self.$field.add(increments.$field);)+
            }
        }
    };
}

counters! {
    /// Counters of the lines of clients.
    ClientLineCounters reads ClientLines {
        accepted,
        stale,
        rejected_max_future,
        rejected_max_clients,
        located,
        unknown,
        malformed,
    }
}

counters! {
    /// Counters of the calls over a link, in both directions.
    LinkCounters reads LinkStatus {
        batches_sent,
        reports_sent,
        calls_failed,
        batches_received,
        received_newer,
        received_duplicate,
        received_stale,
        comparisons,
        ranges_differed,
        reports_pushed_again,
    }
}

counters! {
    /// Counters of the rejected calls of the web port.
    RejectedWebCallCounters reads RejectedWebCalls {
        missing_token,
        wrong_token,
        rate_limited,
        host,
        max_watches,
        max_calls,
    }
}

/// Counters of rejected connections to one port.
#[derive(Debug, Default)]
pub struct RejectedConnectionCounters {
    /// Rejected by the limit on connections.
    pub max_connections: Counter,
    /// Rejected by the network of their address.
    pub network: Counter,
    /// Rejected by the limit on connections of one address.
    pub per_address: Counter,
    /// Connections of proxies without a valid PROXY protocol header.
    pub proxy_header: Arc<Counter>,
    /// Closed for a newer one: idle connections, and unfinished handshakes.
    pub evicted: Arc<Counter>,
    /// Rejected or ended by TLS.
    pub tls: Arc<HandshakeErrorCounters>,
}

impl RejectedConnectionCounters {
    fn read(&self) -> RejectedConnections {
        let tls = |kind| self.tls.of(kind).get();
        RejectedConnections {
            max_connections: self.max_connections.get(),
            network: self.network.get(),
            per_address: self.per_address.get(),
            proxy_header: self.proxy_header.get(),
            evicted: self.evicted.get(),
            no_certificate: tls(HandshakeErrorKind::NoCertificate),
            untrusted_ca: tls(HandshakeErrorKind::ForeignCa),
            expired: tls(HandshakeErrorKind::Expired),
            plaintext: tls(HandshakeErrorKind::Plaintext),
            own_certificate: tls(HandshakeErrorKind::OwnCertificate),
            other: tls(HandshakeErrorKind::Other),
        }
    }
}

/// Counters of what a server did for its clients and of what it rejected, since its start. The
/// counters of its links are in the [`LinkTable`](super::LinkTable).
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// The lines of clients.
    pub client_lines: ClientLineCounters,
    /// The time from reading a line to writing its reply. It includes the wait for places, for the
    /// replies before it, and for the client to read; a delay by its rate limit comes before it. A
    /// line whose reply could not be written is not counted.
    pub client_requests: Histogram,
    /// Accepted client connections.
    pub client_connections_accepted: Counter,
    /// Accepted client connections that have ended.
    pub(super) client_connections_closed: Counter,
    /// Waits of client connections for the acknowledgement of reports.
    pub(super) client_waits_begun: Counter,
    /// Those that have ended.
    pub(super) client_waits_ended: Counter,
    /// Reads of client connections that were delayed since their address had used up its rate of
    /// lines.
    pub client_reads_delayed: Counter,
    /// Reports of imports that were newer than what was held.
    pub reports_imported: Counter,
    /// Rejected client connections.
    pub client_connections_rejected: RejectedConnectionCounters,
    /// Rejected connections to the peer port.
    pub peer_connections_rejected: RejectedConnectionCounters,
    /// Rejected connections to the web port.
    pub web_connections_rejected: RejectedConnectionCounters,
    /// Rejected calls of the web port.
    pub web_calls_rejected: RejectedWebCallCounters,
    /// Rejected calls to the peer port.
    pub peer_calls_rejected: Counter,
    /// Those of the rejected calls that the caller's certificate does not permit.
    pub peer_calls_rejected_by_certificate: Counter,
    /// Calls to the peer port that made room for others.
    pub peer_calls_evicted: Arc<Counter>,
    /// New incarnations that were drawn, since another process had used the earlier one.
    pub incarnation_renewals: Counter,
}

impl ServerCounters {
    /// Returns the number of open client connections.
    pub fn client_connections(&self) -> u64 {
        let accepted = self.client_connections_accepted.get();
        accepted.saturating_sub(self.client_connections_closed.get())
    }

    /// Returns the number of client connections whose answers wait for the acknowledgement of
    /// reports.
    pub fn client_connections_waiting(&self) -> u64 {
        // In this order: a wait that ends in between must not count as one below zero.
        let ended = self.client_waits_ended.get();
        self.client_waits_begun.get().saturating_sub(ended)
    }

    /// Returns a message with the current numbers.
    pub(super) fn read(&self) -> GetStatusResponse {
        let by_certificate = self.peer_calls_rejected_by_certificate.get();
        let calls_rejected = self.peer_calls_rejected.get();
        GetStatusResponse {
            client_lines: Some(self.client_lines.read()),
            client_connections: self.client_connections(),
            client_connections_accepted: self.client_connections_accepted.get(),
            client_connections_waiting: self.client_connections_waiting(),
            client_reads_delayed: self.client_reads_delayed.get(),
            reports_imported: self.reports_imported.get(),
            incarnation_renewals: self.incarnation_renewals.get(),
            client_connections_rejected: Some(self.client_connections_rejected.read()),
            peer_connections_rejected: Some(self.peer_connections_rejected.read()),
            web_connections_rejected: Some(self.web_connections_rejected.read()),
            web_calls_rejected: Some(self.web_calls_rejected.read()),
            peer_calls_rejected: Some(RejectedCalls {
                certificate: by_certificate,
                // A call is counted first by its certificate and then as rejected.
                other: calls_rejected.saturating_sub(by_certificate),
            }),
            peer_calls_evicted: self.peer_calls_evicted.get(),
            ..GetStatusResponse::default()
        }
    }
}

/// The traffic of a link since the server's start, in both directions.
#[derive(Debug, Default)]
pub struct LinkTraffic {
    /// Numbers of pushes and reports.
    pub counters: LinkCounters,
    /// The time from a push to its acknowledgement.
    pub round_trips: Histogram,
    /// The last of those in nanoseconds; 0 before the first.
    last_round_trip_nanos: AtomicU64,
}

impl LinkTraffic {
    /// Records an acknowledged push.
    pub fn record_sent(&self, reports: usize, round_trip: Duration) {
        self.counters.batches_sent.add(1);
        self.counters.reports_sent.add(reports as u64);
        self.round_trips.observe(round_trip, 1);
        let nanos = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX);
        self.last_round_trip_nanos.store(nanos, Relaxed);
    }

    /// Records merged reports of the neighbour.
    pub fn record_received(&self, merged: MergeStats) {
        self.counters.received_newer.add(merged.newer as u64);
        self.counters
            .received_duplicate
            .add(merged.duplicate as u64);
        self.counters.received_stale.add(merged.stale as u64);
    }

    /// Returns the round trip of the last acknowledged push.
    pub(super) fn last_round_trip(&self) -> Option<Duration> {
        let nanos = self.last_round_trip_nanos.load(Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }
}

/// Metrics of a server.
pub const SERVER_METRICS: &[Metric<GetStatusResponse>] = &[
    Metric::gauge(
        "proxyherd_start_time_seconds",
        "Time of the server's start, in seconds since 1970 by its own clock.",
        One(|server| server.started_at.as_ref().map_or(0.0, timestamp_seconds)),
    ),
    Metric::gauge(
        "proxyherd_draining",
        "1 while the server shuts down, otherwise 0.",
        One(|server| f64::from(server.draining)),
    ),
    Metric::counter(
        "proxyherd_log_lines_dropped_total",
        "Lines missing in the log, since disk or reader did not keep up.",
        One(|server| server.log_lines_dropped as f64),
    ),
    Metric::gauge(
        "proxyherd_clients",
        "Clients with a report, expired ones included.",
        One(|server| server.clients as f64),
    ),
    Metric::gauge(
        "proxyherd_clients_limit",
        "Number of clients at which reports of new ones are rejected (max_clients).",
        One(|server| server.clients_limit as f64),
    ),
    Metric::gauge(
        "proxyherd_feed_entries",
        "Entries of the change feed: one for each client.",
        One(|server| server.feed_entries as f64),
    ),
    Metric::counter(
        "proxyherd_changes_total",
        "Reports accepted from clients and neighbours: the last sequence number of the feed.",
        One(|server| server.last_sequence as f64),
    ),
    Metric::counter(
        "proxyherd_reports_imported_total",
        "Reports of imports that were newer than what the server had.",
        One(|server| server.reports_imported as f64),
    ),
    Metric::gauge(
        "proxyherd_client_connections",
        "Open client connections.",
        One(|server| server.client_connections as f64),
    ),
    Metric::gauge(
        "proxyherd_client_connections_limit",
        "Maximum number of client connections (max_connections, or less if the system permits few \
         open files).",
        One(|server| server.client_connections_limit as f64),
    ),
    Metric::gauge(
        "proxyherd_client_connections_waiting",
        "Client connections whose answers wait until the disk or a neighbour has their reports \
         (acknowledge).",
        One(|server| server.client_connections_waiting as f64),
    ),
    Metric::counter(
        "proxyherd_client_connections_accepted_total",
        "Accepted client connections.",
        One(|server| server.client_connections_accepted as f64),
    ),
    Metric::counter(
        "proxyherd_client_reads_delayed_total",
        "Delayed reads of client connections: their address had used up commands_per_second.",
        One(|server| server.client_reads_delayed as f64),
    ),
    Metric::counter(
        "proxyherd_peer_calls_evicted_total",
        "Calls of others than neighbours at the peer port that made room for newer ones \
         (max_pushes).",
        One(|server| server.peer_calls_evicted as f64),
    ),
    Metric::counter(
        "proxyherd_incarnation_renewals_total",
        "New incarnations at run time: another process had used the earlier one, such as the \
         former self of a restored machine image.",
        One(|server| server.incarnation_renewals as f64),
    ),
];

/// Metrics of the server's config.
pub const CONFIG_METRICS: &[Metric<ConfigStatus>] = &[
    Metric::gauge(
        "proxyherd_config_last_reload_successful",
        "1 if the last reload of the config, at the start or on SIGHUP, succeeded, otherwise 0.",
        One(|config| f64::from(config.last_reload_successful)),
    ),
    Metric::gauge(
        "proxyherd_config_last_reload_success_timestamp_seconds",
        "Time of the last successful reload, in seconds since 1970 by the server's clock.",
        One(|config| {
            config
                .last_success_at
                .as_ref()
                .map_or(0.0, timestamp_seconds)
        }),
    ),
];

/// Metrics of the lines of clients.
pub const CLIENT_LINE_METRICS: &[Metric<ClientLines>] = &[
    Metric::counter(
        "proxyherd_client_reports_total",
        "IAMAT lines that were answered: accepted, or stale if the server held the same or a \
         newer report.",
        By(
            "result",
            &[
                ("accepted", |lines| lines.accepted as f64),
                ("stale", |lines| lines.stale as f64),
            ],
        ),
    ),
    Metric::counter(
        "proxyherd_client_reports_rejected_total",
        "IAMAT lines that were rejected, by the setting that forbids them.",
        By(
            "reason",
            &[
                ("max_future", |lines| lines.rejected_max_future as f64),
                ("max_clients", |lines| lines.rejected_max_clients as f64),
            ],
        ),
    ),
    Metric::counter(
        "proxyherd_client_queries_total",
        "WHATSAT lines: about clients with a report, and about others.",
        By(
            "result",
            &[
                ("located", |lines| lines.located as f64),
                ("unknown", |lines| lines.unknown as f64),
            ],
        ),
    ),
    Metric::counter(
        "proxyherd_client_lines_malformed_total",
        "Lines that are not well-formed commands.",
        One(|lines| lines.malformed as f64),
    ),
];

/// Metrics of rejected connections, for each port.
pub const REJECTED_CONNECTION_METRICS: &[Metric<RejectedConnections>] = &[Metric::counter(
    "proxyherd_connections_rejected_total",
    "Connections that were rejected, evicted, or ended by TLS, by port and reason. evicted: an \
     idle one, or an unfinished handshake, made room for a newer one. own_certificate: the other \
     end did not accept the certificate of this server.",
    By(
        "reason",
        &[
            ("max_connections", |port| port.max_connections as f64),
            ("network", |port| port.network as f64),
            ("per_address", |port| port.per_address as f64),
            ("proxy_header", |port| port.proxy_header as f64),
            ("evicted", |port| port.evicted as f64),
            ("no_certificate", |port| port.no_certificate as f64),
            ("untrusted_ca", |port| port.untrusted_ca as f64),
            ("expired", |port| port.expired as f64),
            ("plaintext", |port| port.plaintext as f64),
            ("own_certificate", |port| port.own_certificate as f64),
            ("other", |port| port.other as f64),
        ],
    ),
)];

/// Metrics of rejected calls.
pub const REJECTED_CALL_METRICS: &[Metric<RejectedCalls>] = &[Metric::counter(
    "proxyherd_peer_calls_rejected_total",
    "Rejected greetings and pushes, except pushes that only need a greeting first, and other \
     calls that a certificate does not permit: certificate, if it names no member of the herd \
     that may make the call, or other.",
    By(
        "reason",
        &[
            ("certificate", |calls| calls.certificate as f64),
            ("other", |calls| calls.other as f64),
        ],
    ),
)];

/// Metrics of rejected calls of the web port.
pub const REJECTED_WEB_CALL_METRICS: &[Metric<RejectedWebCalls>] = &[Metric::counter(
    "proxyherd_web_calls_rejected_total",
    "Rejected calls of the API at the web port. missing_token: such as the first call of a page. \
     rate_limited: the address had sent too many wrong tokens. host: a Host header of another \
     site. max_watches and max_calls: too many at a time.",
    By(
        "reason",
        &[
            ("missing_token", |calls| calls.missing_token as f64),
            ("wrong_token", |calls| calls.wrong_token as f64),
            ("rate_limited", |calls| calls.rate_limited as f64),
            ("host", |calls| calls.host as f64),
            ("max_watches", |calls| calls.max_watches as f64),
            ("max_calls", |calls| calls.max_calls as f64),
        ],
    ),
)];

/// Metrics of a link, for each neighbour.
pub const LINK_METRICS: &[Metric<LinkStatus>] = &[
    Metric::gauge(
        "proxyherd_link_up",
        "1 while pushes to the neighbour succeed, otherwise 0.",
        One(|link| f64::from(link.up)),
    ),
    Metric::counter(
        "proxyherd_link_state_changes_total",
        "Number of times that the link went up or down.",
        One(|link| link.state_changes as f64),
    ),
    Metric::gauge(
        "proxyherd_link_lag_reports",
        "Maximum number of reports that the neighbour has not acknowledged: some may have come \
         from it.",
        One(|link| link.lag_reports as f64),
    ),
    Metric::gauge(
        "proxyherd_link_lag_seconds",
        "Age of the oldest of those reports, 0 if there is none.",
        One(|link| link.lag.as_ref().map_or(0.0, as_seconds)),
    ),
    Metric::gauge(
        "proxyherd_link_stalled_seconds",
        "Time for which reports wait and no push of reports was acknowledged, 0 if none waits.",
        One(|link| link.stalled.as_ref().map_or(0.0, as_seconds)),
    ),
    Metric::gauge(
        "proxyherd_link_clock_offset_seconds",
        "The neighbour's clock minus this server's, 0 while the link is down.",
        One(|link| link.clock_offset.as_ref().map_or(0.0, as_seconds)),
    ),
    Metric::gauge(
        "proxyherd_link_incoming_silence_seconds",
        "Time since a greeting or push of the neighbour arrived; since the link began, if none did.",
        One(|link| link.incoming_silence.as_ref().map_or(0.0, as_seconds)),
    ),
    Metric::gauge(
        "proxyherd_link_neighbour_duplicates",
        "Number of processes beyond the first that run under the neighbour's name.",
        One(|link| link.neighbour_duplicates as f64),
    ),
    Metric::counter(
        "proxyherd_link_batches_sent_total",
        "Pushes that the neighbour acknowledged, heartbeats included.",
        One(|link| link.batches_sent as f64),
    ),
    Metric::counter(
        "proxyherd_link_reports_sent_total",
        "Reports in those.",
        One(|link| link.reports_sent as f64),
    ),
    Metric::counter(
        "proxyherd_link_calls_failed_total",
        "Greetings and pushes that failed with all their quick retries.",
        One(|link| link.calls_failed as f64),
    ),
    Metric::counter(
        "proxyherd_link_batches_received_total",
        "Pushes of the neighbour that were applied, heartbeats included.",
        One(|link| link.batches_received as f64),
    ),
    Metric::counter(
        "proxyherd_link_reports_received_total",
        "Reports of the neighbour: newer than the one held, duplicate (the same byte for byte), \
         or stale. Those of a push that broke off count too.",
        By(
            "result",
            &[
                ("newer", |link| link.received_newer as f64),
                ("duplicate", |link| link.received_duplicate as f64),
                ("stale", |link| link.received_stale as f64),
            ],
        ),
    ),
    Metric::counter(
        "proxyherd_link_comparisons_total",
        "Comparisons of what this server and the neighbour hold (anti_entropy).",
        One(|link| link.comparisons as f64),
    ),
    Metric::counter(
        "proxyherd_link_ranges_differed_total",
        "Ranges of clients that those found different though the link had caught up.",
        One(|link| link.ranges_differed as f64),
    ),
    Metric::counter(
        "proxyherd_link_reports_pushed_again_total",
        "Reports of those ranges that were pushed again and acknowledged.",
        One(|link| link.reports_pushed_again as f64),
    ),
];

/// Metrics of the places provider.
pub const PLACES_METRICS: &[Metric<PlacesStatus>] = &[Metric::counter(
    "proxyherd_places_queries_total",
    "Queries to the places provider: answered, or failed.",
    By(
        "result",
        &[
            ("answered", |places| places.answered as f64),
            ("failed", |places| places.failed as f64),
        ],
    ),
)];

/// Metrics of the storage.
pub const STORAGE_METRICS: &[Metric<StorageStatus>] = &[
    Metric::gauge(
        "proxyherd_storage_durable_sequence",
        "Last sequence number through which all changes are on the disk.",
        One(|storage| storage.durable_sequence as f64),
    ),
    Metric::gauge(
        "proxyherd_storage_lag_reports",
        "Maximum number of reports that are not on the disk.",
        One(|storage| storage.lag_reports as f64),
    ),
    Metric::gauge(
        "proxyherd_storage_lag_seconds",
        "Age of the oldest of those reports, 0 if there is none.",
        One(|storage| storage.lag.as_ref().map_or(0.0, as_seconds)),
    ),
    Metric::gauge(
        "proxyherd_storage_failing",
        "1 if the last attempt to write failed, otherwise 0.",
        One(|storage| f64::from(!storage.error.is_empty())),
    ),
    Metric::gauge(
        "proxyherd_storage_since_success_seconds",
        "Time since the last attempt to write that succeeded, 0 before the first.",
        One(|storage| storage.since_success.as_ref().map_or(0.0, as_seconds)),
    ),
    Metric::gauge(
        "proxyherd_storage_bytes",
        "Size of the files in use.",
        One(|storage| storage.bytes as f64),
    ),
    Metric::gauge(
        "proxyherd_storage_files",
        "Number of the files in use: two while one is compacted.",
        One(|storage| storage.files as f64),
    ),
    Metric::counter(
        "proxyherd_storage_written_bytes_total",
        "Bytes written.",
        One(|storage| storage.bytes_written as f64),
    ),
    Metric::counter(
        "proxyherd_storage_syncs_total",
        "Syncs to the disk.",
        One(|storage| storage.syncs as f64),
    ),
    Metric::counter(
        "proxyherd_storage_compactions_total",
        "Compactions.",
        One(|storage| storage.compactions as f64),
    ),
    Metric::counter(
        "proxyherd_storage_errors_total",
        "Failed attempts to write.",
        One(|storage| storage.errors as f64),
    ),
];

/// Metrics of what the storage held at the start.
pub const RECOVERY_METRICS: &[Metric<RecoveryStatus>] = &[
    Metric::gauge(
        "proxyherd_storage_recovered_reports",
        "Reports that were read from the storage at the start.",
        One(|recovery| recovery.reports as f64),
    ),
    Metric::gauge(
        "proxyherd_storage_recovered_bytes",
        "Bytes that were read from the storage at the start.",
        One(|recovery| recovery.bytes as f64),
    ),
    Metric::gauge(
        "proxyherd_storage_recovery_seconds",
        "Time that it took.",
        One(|recovery| recovery.took.as_ref().map_or(0.0, as_seconds)),
    ),
    Metric::gauge(
        "proxyherd_storage_recovery_cut_bytes",
        "Bytes of an unfinished write at the end of the storage, left out at the start.",
        One(|recovery| recovery.bytes_cut as f64),
    ),
    Metric::gauge(
        "proxyherd_storage_recovery_skipped",
        "Parts of the storage that were not read at the start: places that were damaged, records \
         of an unknown kind, and files of another version, of another server, or unreadable.",
        By(
            "reason",
            &[
                ("damaged", |recovery| recovery.damaged as f64),
                ("unknown", |recovery| recovery.unknown as f64),
                ("other_version", |recovery| {
                    recovery.files_of_other_version as f64
                }),
                ("other_server", |recovery| {
                    recovery.files_of_other_server as f64
                }),
                ("unreadable", |recovery| recovery.files_unreadable as f64),
            ],
        ),
    ),
];
