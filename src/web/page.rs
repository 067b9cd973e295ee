//! `/metrics`: which series there are, and where each comes from.
//!
//! A family's name says its unit, and a counter's ends in `_total`. Labels have
//! few values, all known before: reasons and results that stand here, and the
//! neighbours of the config. What has no such bound, such as a client, an
//! address or an incarnation, is no label.

use std::collections::HashMap;

use tokio::sync::watch;

use crate::gateway::Gateway;
use crate::log::Log;
use crate::model::timestamp::UnixNanos;
use crate::places::Places;
use crate::replication::NeighbourId;
use crate::tls::HandshakeErrorKind;

use super::format::Kind::{Counter, Gauge};
use super::format::MetricsText;
use super::process;

/// Where the numbers of one server stand.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) gateway: std::sync::Arc<Gateway>,
    pub(super) places: Places,
    pub(super) log: Log,
    /// Most clients that may be connected.
    pub(super) most_connections: watch::Receiver<usize>,
    /// When the server started.
    pub(super) started: UnixNanos,
}

impl Sources {
    /// All series, in the text format. Takes a moment, mostly for `/proc`.
    pub(super) fn page(&self) -> String {
        let mut text = MetricsText::default();
        self.server(&mut text);
        self.config(&mut text);
        self.reports(&mut text);
        self.lines(&mut text);
        self.connections(&mut text);
        self.links(&mut text);
        self.sent(&mut text);
        self.received(&mut text);
        self.places(&mut text);
        this_process(&mut text);
        text.finish()
    }

    fn server(&self, text: &mut MetricsText) {
        let me = self.gateway.replica().identity();
        let labels = [
            ("herd", me.herd.as_str()),
            ("name", me.name.as_str()),
            ("version", env!("CARGO_PKG_VERSION")),
        ];
        text.family(Gauge, "proxyherd_info", "Which server this is; always 1.")
            .sample(&labels, 1);
        text.single(
            Gauge,
            "proxyherd_start_time_seconds",
            "When the server started, in seconds since 1970 by its own clock.",
            self.started.0 as f64 / 1e9,
        );
        text.single(
            Gauge,
            "proxyherd_draining",
            "1 while the server shuts down, else 0.",
            u8::from(self.gateway.board().is_closing()),
        );
        text.single(
            Counter,
            "proxyherd_log_lines_dropped_total",
            "Lines that are missing in the log, since the disk did not keep up.",
            self.log.dropped(),
        );
    }

    fn config(&self, text: &mut MetricsText) {
        let last = self.gateway.reloads().last();
        text.single(
            Gauge,
            "proxyherd_config_last_reload_successful",
            "1 if the config was taken up when it was read last, at the start or on SIGHUP, else 0.",
            u8::from(last.is_taken),
        );
        text.single(
            Gauge,
            "proxyherd_config_last_reload_success_timestamp_seconds",
            "When it was taken up last, in seconds since 1970 by the server's clock.",
            last.taken_at.0 as f64 / 1e9,
        );
    }

    fn reports(&self, text: &mut MetricsText) {
        let store = self.gateway.replica().store();
        text.single(
            Gauge,
            "proxyherd_clients",
            "Clients of which the server holds a report, hidden ones included.",
            store.clients(),
        );
        text.single(
            Gauge,
            "proxyherd_clients_limit",
            "How many clients the server may know before it refuses reports of new ones (max_clients).",
            self.gateway.max_clients(),
        );
        text.single(
            Gauge,
            "proxyherd_feed_entries",
            "Entries of the change feed: one for each client.",
            store.feed_entries(),
        );
        text.single(
            Counter,
            "proxyherd_changes_total",
            "Reports that were new here, whoever sent them: the feed's last number.",
            store.last(),
        );
    }

    fn lines(&self, text: &mut MetricsText) {
        let lines = self.gateway.counts().lines();
        text.family(
            Counter,
            "proxyherd_client_reports_total",
            "IAMAT lines, by what became of them: accepted; stale, when the server knew as much; refused by max_future or by max_clients.",
        )
        .sample(&[("result", "accepted")], lines.accepted)
        .sample(&[("result", "stale")], lines.stale)
        .sample(&[("result", "refused_max_future")], lines.from_the_future)
        .sample(&[("result", "refused_max_clients")], lines.past_the_limit);
        text.family(
            Counter,
            "proxyherd_client_questions_total",
            "WHATSAT lines: of clients that are known, and of others.",
        )
        .sample(&[("result", "located")], lines.located)
        .sample(&[("result", "unknown")], lines.unknown);
        text.single(
            Counter,
            "proxyherd_client_lines_malformed_total",
            "Lines that are no valid command by their form.",
            lines.malformed,
        );
        text.histograms(
            "proxyherd_client_request_seconds",
            "From taking a client's line to having written its answer, the wait for places included.",
        )
        .histogram(&[], self.gateway.counts().requests());
    }

    fn connections(&self, text: &mut MetricsText) {
        let counts = self.gateway.counts();
        text.single(
            Gauge,
            "proxyherd_client_connections",
            "Clients that are connected.",
            counts.connections(),
        );
        text.single(
            Gauge,
            "proxyherd_client_connections_limit",
            "How many clients may be connected (max_connections, or fewer where the system permits few open files).",
            *self.most_connections.borrow(),
        );
        text.single(
            Counter,
            "proxyherd_client_connections_accepted_total",
            "Connections of clients that were taken.",
            counts.connections_ever(),
        );
        text.family(
            Counter,
            "proxyherd_client_connections_refused_total",
            "Connections of clients that were closed at once, by what forbids them: max_connections, connections_per_address, or their network.",
        )
        .sample(&[("reason", "max_connections")], counts.turned_away().get())
        .sample(
            &[("reason", "connections_per_address")],
            counts.crowded_out().get(),
        )
        .sample(&[("reason", "network")], counts.denied().get());
        text.single(
            Counter,
            "proxyherd_client_reads_put_off_total",
            "How often a client's connection was read on later, since its address had sent as many lines as it may (commands_per_second).",
            counts.put_off().get(),
        );
        text.single(
            Counter,
            "proxyherd_client_reads_held_back_total",
            "How often a client's connection was left unread for 5 ms, since this server was short of time and a neighbour lagged (target_lag).",
            counts.held_back().get(),
        );
        text.family(
            Counter,
            "proxyherd_web_connections_refused_total",
            "Connections to the web port that were closed at once: from a network that may not connect, or one too many.",
        )
        .sample(&[("reason", "network")], counts.web_denied().get())
        .sample(&[("reason", "limit")], counts.web_turned_away().get());
        let (calls, by_name) = (counts.refused_calls().get(), counts.refused_by_name().get());
        text.family(
            Counter,
            "proxyherd_peer_calls_refused_total",
            "Greetings and pushes that were refused, and other calls that a certificate does not allow: wrong_name, by whom it is for; other, all else.",
        )
        .sample(&[("reason", "wrong_name")], by_name)
        .sample(&[("reason", "other")], calls.saturating_sub(by_name));
        let mut family = text.family(
            Counter,
            "proxyherd_connections_refused_total",
            "Connections that did not get in by TLS, or had to go, by port and by what was wrong; own_certificate: the other end would not have this server's.",
        );
        for (port, refused) in [
            ("peers", counts.peers_refused()),
            ("clients_tls", counts.clients_refused()),
        ] {
            for reason in HandshakeErrorKind::ALL {
                let labels = [("port", port), ("reason", reason.label())];
                family.sample(&labels, refused.of(reason).get());
            }
        }
    }

    /// Every link of this server, with its neighbour's name.
    fn each_link(&self) -> impl Iterator<Item = (NeighbourId, &str)> {
        let neighbours = self.gateway.replica().neighbours();
        neighbours.map(|(id, name)| (id, name.as_str()))
    }

    fn links(&self, text: &mut MetricsText) {
        let board = self.gateway.board();
        let lags: HashMap<_, _> = self
            .each_link()
            .map(|(id, _)| (id, self.gateway.lag(id)))
            .collect();
        // A link may have come since.
        let lag = |link| lags.get(&link).copied().unwrap_or_default();
        self.by_link(
            text,
            (
                Gauge,
                "proxyherd_link_up",
                "1 while pushes to the neighbour succeed, else 0.",
            ),
            |link| u8::from(board.link(link).is_up),
        );
        self.by_link(
            text,
            (
                Counter,
                "proxyherd_link_state_changes_total",
                "How often the link went up or down.",
            ),
            |link| board.link(link).changes,
        );
        self.by_link(
            text,
            (
                Gauge,
                "proxyherd_link_lag_reports",
                "Reports that the neighbour has not acknowledged, at most: some may have come from it.",
            ),
            |link| lag(link).reports,
        );
        self.by_link(
            text,
            (
                Gauge,
                "proxyherd_link_lag_seconds",
                "How long the oldest of them has been here; 0 where there is none.",
            ),
            |link| lag(link).oldest.unwrap_or_default().as_secs_f64(),
        );
    }

    fn sent(&self, text: &mut MetricsText) {
        let board = self.gateway.board();
        self.by_link(
            text,
            (
                Counter,
                "proxyherd_link_batches_sent_total",
                "Pushes that the neighbour acknowledged, heartbeats included.",
            ),
            |link| board.traffic(link).batches_sent.get(),
        );
        self.by_link(
            text,
            (
                Counter,
                "proxyherd_link_reports_sent_total",
                "Reports in those.",
            ),
            |link| board.traffic(link).reports_sent.get(),
        );
        self.by_link(
            text,
            (
                Counter,
                "proxyherd_link_calls_failed_total",
                "Pushes that got no answer that helps, quick retries included.",
            ),
            |link| board.traffic(link).calls_failed.get(),
        );
        let mut family = text.histograms(
            "proxyherd_link_push_seconds",
            "From sending a push to its acknowledgement, quick retries included.",
        );
        for (link, name) in self.each_link() {
            family.histogram(&[("neighbour", name)], &board.traffic(link).round_trips);
        }
    }

    fn received(&self, text: &mut MetricsText) {
        let board = self.gateway.board();
        self.by_link(
            text,
            (
                Counter,
                "proxyherd_link_batches_received_total",
                "Pushes of the neighbour that were applied, heartbeats included.",
            ),
            |link| board.traffic(link).batches_received.get(),
        );
        let mut family = text.family(
            Counter,
            "proxyherd_link_reports_received_total",
            "Reports in those: newer than what was held; duplicate, known to the last byte; older.",
        );
        for (link, name) in self.each_link() {
            let traffic = board.traffic(link);
            let labels = |result| [("neighbour", name), ("result", result)];
            family
                .sample(&labels("newer"), traffic.received_newer.get())
                .sample(&labels("duplicate"), traffic.received_same.get())
                .sample(&labels("older"), traffic.received_older.get());
        }
    }

    fn by_link<T: std::fmt::Display>(
        &self,
        text: &mut MetricsText,
        (kind, name, help): (super::format::Kind, &'static str, &'static str),
        value: impl Fn(NeighbourId) -> T,
    ) {
        let mut family = text.family(kind, name, help);
        for (link, neighbour) in self.each_link() {
            family.sample(&[("neighbour", neighbour)], value(link));
        }
    }

    fn places(&self, text: &mut MetricsText) {
        let counts = self.places.counters();
        text.family(
            Counter,
            "proxyherd_places_answers_total",
            "Questions to the places provider: answered, and failed.",
        )
        .sample(&[("result", "answered")], counts.answered())
        .sample(&[("result", "failed")], counts.failed());
        text.histograms(
            "proxyherd_places_seconds",
            "How long the places provider took, failures included.",
        )
        .histogram(&[], counts.took());
    }
}

/// What servers that share a process (`up`) all tell alike.
fn this_process(text: &mut MetricsText) {
    if let Some(bytes) = process::resident_bytes() {
        text.single(
            Gauge,
            "proxyherd_process_resident_memory_bytes",
            "Memory of the process.",
            bytes,
        );
    }
    if let Some(seconds) = process::cpu_seconds() {
        text.single(
            Counter,
            "proxyherd_process_cpu_seconds_total",
            "Time that processors worked for the process.",
            seconds,
        );
    }
    if let Some(files) = process::open_files() {
        text.single(
            Gauge,
            "proxyherd_process_open_files",
            "Files, connections among them, that the process has open.",
            files,
        );
    }
    if let Some(files) = process::most_files() {
        text.single(
            Gauge,
            "proxyherd_process_open_files_limit",
            "How many it may have open.",
            files,
        );
    }
}
