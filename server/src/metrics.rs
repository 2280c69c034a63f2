//! Counts, as Prometheus reads them (OpenMetrics).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use sidestack::Error;

use crate::site::Live;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of a request's duration, in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What the server counts, and what its engine does.
pub struct Metrics {
    registry: Registry,
    active: Gauge,
    answers: Family<[(&'static str, u16); 1], Counter>,
    failures: Family<[(&'static str, String); 1], Counter>,
    took: Histogram,
}

impl Metrics {
    /// Nothing yet.
    pub fn new(live: &Arc<Live>) -> Self {
        let (active, answers, failures) = (Gauge::default(), Family::default(), Family::default());
        let took = Histogram::new(BOUNDS);
        let mut registry = Registry::with_prefix("sidestack");
        registry.register(
            "requests",
            "Requests answered, by status; 499: the client went away before",
            answers.clone(),
        );
        registry.register("requests_active", "Requests that run or wait now", active.clone());
        registry.register("request_duration_seconds", "From a request's head to its answer", took.clone());
        registry.register("errors", "Calls of the script that failed, by kind", failures.clone());
        registry.register_collector(Box::new(Interpreters(live.clone())));
        Metrics { registry, active, answers, failures, took }
    }

    /// A request has come.
    pub fn begun(&self) {
        self.active.inc();
    }

    /// It is over.
    pub fn answered(&self, status: u16, took: Duration) {
        self.active.dec();
        self.answers.get_or_create(&[("status", status)]).inc();
        self.took.observe(took.as_secs_f64());
    }

    /// Its call failed.
    pub fn failed(&self, error: &Error) {
        // A script's own codes are without number.
        let kind = match error {
            Error::Script { .. } => "script",
            other => other.code().unwrap_or("other"),
        };
        self.failures.get_or_create(&[("kind", kind.into())]).inc();
    }

    /// All of it.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What the engine counts itself, read when it is asked for.
#[derive(Debug)]
struct Interpreters(Arc<Live>);

impl Collector for Interpreters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let site = self.0.site();
        let now = site.engine().metrics();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("interpreters", "Interpreters", now.interpreters),
            ("fibers", "Fibers alive", now.fibers),
            ("stacks_in_use", "C stacks in use, those of interpreters' own work included", now.stacks),
            ("calls_queued", "Calls that wait for a fiber, and requests that wait for a worker", site.queued()),
        ] {
            let gauge = ConstGauge::new(count(value));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let failures = Family::<[(&'static str, &'static str); 1], Counter>::default();
        for (kind, count) in now.failures.list() {
            failures.get_or_create(&[("kind", kind)]).inc_by(count);
        }
        let help = "Calls and tasks that failed, by kind; cancels and panics are counted when they begin";
        failures.encode(encoder.encode_descriptor("failures", help, None, failures.metric_type())?)?;
        for (name, help, value) in [
            ("interpreters_abandoned", "Interpreters that were lost with their memory", now.abandoned),
            ("deadlocks", "How often fibers waited for each other and for nothing else", now.deadlocks),
            ("interpreters_quarantined", "Interpreters that were lost and replaced", now.quarantined),
            ("interpreters_reclaimed", "Those of them whose memory was given back", now.reclaimed),
            ("interpreters_recycled", "Interpreters that were replaced after --max-requests", now.recycled),
            ("objects_leaked", "Host objects that guests still held when they were closed", now.leaked_objects),
            ("host_calls_slow", "Host functions that held their interpreter for 50 ms", now.slow_host_calls),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}
