//! What a run has measured, for registries that keep more than files.

use std::collections::BTreeMap;

use evopress_core::time::parse_moment;
use evopress_spec::events::Reader;
use evopress_spec::{EventKind, Metric, Report, RunDir};

/// Parameters, metrics and tags of a run.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What was asked, by name.
    pub params: BTreeMap<String, String>,
    /// What was measured; the steps of a search are its generations.
    pub metrics: Vec<MetricPoint>,
    /// What describes the run, by name.
    pub tags: BTreeMap<String, String>,
    /// When it began, milliseconds since 1970.
    pub started_ms: i64,
    /// When it ended.
    pub ended_ms: i64,
    /// One paragraph.
    pub summary: String,
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// Its name.
    pub key: String,
    /// Its value, finite.
    pub value: f64,
    /// When it was measured, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The generation; 0 for what is measured once.
    pub step: i64,
}

impl Facts {
    /// Reads them from the run's events and report, as far as there are any.
    #[must_use]
    pub fn of_run(run_dir: &RunDir) -> Self {
        let mut facts = Self::default();
        facts.take_events(run_dir);
        let report = std::fs::read(run_dir.report_json())
            .ok()
            .and_then(|text| serde_json::from_slice::<Report>(&text).ok());
        if let Some(report) = report {
            facts.take_report(&report);
        }
        facts.tags.insert("evopress.run".to_owned(), run_dir.id());
        facts
    }

    /// A search that was killed has done some generations twice; the last time counts.
    fn take_events(&mut self, run_dir: &RunDir) {
        let mut generations = BTreeMap::new();
        for event in Reader::new(&run_dir.events()).poll().unwrap_or_default() {
            let at = milliseconds(&event.time);
            if self.started_ms == 0 {
                self.started_ms = at;
            }
            match event.kind {
                EventKind::Generation {
                    generation,
                    best_fitness,
                    forward_tokens,
                    ..
                } => {
                    #[expect(clippy::cast_precision_loss, reason = "a metric is a double")]
                    let tokens = forward_tokens as f64;
                    generations.insert(generation, (at, best_fitness, tokens));
                }
                EventKind::Finished { .. } => self.ended_ms = at,
                _ => {}
            }
        }
        for (generation, (at, fitness, tokens)) in generations {
            self.metric("best_fitness", fitness, at, i64::from(generation));
            self.metric("forward_tokens", tokens, at, i64::from(generation));
        }
    }

    fn take_report(&mut self, report: &Report) {
        let param = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        for (measure, value) in report.target.as_object().into_iter().flatten() {
            self.params
                .insert(format!("target.{measure}"), param(value));
        }
        let mode = serde_json::json!(report.search.mode);
        self.params.insert("search.mode".to_owned(), param(&mode));
        self.params.insert(
            "search.generations".to_owned(),
            report.search.generations.to_string(),
        );
        self.tags
            .insert("evopress.pipeline".to_owned(), report.name.clone());
        self.tags.insert(
            "evopress.spec_sha256".to_owned(),
            report.spec_digest.clone(),
        );
        self.tags
            .insert("evopress.hardware".to_owned(), report.hardware.clone());

        let at = self.ended_ms;
        #[expect(clippy::cast_precision_loss, reason = "a metric is a double")]
        let once = [
            (report.achieved.measure.clone(), report.achieved.value),
            ("parameters".to_owned(), report.achieved.parameters as f64),
            ("size_bytes".to_owned(), report.achieved.size_bytes as f64),
            ("search_seconds".to_owned(), report.search.seconds),
        ];
        for (key, value) in once {
            self.metric(&key, value, at, 0);
        }
        for result in &report.evaluation {
            let metric = word(result.metric);
            let key = format!("{}/{metric}", result.set);
            self.metric(&key, result.compressed, at, 0);
            self.metric(&format!("{key}/dense"), result.dense, at, 0);
            for (baseline, value) in &result.baselines {
                self.metric(&format!("{key}/{baseline}"), *value, at, 0);
            }
        }
        self.summary = format!(
            "{} by evopressd: {} {}",
            report.name, report.achieved.measure, report.achieved.value
        );
    }

    /// MLflow knows no infinity, and only some characters in a key.
    fn metric(&mut self, key: &str, value: f64, timestamp_ms: i64, step: i64) {
        if value.is_finite() {
            let allowed = |c: char| c.is_alphanumeric() || "_-. :/".contains(c);
            let key = key.replace(|c: char| !allowed(c), "_");
            self.metrics.push(MetricPoint {
                key,
                value,
                timestamp_ms,
                step,
            });
        }
    }
}

fn word(metric: Metric) -> String {
    serde_json::json!(metric)
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Milliseconds since 1970 of a moment as events write it; 0 for any other text.
fn milliseconds(moment: &str) -> i64 {
    let since_1970 = parse_moment(moment).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
