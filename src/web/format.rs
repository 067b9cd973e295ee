//! The Prometheus text format: families of series, each with its help and type.

use std::fmt::{Display, Write};

use crate::metrics::{Histogram, Metric, MetricKind, Series};

/// The text of a metrics page.
#[derive(Debug, Default)]
pub(super) struct MetricsText(String);

/// Names and values of labels, which distinguish the series of a family. Names are valid label
/// names; values may be any text.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

impl MetricsText {
    /// Appends the metrics of a table, once for each source. The labels of the sources tell them
    /// apart.
    pub(super) fn table<M>(&mut self, table: &[Metric<M>], sources: &[(Labels<'_>, &M)]) {
        for metric in table {
            let kind = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            self.family(kind, metric.name, metric.help);
            for &(labels, source) in sources {
                match metric.series {
                    Series::One(read) => self.sample(metric.name, labels, read(source)),
                    Series::By(label, values) => {
                        for &(value, read) in values {
                            let labels = [labels, &[(label, value)]].concat();
                            self.sample(metric.name, &labels, read(source));
                        }
                    }
                }
            }
        }
    }

    /// Appends a family of histograms in seconds.
    pub(super) fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        histograms: impl Iterator<Item = (Labels<'a>, &'a Histogram)>,
    ) {
        self.family("histogram", name, help);
        for (labels, histogram) in histograms {
            let mut count = 0;
            for (bound, at_most) in histogram.cumulative() {
                let bound = bound.map_or("+Inf".to_owned(), |b| b.as_secs_f64().to_string());
                let labels = [labels, &[("le", bound.as_str())]].concat();
                self.sample(&format!("{name}_bucket"), &labels, at_most);
                count = at_most;
            }
            let sum = histogram.sum().as_secs_f64();
            self.sample(&format!("{name}_sum"), labels, sum);
            // The count of the last bucket: a later read could differ from it.
            self.sample(&format!("{name}_count"), labels, count);
        }
    }

    /// Returns the text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn family(&mut self, kind: &str, name: &str, help: &str) {
        self.append(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        let mut separator = '{';
        for (label, value) in labels {
            self.append(format_args!("{separator}{label}=\""));
            escape(&mut self.0, value);
            self.0.push('"');
            separator = ',';
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.append(format_args!("{end} {value}\n"));
    }

    fn append(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(text);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_family_has_its_help_its_type_and_a_series_for_each_source_and_label() {
        const TABLE: &[Metric<f64>] = &[
            Metric::counter(
                "x_total",
                "Number of x.",
                Series::By("b", &[("1", |x| *x), ("2", |x| x * 2.0)]),
            ),
            Metric::gauge("y_seconds", "Time of y.", Series::One(|x| x / 1e6)),
        ];
        let mut text = MetricsText::default();
        text.table(TABLE, &[(&[("a", "say \"\\\n\"")], &5.0), (&[], &1.0)]);
        assert_eq!(
            text.finish(),
            "# HELP x_total Number of x.\n# TYPE x_total counter\n\
             x_total{a=\"say \\\"\\\\\\n\\\"\",b=\"1\"} 5\n\
             x_total{a=\"say \\\"\\\\\\n\\\"\",b=\"2\"} 10\n\
             x_total{b=\"1\"} 1\nx_total{b=\"2\"} 2\n\
             # HELP y_seconds Time of y.\n# TYPE y_seconds gauge\n\
             y_seconds{a=\"say \\\"\\\\\\n\\\"\"} 0.000005\ny_seconds 0.000001\n"
        );
    }

    #[test]
    fn the_buckets_of_a_histogram_are_cumulative() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(30), 2);
        histogram.observe(Duration::from_secs(9), 1);
        let mut text = MetricsText::default();
        let labels: Labels<'_> = &[("to", "Riley")];
        text.histograms(
            "z_seconds",
            "Time of z.",
            [(labels, &histogram)].into_iter(),
        );
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
