//! The times of clients' lines, and the resources of the process.

use std::sync::Arc;
use std::time::Duration;

use proxyherd::places::{Places, PlacesResponse};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::metrics_page::MetricsPage;
use super::{herd, with_web};
use crate::common::{ALONE, Herd, LIMIT, cpu_time, eventually};

#[test]
fn a_query_and_the_lines_after_it_wait_for_its_places() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let slow = move |_| {
        let gate = gate.clone();
        async move {
            let _permit = gate.acquire().await;
            sleep(Duration::from_millis(300)).await;
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
    const ROUNDING: f64 = 1e-6;
    assert!(shown <= time.as_secs_f64() + ROUNDING, "{shown} {time:?}");
    let memory = page.get("proxyherd_process_resident_memory_bytes");
    assert!((1e6..1e11).contains(&memory), "{memory}");
    let files = page.get("proxyherd_process_open_files");
    assert!(files >= 5.0 && files <= page.get("proxyherd_process_open_files_limit"));
}
