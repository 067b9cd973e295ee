//! A page of `/metrics`, parsed by the rules and conventions of the format.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::common::http_get;

/// A metrics page.
#[derive(Debug)]
pub(crate) struct MetricsPage {
    /// The kind of each family.
    pub(crate) kinds: BTreeMap<String, String>,
    /// By name and labels, as in the text.
    samples: BTreeMap<String, f64>,
}

impl MetricsPage {
    /// Gets the page of a server.
    pub(crate) fn of(address: SocketAddr) -> Self {
        let response = http_get(address, "/metrics");
        assert_eq!(response.status, 200);
        Self::parse(&response.body)
    }

    /// Parses a page. Panics if it breaks the format or its conventions.
    pub(crate) fn parse(text: &str) -> Self {
        let mut page = Self {
            kinds: BTreeMap::new(),
            samples: BTreeMap::new(),
        };
        assert!(text.ends_with('\n'), "the last line is terminated");
        let (mut helped, mut family) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect(line);
                assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
                helped = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect(line);
                assert_eq!(name, helped, "the type follows the help");
                check_name(name, kind);
                let previous = page.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(previous, None, "{name} is one family");
                family = name.to_owned();
            } else {
                page.sample(line, &family);
            }
        }
        page.check_histograms();
        page
    }

    fn sample(&mut self, line: &str, family: &str) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let name = series.split('{').next().unwrap();
        let suffix = name.strip_prefix(family).expect(line);
        let suffixes: &[&str] = match self.kinds[family].as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(suffixes.contains(&suffix), "{line} under {family}");
        if series.len() > name.len() {
            check_labels(&series[name.len()..]);
        }
        let value: f64 = value.parse().expect(line);
        let may_be_negative = self.kinds[family] == "gauge";
        assert!(
            value.is_finite() && (value >= 0.0 || may_be_negative),
            "{line}"
        );
        let previous = self.samples.insert(series.to_owned(), value);
        assert_eq!(previous, None, "{series} occurs once");
    }

    /// Checks that buckets are cumulative and end with the count, and that there is a sum.
    fn check_histograms(&self) {
        let histograms = self.kinds.iter().filter(|(_, kind)| *kind == "histogram");
        for (name, _) in histograms {
            let mut by_labels: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (series, &value) in &self.samples {
                let Some(labels) = series.strip_prefix(&format!("{name}_bucket{{")) else {
                    continue;
                };
                let (others, bound) = labels.rsplit_once("le=\"").expect(series);
                let bound = bound.strip_suffix("\"}").expect(series);
                let bound = bound.replace("+Inf", "inf").parse().unwrap();
                let others = others.trim_end_matches(',').to_owned();
                by_labels.entry(others).or_default().push((bound, value));
            }
            // A server without neighbours has no links.
            let has_some = !by_labels.is_empty() || name.contains("_link_");
            assert!(has_some, "{name} has buckets");
            for (labels, mut buckets) in by_labels {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.is_sorted_by_key(|bucket| bucket.1), "{buckets:?}");
                let (last, all) = buckets.pop().unwrap();
                assert_eq!(last, f64::INFINITY);
                let labels = match labels.as_str() {
                    "" => String::new(),
                    labels => format!("{{{labels}}}"),
                };
                assert_eq!(self.get(&format!("{name}_count{labels}")), all);
                let sum = self.get(&format!("{name}_sum{labels}"));
                // An event may be added to the sum before it is counted.
                assert!(sum > 0.0 || all == 0.0, "{name}{labels}");
            }
        }
    }

    /// Returns the value of a series, written as in the page.
    #[track_caller]
    pub(crate) fn get(&self, series: &str) -> f64 {
        let value = self.samples.get(series);
        *value.unwrap_or_else(|| panic!("{series} is not among {:#?}", self.samples.keys()))
    }

    /// Returns true for a series that counts events: one of a counter, or the count of a histogram.
    pub(crate) fn is_count(&self, series: &str) -> bool {
        let name = series.split('{').next().unwrap();
        let kind = |family: &str| self.kinds.get(family).map(String::as_str);
        let of_histogram = name.strip_suffix("_count").and_then(kind);
        kind(name) == Some("counter") || of_histogram == Some("histogram")
    }

    /// Returns the number of connections to a port that were rejected for a reason.
    #[track_caller]
    pub(crate) fn rejected(&self, port: &str, reason: &str) -> f64 {
        let name = "proxyherd_connections_rejected_total";
        self.get(&format!("{name}{{port=\"{port}\",reason=\"{reason}\"}}"))
    }

    /// Returns the names of series, without labels.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let series = self.samples.keys();
        series.map(|s| s.split('{').next().unwrap()).collect()
    }

    /// Returns all series, with labels.
    pub(crate) fn series(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }
}

/// Checks that a name has the prefix of the program and the suffix of its kind.
fn check_name(name: &str, kind: &str) {
    let lower = |b: u8| b.is_ascii_lowercase() || b == b'_';
    assert!(
        name.starts_with("proxyherd_") && name.bytes().all(lower),
        "{name}"
    );
    assert_eq!(kind == "counter", name.ends_with("_total"), "{name} {kind}");
    match kind {
        "histogram" => assert!(name.ends_with("_seconds"), "{name}"),
        _ => assert!(["counter", "gauge"].contains(&kind), "{name} {kind}"),
    }
}

/// Checks that labels are well-formed.
fn check_labels(labels: &str) {
    let inner = labels.strip_prefix('{').and_then(|l| l.strip_suffix('}'));
    let mut rest = inner.expect(labels);
    loop {
        let (name, value) = rest.split_once("=\"").expect(labels);
        assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{labels}");
        let (value, after) = value.split_once('"').expect(labels);
        // Names of servers need no escaping.
        assert!(!value.contains('\\'), "{labels}");
        if after.is_empty() {
            return;
        }
        rest = after.strip_prefix(',').expect(labels);
    }
}
