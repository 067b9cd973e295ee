//! The Prometheus text format: families of series, each with its help and type.

use std::fmt::{Display, Write};

use crate::metrics::Histogram;

/// What sort of numbers a family has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// They only grow while the server runs.
    Counter,
    /// They go up and down.
    Gauge,
}

/// A text that grows by families.
#[derive(Debug, Default)]
pub(super) struct MetricsText(String);

/// One family: its samples follow each other.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

/// Names and values that tell the series of a family apart. Names are valid
/// label names, written down in this program; values may hold anything.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

impl MetricsText {
    /// Begins a family of counters or gauges.
    pub(super) fn family(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
    ) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.begin(kind, name, help)
    }

    /// Begins a family of histograms.
    pub(super) fn histograms(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.begin("histogram", name, help)
    }

    /// A family of one series without labels.
    pub(super) fn single(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        value: impl Display,
    ) {
        self.family(kind, name, help).sample(&[], value);
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn begin(&mut self, kind: &str, name: &'static str, help: &'static str) -> Family<'_> {
        let text = &mut self.0;
        add(text, format_args!("# HELP {name} {help}\n"));
        add(text, format_args!("# TYPE {name} {kind}\n"));
        Family { text, name }
    }
}

impl Family<'_> {
    /// One series: `value` is a number, in the base unit that the name ends in.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// One histogram, in seconds.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) -> &mut Self {
        let mut count = 0;
        for (bound, at_most) in histogram.cumulative() {
            let bound = bound.map_or("+Inf".to_owned(), |bound| bound.as_secs_f64().to_string());
            self.line("_bucket", labels, Some(&bound), at_most);
            count = at_most;
        }
        self.line("_sum", labels, None, histogram.sum().as_secs_f64());
        // The last bucket's, so that both agree while others count on.
        self.line("_count", labels, None, count);
        self
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        add(self.text, format_args!("{}{suffix}", self.name));
        let bound = bound.map(|bound| ("le", bound));
        let mut before = '{';
        for (name, value) in labels.iter().copied().chain(bound) {
            add(self.text, format_args!("{before}{name}=\""));
            escape(self.text, value);
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        add(self.text, format_args!(" {value}\n"));
    }
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

fn add(text: &mut String, what: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_family_has_its_help_its_type_and_its_samples() {
        let mut text = MetricsText::default();
        text.family(Kind::Counter, "x_total", "How many.")
            .sample(&[("a", "1"), ("b", "say \"\\\n\"")], 5)
            .sample(&[("a", "2"), ("b", "")], 6);
        text.single(Kind::Gauge, "y_seconds", "How long.", 0.000_001);
        assert_eq!(
            text.finish(),
            "# HELP x_total How many.\n# TYPE x_total counter\n\
             x_total{a=\"1\",b=\"say \\\"\\\\\\n\\\"\"} 5\nx_total{a=\"2\",b=\"\"} 6\n\
             # HELP y_seconds How long.\n# TYPE y_seconds gauge\ny_seconds 0.000001\n"
        );
    }

    #[test]
    fn a_histogram_counts_up_to_all_there_is() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(30), 2);
        histogram.observe(Duration::from_secs(9), 1);
        let mut text = MetricsText::default();
        text.histograms("z_seconds", "How long.")
            .histogram(&[("to", "Riley")], &histogram);
        let text = text.finish();
        for line in [
            "# TYPE z_seconds histogram\n",
            "z_seconds_bucket{to=\"Riley\",le=\"0.000025\"} 0\n",
            "z_seconds_bucket{to=\"Riley\",le=\"0.00005\"} 2\n",
            "z_seconds_bucket{to=\"Riley\",le=\"5\"} 2\n",
            "z_seconds_bucket{to=\"Riley\",le=\"+Inf\"} 3\n",
            "z_seconds_sum{to=\"Riley\"} 9.00006\n",
            "z_seconds_count{to=\"Riley\"} 3\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
