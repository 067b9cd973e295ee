//! A page of `/metrics`, read by rules as strict as the format has them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::http::get;

/// All series of one answer.
#[derive(Debug)]
pub(crate) struct Page {
    /// What each family is.
    pub(crate) kinds: BTreeMap<String, String>,
    /// By name and labels, as they stand.
    samples: BTreeMap<String, f64>,
}

impl Page {
    pub(crate) fn of(address: SocketAddr) -> Self {
        let answer = get(address, "/metrics");
        assert_eq!(answer.status, 200);
        Self::parse(&answer.body)
    }

    /// Fails on whatever breaks the format or its customs.
    pub(crate) fn parse(text: &str) -> Self {
        let mut page = Self {
            kinds: BTreeMap::new(),
            samples: BTreeMap::new(),
        };
        assert!(text.ends_with('\n'), "the last line ends");
        let (mut helped, mut family) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect(line);
                assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
                helped = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect(line);
                assert_eq!(name, helped, "help and type stand together");
                check_name(name, kind);
                let before = page.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} stands in one piece");
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
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let before = self.samples.insert(series.to_owned(), value);
        assert_eq!(before, None, "{series} stands once");
    }

    /// Buckets grow to the count, and a sum is there.
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
            // A server alone has no links.
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
                assert_eq!(sum > 0.0, all > 0.0, "{name}{labels}");
            }
        }
    }

    /// The value of a series, written as it stands in the page.
    #[track_caller]
    pub(crate) fn get(&self, series: &str) -> f64 {
        let value = self.samples.get(series);
        *value.unwrap_or_else(|| panic!("{series} is not among {:#?}", self.samples.keys()))
    }

    /// The number of connections to a port that were rejected for a reason.
    #[track_caller]
    pub(crate) fn rejected(&self, port: &str, reason: &str) -> f64 {
        let name = "proxyherd_connections_rejected_total";
        self.get(&format!("{name}{{port=\"{port}\",reason=\"{reason}\"}}"))
    }

    /// Names of series without their labels.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let series = self.samples.keys();
        series.map(|s| s.split('{').next().unwrap()).collect()
    }

    /// All series, with their labels.
    pub(crate) fn series(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }
}

/// A name says whose it is, and its end what is counted, by custom.
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

fn check_labels(labels: &str) {
    let inner = labels.strip_prefix('{').and_then(|l| l.strip_suffix('}'));
    let mut rest = inner.expect(labels);
    loop {
        let (name, value) = rest.split_once("=\"").expect(labels);
        assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{labels}");
        let (value, behind) = value.split_once('"').expect(labels);
        // Nothing in a herd's names needs to be escaped.
        assert!(!value.contains('\\'), "{labels}");
        if behind.is_empty() {
            return;
        }
        rest = behind.strip_prefix(',').expect(labels);
    }
}
