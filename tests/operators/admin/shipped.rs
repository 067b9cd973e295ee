//! That the rules and the dashboard of `config/` ask for what there is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::herd;
use super::page::Page;
use crate::common::CLASSIC;

const ALERTS: &str = include_str!("../../../config/alerts.yml");
const DASHBOARD: &str = include_str!("../../../config/grafana.json");

/// All words of a text that begin as our series do.
fn series(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_part(c));
    words
        .filter(|word| word.starts_with("proxyherd_"))
        .collect()
}

#[test]
fn every_series_that_rules_and_panels_ask_for_is_there() {
    let herd = herd(CLASSIC);
    let page = Page::of(herd.web_address("Riley"));
    let there = page.names();
    let linux = cfg!(target_os = "linux");
    let is_told = |name: &str| linux || !name.contains("_process_");
    for (file, text) in [("alerts.yml", ALERTS), ("grafana.json", DASHBOARD)] {
        let asked = series(text);
        assert!(asked.len() >= 8, "{file}: {asked:?}");
        let missing: Vec<_> = asked
            .iter()
            .filter(|name| is_told(name) && !there.contains(**name))
            .collect();
        assert!(missing.is_empty(), "{file} asks for {missing:?}");
    }
}

#[test]
fn the_dashboard_shows_every_family() {
    let herd = herd(CLASSIC);
    let page = Page::of(herd.web_address("Riley"));
    let shown = series(DASHBOARD);
    let is_shown = |family: &&String| shown.iter().any(|name| name.starts_with(family.as_str()));
    let hidden: Vec<_> = page.kinds.keys().filter(|f| !is_shown(f)).collect();
    assert!(hidden.is_empty(), "no panel shows {hidden:?}");
}

#[test]
fn the_dashboard_is_whole() {
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
            let asked = target["expr"].as_str().unwrap();
            assert!(asked.contains("$job"), "{title}: {asked}");
        }
    }
    assert!(panels.len() > 10);
}

#[test]
fn every_alert_says_what_it_is_and_what_to_do() {
    let mut names = BTreeSet::new();
    for alert in ALERTS.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        assert!(names.insert(name), "{name} stands twice");
        for key in ["expr:", "for:", "severity:", "summary:", "description:"] {
            assert!(alert.contains(key), "{name} has no {key}");
        }
    }
    assert!(names.len() >= 8, "{names:?}");
}
