//! The metrics page.
//!
//! It has the numbers of the status that operators query, by the tables of
//! [`crate::gateway`], and further histograms and numbers of the process.
//!
//! Labels have few values, all known in advance: reasons, results, ports and the neighbours of the
//! config. Clients, addresses and incarnations are unbounded, so they are no labels.

use crate::gateway::{
    CLIENT_LINE_METRICS, CONFIG_METRICS, LINK_METRICS, PLACES_METRICS, RECOVERY_METRICS,
    REJECTED_CALL_METRICS, REJECTED_CONNECTION_METRICS, REJECTED_WEB_CALL_METRICS, SERVER_METRICS,
    STORAGE_METRICS, StatusSource,
};
use crate::metrics::Metric;
use crate::metrics::Series::One;
use crate::proto::GetStatusResponse;

use super::format::{Labels, MetricsText};
use super::process::{PROCESS_METRICS, ProcessResources};

const INFO_METRICS: &[Metric<()>] = &[Metric::gauge(
    "proxyherd_info",
    "Name, herd and version of the server; always 1.",
    One(|()| 1.0),
)];

const HERD_METRICS: &[Metric<()>] = &[Metric::gauge(
    "proxyherd_herd_server",
    "Servers of the config that have a web port, this one included; always 1.",
    One(|()| 1.0),
)];

/// Returns the page in the text format. Takes a moment, mostly to read `/proc`.
pub(super) fn metrics(source: &StatusSource) -> String {
    let mut text = MetricsText::default();
    status(&mut text, &source.read());
    histograms(&mut text, source);
    if let Some(process) = ProcessResources::read() {
        text.table(PROCESS_METRICS, &[(&[], &process)]);
    }
    text.finish()
}

fn status(text: &mut MetricsText, status: &GetStatusResponse) {
    let info: Labels<'_> = &[
        ("herd", &status.herd),
        ("name", &status.name),
        ("version", &status.version),
    ];
    text.table(INFO_METRICS, &[(info, &())]);
    let servers = status.servers_with_web.iter();
    let servers: Vec<[(&str, &str); 2]> = servers
        .map(|name| [("herd", status.herd.as_str()), ("name", name.as_str())])
        .collect();
    let servers: Vec<(Labels<'_>, _)> = servers
        .iter()
        .map(|labels| (labels.as_slice(), &()))
        .collect();
    text.table(HERD_METRICS, &servers);
    text.table(SERVER_METRICS, &[(&[], status)]);
    text.table(CONFIG_METRICS, &unlabelled(&status.config));
    text.table(CLIENT_LINE_METRICS, &unlabelled(&status.client_lines));
    let ports: [(Labels<'_>, _); 3] = [
        (&[("port", "clients")], &status.client_connections_rejected),
        (&[("port", "peers")], &status.peer_connections_rejected),
        (&[("port", "web")], &status.web_connections_rejected),
    ];
    let ports: Vec<_> = ports
        .into_iter()
        .filter_map(|(labels, rejected)| Some((labels, rejected.as_ref()?)))
        .collect();
    text.table(REJECTED_CONNECTION_METRICS, &ports);
    text.table(
        REJECTED_CALL_METRICS,
        &unlabelled(&status.peer_calls_rejected),
    );
    text.table(
        REJECTED_WEB_CALL_METRICS,
        &unlabelled(&status.web_calls_rejected),
    );
    let neighbours: Vec<_> = status
        .links
        .iter()
        .map(|link| neighbour(&link.neighbour))
        .collect();
    let links: Vec<_> = neighbours
        .iter()
        .map(|labels| labels.as_slice())
        .zip(&status.links)
        .collect();
    text.table(LINK_METRICS, &links);
    text.table(PLACES_METRICS, &unlabelled(&status.places));
    if let Some(storage) = &status.storage {
        text.table(STORAGE_METRICS, &[(&[], storage)]);
        text.table(RECOVERY_METRICS, &unlabelled(&storage.recovery));
    }
}

fn histograms(text: &mut MetricsText, source: &StatusSource) {
    let gateway = source.gateway();
    text.histograms(
        "proxyherd_client_request_seconds",
        "Time from reading a client's line to writing its reply, the wait for places included, a \
         delay by commands_per_second not.",
        [(&[][..], &gateway.counters().client_requests)].into_iter(),
    );
    let links: Vec<_> = gateway
        .replica()
        .neighbours()
        .map(|(id, name)| (neighbour(name.as_str()), gateway.links().traffic(id)))
        .collect();
    text.histograms(
        "proxyherd_link_push_seconds",
        "Time from a push to its acknowledgement, quick retries included.",
        links
            .iter()
            .map(|(labels, traffic)| (labels.as_slice(), &traffic.round_trips)),
    );
    text.histograms(
        "proxyherd_places_query_seconds",
        "Time of queries to the places provider, failed ones included.",
        [(&[][..], source.places().counters().took())].into_iter(),
    );
}

fn neighbour(name: &str) -> [(&'static str, &str); 1] {
    [("neighbour", name)]
}

fn unlabelled<M>(message: &Option<M>) -> Vec<(Labels<'_>, &M)> {
    message.iter().map(|message| (&[][..], message)).collect()
}
