//! The alert rules and the dashboard in `config/` use metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use proxyherd::server::ServerPlan;
use serde_json::Value;
use tempfile::TempDir;

use super::metrics_page::MetricsPage;
use super::with_web;
use crate::common::{ALONE, CLASSIC, Herd, Topology, eventually};

const ALERTS: &str = include_str!("../../../config/alerts.yml");
const ALERT_TESTS: &str = include_str!("alerts_test.yml");
const DASHBOARD: &str = include_str!("../../../config/grafana.json");

/// Returns the names of this program's metrics in a text.
fn series(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_part(c));
    words
        .filter(|word| word.starts_with("proxyherd_"))
        .collect()
}

/// Starts a herd with everything that has metrics.
fn herd() -> (Herd, TempDir) {
    with_storage(CLASSIC)
}

fn with_storage(topology: Topology<'_>) -> (Herd, TempDir) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_owned();
    let adjust = move |plan: &mut ServerPlan| {
        with_web(plan);
        plan.storage.dir = Some(path.clone());
        plan.storage.sync = Duration::from_millis(10);
    };
    (Herd::new(topology).adjust(adjust).launch_all(), dir)
}

#[test]
fn the_metrics_of_storage_are_those_of_its_files() {
    let (mut herd, dir) = with_storage(ALONE);
    let file_bytes = || {
        let entries = fs::read_dir(dir.path().join("Riley")).unwrap();
        let sizes = entries.map(|entry| entry.unwrap().metadata().unwrap().len());
        sizes.sum::<u64>() as f64
    };
    let page = |herd: &Herd| MetricsPage::of(herd.web_address("Riley"));
    let storage = |page: &MetricsPage, name: &str| page.get(&format!("proxyherd_storage_{name}"));
    let mut client = herd.client("Riley");
    for n in 0..3 {
        client.ask(&format!("IAMAT client-{n} +1+1 1"));
    }
    let written = eventually("the reports are on the disk", || {
        let page = page(&herd);
        let is_written = storage(&page, "durable_sequence") == 3.0;
        (is_written && storage(&page, "bytes") == file_bytes()).then_some(page)
    });
    for (name, value) in [
        ("lag_reports", 0.0),
        ("lag_seconds", 0.0),
        ("failing", 0.0),
        ("files", 1.0),
        ("compactions_total", 1.0),
        ("errors_total", 0.0),
        ("written_bytes_total", file_bytes()),
        ("recovered_reports", 0.0),
    ] {
        assert_eq!(storage(&written, name), value, "{name}");
    }
    let syncs = storage(&written, "syncs_total");
    assert!((2.0..=4.0).contains(&syncs), "{syncs}");
    let bytes = file_bytes();
    herd.kill("Riley");
    herd.launch("Riley");
    let page = eventually("a new file is complete", || {
        let page = page(&herd);
        (storage(&page, "durable_sequence") == 3.0).then_some(page)
    });
    assert_eq!(storage(&page, "recovered_reports"), 3.0);
    assert_eq!(storage(&page, "recovered_bytes"), bytes);
    assert_eq!(storage(&page, "recovery_skipped{reason=\"damaged\"}"), 0.0);
    assert_eq!(page.get("proxyherd_clients"), 3.0);
}

#[test]
fn every_metric_of_the_rules_and_panels_exists() {
    let (herd, _dir) = herd();
    let page = MetricsPage::of(herd.web_address("Riley"));
    let exposed = page.names();
    let linux = cfg!(target_os = "linux");
    let is_exposed = |name: &str| linux || !name.contains("_process_");
    for (file, text) in [("alerts.yml", ALERTS), ("grafana.json", DASHBOARD)] {
        let used = series(text);
        assert!(used.len() >= 8, "{file}: {used:?}");
        let missing: Vec<_> = used
            .iter()
            .filter(|name| is_exposed(name) && !exposed.contains(**name))
            .collect();
        assert!(missing.is_empty(), "{file} uses {missing:?}");
    }
}

#[test]
fn the_dashboard_shows_every_family() {
    let (herd, _dir) = herd();
    let page = MetricsPage::of(herd.web_address("Riley"));
    let shown = series(DASHBOARD);
    let is_shown = |family: &&String| shown.iter().any(|name| name.starts_with(family.as_str()));
    let missing: Vec<_> = page.kinds.keys().filter(|f| !is_shown(f)).collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}

#[test]
fn every_panel_has_a_description_and_selects_the_job() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(
            !panel["description"].as_str().unwrap().is_empty(),
            "{title}"
        );
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let used = target["expr"].as_str().unwrap();
            assert!(used.contains("$job"), "{title}: {used}");
        }
    }
    assert!(panels.len() > 10);
}

#[test]
fn every_alert_has_a_summary_and_says_what_to_do() {
    let mut names = BTreeSet::new();
    for alert in ALERTS.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        assert!(names.insert(name), "{name} occurs twice");
        for key in ["expr:", "for:", "severity:", "summary:", "description:"] {
            assert!(alert.contains(key), "{name} has no {key}");
        }
    }
    assert!(names.len() >= 8, "{names:?}");
}

#[test]
fn every_alert_has_a_herd_in_which_it_fires() {
    for alert in ALERTS.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        let fires = format!("labels: '{{alertname=\"{name}\"}}'");
        assert!(ALERT_TESTS.contains(&fires), "{name}");
    }
}

/// Needs promtool of Prometheus; without it, this test does nothing and says so.
#[test]
fn the_alerts_fire_when_they_should_and_in_no_healthy_herd() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/operators/web/alerts_test.yml"
    );
    match Command::new("promtool")
        .args(["test", "rules", file])
        .output()
    {
        Ok(ended) => assert!(ended.status.success(), "{ended:#?}"),
        Err(error) => eprintln!("skipped, since promtool does not run: {error}"),
    }
}
