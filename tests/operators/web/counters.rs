//! Each counter counts what it describes.

use std::sync::Arc;
use std::time::Duration;

use proxyherd::gateway::Clock;
use proxyherd::log::Log;
use proxyherd::model::timestamp::UnixNanos;
use proxyherd::places::{Places, PlacesResponse};
use tokio::sync::Semaphore;

use super::metrics_page::MetricsPage;
use super::{herd, with_web};
use crate::common::{ALONE, Herd, LIMIT, cpu_time, eventually};

#[test]
fn every_line_and_connection_is_counted() {
    let start = 1_700_000_000_500_000_000;
    let mut herd = Herd::new(ALONE).adjust(|plan| {
        with_web(plan);
        plan.gateway.max_clients = 2;
        plan.clients.max_connections = 1;
    });
    herd.launch_with("Riley", Clock::new(move || UnixNanos(start)), Log::off());
    let web = herd.web_address("Riley");
    let before = MetricsPage::of(web);
    assert_eq!(before.get("proxyherd_client_request_seconds_count"), 0.0);
    assert_eq!(before.get("proxyherd_start_time_seconds"), 1_700_000_000.5);
    assert_eq!(before.get("proxyherd_client_connections"), 0.0);

    let mut client = herd.client("Riley");
    for line in [
        "IAMAT a +1+1 5",
        "IAMAT a +1+1 6",
        "IAMAT a +1+1 4",
        "IAMAT a +1+1 99999999999",
        "IAMAT b +1+1 1",
        "IAMAT c +1+1 1",
        "WHATSAT nobody 1 1",
        "what?",
        "",
    ] {
        client.ask(line);
    }
    client.send("WHATSAT a 1 1\nWHATSAT a 1 0\n");
    client.places();
    client.places();
    assert_eq!(herd.client("Riley").rest(), b"", "above max_connections");
    let page = eventually("all lines are counted", || {
        let page = MetricsPage::of(web);
        let count = page.get("proxyherd_client_request_seconds_count");
        (count == 11.0).then_some(page)
    });
    for (series, value) in [
        ("proxyherd_client_reports_total{result=\"accepted\"}", 3.0),
        ("proxyherd_client_reports_total{result=\"stale\"}", 1.0),
        (
            "proxyherd_client_reports_rejected_total{reason=\"max_future\"}",
            1.0,
        ),
        (
            "proxyherd_client_reports_rejected_total{reason=\"max_clients\"}",
            1.0,
        ),
        ("proxyherd_client_queries_total{result=\"located\"}", 2.0),
        ("proxyherd_client_queries_total{result=\"unknown\"}", 1.0),
        ("proxyherd_client_lines_malformed_total", 2.0),
        ("proxyherd_clients", 2.0),
        ("proxyherd_clients_limit", 2.0),
        ("proxyherd_feed_entries", 2.0),
        ("proxyherd_changes_total", 3.0),
        ("proxyherd_client_connections", 1.0),
        ("proxyherd_client_connections_limit", 1.0),
        ("proxyherd_client_connections_accepted_total", 1.0),
        (
            "proxyherd_connections_rejected_total{port=\"clients\",reason=\"max_connections\"}",
            1.0,
        ),
        (
            "proxyherd_connections_rejected_total{port=\"clients\",reason=\"per_address\"}",
            0.0,
        ),
        (
            "proxyherd_connections_rejected_total{port=\"clients\",reason=\"network\"}",
            0.0,
        ),
        ("proxyherd_client_reads_delayed_total", 0.0),
        // A WHATSAT for 0 places queries no provider.
        ("proxyherd_places_queries_total{result=\"answered\"}", 1.0),
        ("proxyherd_places_queries_total{result=\"failed\"}", 0.0),
        ("proxyherd_places_query_seconds_count", 1.0),
        ("proxyherd_log_lines_dropped_total", 0.0),
        (
            "proxyherd_peer_calls_rejected_total{reason=\"certificate\"}",
            0.0,
        ),
        ("proxyherd_peer_calls_rejected_total{reason=\"other\"}", 0.0),
        ("proxyherd_draining", 0.0),
        (
            concat!(
                "proxyherd_info{herd=\"test\",name=\"Riley\",version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"}"
            ),
            1.0,
        ),
    ] {
        assert_eq!(page.get(series), value, "{series}");
    }
    drop(client);
    eventually("the connection is closed", || {
        let page = MetricsPage::of(web);
        (page.get("proxyherd_client_connections") == 0.0).then_some(())
    });
}

#[test]
fn a_query_and_the_lines_after_it_wait_for_its_places() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let slow = move |_| {
        let gate = gate.clone();
        async move {
            let _permit = gate.acquire().await;
            PlacesResponse::none()
        }
    };
    let places = Places::new(slow, LIMIT);
    let herd = Herd::new(ALONE)
        .with_places(places)
        .adjust(with_web)
        .launch_all();
    let web = herd.web_address("Riley");
    let mut client = herd.client("Riley");
    client.ask("IAMAT kiwi +1+1 1");
    client.send("before\nWHATSAT kiwi 1 1\nafter\n");
    assert_eq!(client.text(), "? before", "the line before does not wait");
    std::thread::sleep(Duration::from_millis(300));
    opened.add_permits(1);
    client.places();
    client.text();
    let page = eventually("all lines are counted", || {
        let page = MetricsPage::of(web);
        (page.get("proxyherd_client_request_seconds_count") == 4.0).then_some(page)
    });
    let below = |bound: &str| {
        page.get(&format!(
            "proxyherd_client_request_seconds_bucket{{le=\"{bound}\"}}"
        ))
    };
    assert!(below("0.25") <= 2.0, "the query and the line after it wait");
    assert!(page.get("proxyherd_client_request_seconds_sum") >= 0.6);
    assert!(page.get("proxyherd_places_query_seconds_sum") >= 0.3);
}

#[test]
fn resources_of_the_process_are_shown_on_systems_that_report_them() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    if cpu_time(std::process::id()).is_none() {
        let page = MetricsPage::of(web);
        assert!(!page.names().iter().any(|name| name.contains("_process_")));
        return;
    }
    // The system counts hundredths of a second; a new process may have none.
    let (page, shown) = eventually("the process has used CPU time", || {
        let page = MetricsPage::of(web);
        let shown = page.get("proxyherd_process_cpu_seconds_total");
        (shown > 0.0).then_some((page, shown))
    });
    let time = cpu_time(std::process::id()).unwrap();
    assert!(shown <= time.as_secs_f64(), "{shown} {time:?}");
    let memory = page.get("proxyherd_process_resident_memory_bytes");
    assert!((1e6..1e11).contains(&memory), "{memory}");
    let files = page.get("proxyherd_process_open_files");
    assert!(files >= 5.0 && files <= page.get("proxyherd_process_open_files_limit"));
}
