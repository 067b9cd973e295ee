//! The alert rules and the dashboard in `config/` use metrics that exist.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::herd;
use super::metrics_page::MetricsPage;
use crate::common::CLASSIC;

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

#[test]
fn every_metric_of_the_rules_and_panels_exists() {
    let herd = herd(CLASSIC);
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
    let herd = herd(CLASSIC);
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
