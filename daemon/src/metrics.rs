//! What Prometheus sees. Labels come from small closed sets: states, stages, outcomes, and the
//! slots that runs occupy.

use std::sync::Arc;

use evopress_spec::{Publish, Stage};
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::journal::{Journal, JournalError, RunState};

/// All metrics of a daemon.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    journal: Arc<Journal>,
    runs: IntGaugeVec,
    queue_length: IntGauge,
    pending_publications: IntGaugeVec,
    /// Of the watched folder.
    pub watcher: WatcherMetrics,
    /// Of the specs that were dropped, by what became of them.
    pub specs: IntCounterVec,
    /// Of the runs in progress and the work done.
    pub work: WorkMetrics,
    /// 1 while the daemon waits for its workers to stop.
    pub draining: IntGauge,
}

/// Of the watched folder.
#[derive(Clone, Debug)]
pub struct WatcherMetrics {
    /// 1 when the last scan succeeded.
    pub healthy: IntGauge,
    /// The time of the last successful scan, seconds since 1970.
    pub last_scan: Gauge,
    /// Number of subscriptions to the system's events.
    pub armed: IntCounter,
}

/// Of the runs in progress and the work done.
#[derive(Clone, Debug)]
pub struct WorkMetrics {
    /// Attempts by how they ended.
    pub attempts: IntCounterVec,
    /// Stages that workers finished, wall time by stage.
    pub stages: HistogramVec,
    /// Tokens that workers sent through compressed models.
    pub forward_tokens: IntCounter,
    /// The generation of the run in each slot.
    pub generation: IntGaugeVec,
    /// How many generations it shall have.
    pub generations: IntGaugeVec,
    /// Its best fitness.
    pub best_fitness: GaugeVec,
    /// KL divergence on held-out text, by slot.
    pub held_out: GaugeVec,
    /// Its speed.
    pub tokens_per_second: GaugeVec,
    /// Its stage: 1 for the one that it is in.
    pub stage: IntGaugeVec,
    /// Publications by kind of registry.
    pub published: IntCounterVec,
    /// Tries of publications that failed, by kind of registry.
    pub publication_failures: IntCounterVec,
    /// Bytes in the cache folder when it was last listed.
    pub cache_size: IntGauge,
    /// Entries in it.
    pub cache_entries: IntGauge,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A metric's name or label is not valid, or two have one name.
    pub fn new(journal: Arc<Journal>) -> prometheus::Result<Self> {
        let all = Registered(Registry::new());
        let build = all.add(IntGaugeVec::new(
            Opts::new(
                "evopress_build_info",
                "The version that runs; the value is always 1.",
            ),
            &["version"],
        )?)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let started = all.add(Gauge::new(
            "evopress_start_time_seconds",
            "When the daemon started, seconds since 1970.",
        )?)?;
        started.set(evopress_core::time::seconds_since_1970());
        all.0.register(Box::new(journal.transitions()))?;
        let specs = all.counters(
            "evopress_specs_total",
            "Files of the watched folder, by what became of them.",
            "outcome",
        )?;
        for outcome in ["queued", "known", "rejected"] {
            let _ = specs.with_label_values(&[outcome]);
        }
        Ok(Self {
            runs: all.add(IntGaugeVec::new(
                Opts::new("evopress_runs", "Runs in the journal, by state."),
                &["state"],
            )?)?,
            queue_length: all.add(IntGauge::new(
                "evopress_queue_length_runs",
                "Runs that wait for a free slot.",
            )?)?,
            pending_publications: all.add(IntGaugeVec::new(
                Opts::new(
                    "evopress_publications_pending",
                    "Publications of finished runs that wait to be tried again, by kind of registry.",
                ),
                &["registry"],
            )?)?,
            watcher: WatcherMetrics::new(&all)?,
            specs,
            work: WorkMetrics::new(&all)?,
            draining: all.add(IntGauge::new(
                "evopress_draining",
                "1 while the daemon waits for its workers to stop.",
            )?)?,
            registry: all.0,
            journal,
        })
    }

    /// The text format of Prometheus. States are counted in the journal at this moment.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn render(&self) -> Result<String, JournalError> {
        for (state, count) in self.journal.counts()? {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.runs.with_label_values(&[state.as_str()]).set(count);
            if state == RunState::Queued {
                self.queue_length.set(count);
            }
        }
        for kind in Publish::KINDS {
            self.pending_publications.with_label_values(&[kind]).set(0);
        }
        for (kind, count) in self.journal.pending_publications()? {
            self.pending_publications
                .with_label_values(&[&kind])
                .set(count);
        }
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl WatcherMetrics {
    fn new(all: &Registered) -> prometheus::Result<Self> {
        Ok(Self {
            healthy: all.add(IntGauge::new(
                "evopress_watcher_healthy",
                "1 when the last scan of the watched folder succeeded.",
            )?)?,
            last_scan: all.add(Gauge::new(
                "evopress_watcher_last_scan_timestamp_seconds",
                "When the watched folder was last scanned successfully, seconds since 1970.",
            )?)?,
            armed: all.add(IntCounter::new(
                "evopress_watcher_subscriptions_total",
                "How often the daemon subscribed to the system's events of the watched folder.",
            )?)?,
        })
    }
}

impl WorkMetrics {
    fn new(all: &Registered) -> prometheus::Result<Self> {
        let slot = |name, help| IntGaugeVec::new(Opts::new(name, help), &["slot"]);
        let slot_value = |name, help| GaugeVec::new(Opts::new(name, help), &["slot"]);
        let metrics = Self {
            attempts: all.counters(
                "evopress_worker_attempts_total",
                "Attempts of workers, by how they ended.",
                "outcome",
            )?,
            stages: all.add(HistogramVec::new(
                HistogramOpts::new(
                    "evopress_stage_duration_seconds",
                    "Wall time of the stages of runs.",
                )
                .buckets(prometheus::exponential_buckets(0.1, 3.162_277_66, 14)?),
                &["stage"],
            )?)?,
            forward_tokens: all.add(IntCounter::new(
                "evopress_forward_tokens_total",
                "Tokens that searches sent forward through compressed models.",
            )?)?,
            generation: all.add(slot(
                "evopress_run_generation",
                "Generation of the search in a slot.",
            )?)?,
            generations: all.add(slot(
                "evopress_run_generations",
                "Generations that the search in a slot shall have.",
            )?)?,
            best_fitness: all.add(slot_value(
                "evopress_run_best_fitness",
                "Best fitness of the search in a slot; lower is better.",
            )?)?,
            held_out: all.add(slot_value(
                "evopress_run_held_out_kl_divergence",
                "KL divergence of the best on held-out text that nothing is selected by, in nats a token.",
            )?)?,
            tokens_per_second: all.add(slot_value(
                "evopress_run_forward_tokens_per_second",
                "Forward tokens per second of the search in a slot, over the last generations.",
            )?)?,
            stage: all.add(IntGaugeVec::new(
                Opts::new(
                    "evopress_run_stage",
                    "1 for the stage that the run in a slot is in.",
                ),
                &["slot", "stage"],
            )?)?,
            published: all.counters(
                "evopress_publications_total",
                "Models published, by kind of registry.",
                "registry",
            )?,
            publication_failures: all.counters(
                "evopress_publication_failures_total",
                "Tries to publish a model that failed, by kind of registry.",
                "registry",
            )?,
            cache_size: all.add(IntGauge::new(
                "evopress_cache_size_bytes",
                "Size of the cache when it was last pruned to its limit.",
            )?)?,
            cache_entries: all.add(IntGauge::new(
                "evopress_cache_entries",
                "Entries in the cache when it was last pruned to its limit.",
            )?)?,
        };
        for stage in Stage::ALL {
            let _ = metrics.stages.with_label_values(&[stage.as_str()]);
        }
        for outcome in ["done", "gate_failed", "failed", "crashed", "interrupted"] {
            let _ = metrics.attempts.with_label_values(&[outcome]);
        }
        for kind in Publish::KINDS {
            let _ = metrics.published.with_label_values(&[kind]);
            let _ = metrics.publication_failures.with_label_values(&[kind]);
        }
        Ok(metrics)
    }

    /// Removes the values of a run from its slot.
    pub fn clear_slot(&self, slot: usize) {
        let slot = slot.to_string();
        let labels = &[slot.as_str()];
        // Not there is as good as removed.
        let _ = self.generation.remove_label_values(labels);
        let _ = self.generations.remove_label_values(labels);
        let _ = self.best_fitness.remove_label_values(labels);
        let _ = self.held_out.remove_label_values(labels);
        let _ = self.tokens_per_second.remove_label_values(labels);
        for stage in Stage::ALL {
            let _ = self
                .stage
                .remove_label_values(&[slot.as_str(), stage.as_str()]);
        }
    }
}

/// A registry that hands back what it took.
struct Registered(Registry);

impl Registered {
    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> prometheus::Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), &[label])?)
    }
}
