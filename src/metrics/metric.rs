//! The description of a metric: its name, help and labels, and how it is read.

/// A metric whose values are read from an `M`.
#[derive(Debug)]
pub struct Metric<M: 'static> {
    /// The name. It ends with the base unit, and for counters with `_total`.
    pub name: &'static str,
    /// The kind of the values.
    pub kind: MetricKind,
    /// One sentence for people.
    pub help: &'static str,
    /// The values.
    pub series: Series<M>,
}

/// The kind of a metric's values.
#[derive(Clone, Copy, Debug)]
pub enum MetricKind {
    /// They only grow while the server runs.
    Counter,
    /// They go up and down.
    Gauge,
}

/// The value of a label, and how to read the value of its series.
pub type Labelled<M> = (&'static str, fn(&M) -> f64);

/// The series of a metric.
#[derive(Debug)]
pub enum Series<M: 'static> {
    /// One value.
    One(fn(&M) -> f64),
    /// The name of a label, and for each of its values one of the metric.
    By(&'static str, &'static [Labelled<M>]),
}

impl<M> Metric<M> {
    /// Describes a counter.
    pub const fn counter(name: &'static str, help: &'static str, series: Series<M>) -> Self {
        Self {
            name,
            kind: MetricKind::Counter,
            help,
            series,
        }
    }

    /// Describes a gauge.
    pub const fn gauge(name: &'static str, help: &'static str, series: Series<M>) -> Self {
        Self {
            name,
            kind: MetricKind::Gauge,
            help,
            series,
        }
    }
}
