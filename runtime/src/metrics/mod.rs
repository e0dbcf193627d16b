//! Metrics in the Prometheus text format. A [`Metrics`] is passed around; there is no global one.

use std::fmt;
use std::sync::Arc;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use series::SeriesSet;

pub use stripes::Stripes;

mod process;
mod series;
mod stripes;
#[cfg(test)]
mod tests;

/// The registry of one process or of one part of it.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Registry,
}

/// A metric could not be registered: its name is invalid or taken.
#[derive(Debug)]
pub struct MetricsError(prometheus::Error);

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metric not registered: {}", self.0)
    }
}

impl std::error::Error for MetricsError {}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry of a server: with `tessera_build_info` and the metrics of the process.
    ///
    /// # Errors
    /// [`MetricsError`], never for a new registry.
    pub fn of_server(version: &str) -> Result<Self, MetricsError> {
        let metrics = Self::new();
        metrics.add(process::Process::new().map_err(MetricsError)?)?;
        let info = metrics.gauge("tessera_build_info", "1, with the version", &["version"])?;
        info.set(&[version], 1);
        Ok(metrics)
    }

    /// Registers a counter; `name` ends in `_total`.
    ///
    /// # Errors
    /// [`MetricsError`] when the name is invalid or taken.
    pub fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<Counter, MetricsError> {
        let family = IntCounterVec::new(Opts::new(name, help), labels).map_err(MetricsError)?;
        self.add(family.clone())?;
        // A series without labels is there from the start, with 0.
        let _ = labels.is_empty().then(|| family.get_metric_with_label_values(labels));
        Ok(Counter { family, series: SeriesSet::shared(labels.len()) })
    }

    /// Registers a gauge.
    ///
    /// # Errors
    /// [`MetricsError`] when the name is invalid or taken.
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<Gauge, MetricsError> {
        let family = IntGaugeVec::new(Opts::new(name, help), labels).map_err(MetricsError)?;
        self.add(family.clone())?;
        let _ = labels.is_empty().then(|| family.get_metric_with_label_values(labels));
        Ok(Gauge { family, series: SeriesSet::shared(labels.len()) })
    }

    /// Registers a histogram with the given upper bounds; `name` ends in its unit (`_seconds`, `_bytes`).
    ///
    /// # Errors
    /// [`MetricsError`] when the name is invalid or taken.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        bounds: &[f64],
    ) -> Result<Histogram, MetricsError> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        let family = HistogramVec::new(options, labels).map_err(MetricsError)?;
        self.add(family.clone())?;
        let _ = labels.is_empty().then(|| family.get_metric_with_label_values(labels));
        Ok(Histogram { family, series: SeriesSet::shared(labels.len()) })
    }

    /// Everything registered, in the text format 0.0.4.
    pub fn render(&self) -> String {
        let mut out = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut out);
        match encoded {
            Ok(()) => String::from_utf8_lossy(&out).into_owned(),
            Err(error) => format!("# metrics not rendered: {error}\n"),
        }
    }

    fn add(&self, family: impl prometheus::core::Collector + 'static) -> Result<(), MetricsError> {
        self.registry.register(Box::new(family)).map_err(MetricsError)
    }
}

/// A number that only grows.
#[derive(Clone)]
pub struct Counter {
    family: IntCounterVec,
    series: Arc<SeriesSet<IntCounter>>,
}

impl Counter {
    /// Adds one. `labels` in the order of registration; a wrong number of them counts nothing.
    pub fn inc(&self, labels: &[&str]) {
        self.add(labels, 1);
    }

    /// Adds `by`.
    pub fn add(&self, labels: &[&str], by: u64) {
        let make = |labels: &[&str]| self.family.get_metric_with_label_values(labels);
        self.series.with(labels, make, |series| series.inc_by(by));
    }

    /// Makes the series with these labels appear with 0, before the first count. An alert on an increase sees the first
    /// count only of a series that was there before.
    pub fn present(&self, labels: &[&str]) {
        self.add(labels, 0);
    }

    /// The value of one series.
    pub fn value(&self, labels: &[&str]) -> u64 {
        self.family.get_metric_with_label_values(labels).map_or(0, |series| series.get())
    }
}

/// A number that goes both ways.
#[derive(Clone)]
pub struct Gauge {
    family: IntGaugeVec,
    series: Arc<SeriesSet<IntGauge>>,
}

impl Gauge {
    /// Sets the value.
    pub fn set(&self, labels: &[&str], value: i64) {
        self.one(labels, |series| series.set(value));
    }

    /// Adds `by`, which may be negative.
    pub fn add(&self, labels: &[&str], by: i64) {
        self.one(labels, |series| series.add(by));
    }

    /// The value of one series.
    pub fn value(&self, labels: &[&str]) -> i64 {
        self.one(labels, |series| series.get()).unwrap_or(0)
    }

    fn one<T>(&self, labels: &[&str], act: impl FnOnce(&IntGauge) -> T) -> Option<T> {
        let make = |labels: &[&str]| self.family.get_metric_with_label_values(labels);
        self.series.with(labels, make, act)
    }
}

/// A distribution.
#[derive(Clone)]
pub struct Histogram {
    family: HistogramVec,
    series: Arc<SeriesSet<prometheus::Histogram>>,
}

impl Histogram {
    /// Counts one observation, in the unit that the name says.
    pub fn observe(&self, labels: &[&str], value: f64) {
        let make = |labels: &[&str]| self.family.get_metric_with_label_values(labels);
        self.series.with(labels, make, |series| series.observe(value));
    }
}

/// Upper bounds for times, from 0.1 ms to 10 s, in seconds.
pub const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
