//! Publishing: a finished model goes from its run's folder to the registries that the spec names.
//!
//! Each registry is a publication of its own, recorded in the journal: one that fails stops no
//! other, and is tried again until it succeeds, without anything being computed again. Publishing
//! again is harmless: a registry recognises the run.

use std::path::Path;
use std::time::{Duration, Instant};

use evopress_core::atomic_write;
use evopress_registries::{Bundle, Endpoints, PublishError, registry_of};
use evopress_spec::events::Writer;
use evopress_spec::{EventKind, Plan, Publish, Published, Report, RunDir, Stage};

use crate::journal::{Journal, JournalError, PENDING, Publication};

/// How publications are done.
#[derive(Clone, Debug)]
pub struct Publisher<'a> {
    /// Records which registry has which run.
    pub journal: &'a Journal,
    /// Servers that specs do not name.
    pub endpoints: &'a Endpoints,
    /// Pause before the second try; it doubles for each further one.
    pub pause: Duration,
}

/// A selection of a run's publications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that are not there yet.
    Missing,
    /// These again, by their indices in the plan, whether they are there or not.
    Again(Vec<usize>),
}

/// The results of one round of publications.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Publications that succeeded in this round, or that the registry had already.
    pub published: Vec<Published>,
    /// Publications that failed in this round: the kind of registry and a sentence.
    pub failed: Vec<(&'static str, String)>,
    /// A sentence about all that is still missing; `None` where nothing is.
    pub pending: Option<String>,
}

/// An error that keeps publications from being tried at all.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The run's files.
    #[error(transparent)]
    Run(#[from] PublishError),
    /// The journal fails.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The plan of a run.
///
/// # Errors
/// It cannot be read.
pub fn plan_of(run_dir: &RunDir) -> Result<Plan, PublishError> {
    read_json(&run_dir.plan(), "plan.json")
}

impl Publisher<'_> {
    /// Publishes a finished run, writes where it is into its report, and tells of it in its events.
    ///
    /// # Errors
    /// The run's own files or the journal cannot be used. A registry that fails is part of the
    /// outcome.
    pub fn publish(&self, run_dir: &RunDir, which: &Which) -> Result<Outcome, StageError> {
        let plan = plan_of(run_dir)?;
        let run = run_dir.id();
        let mut outcome = Outcome::default();
        let wanted = |it: &Publication| match which {
            Which::Missing => it.published.is_none(),
            Which::Again(indices) => indices.contains(&it.idx),
        };
        let known = self.journal.publications(&run, &plan.publish)?;
        let todo: Vec<_> = known.into_iter().filter(wanted).collect();
        if !todo.is_empty() {
            let mut events = Events::open(run_dir)?;
            let start = Instant::now();
            events.tell(EventKind::StageStarted {
                stage: Stage::Publish,
            });
            let bundle = Bundle::of_run(run_dir)?;
            for publication in todo {
                let Some(target) = plan.publish.get(publication.idx) else {
                    continue;
                };
                self.one(
                    &run,
                    publication.idx,
                    target,
                    &bundle,
                    &mut events,
                    &mut outcome,
                )?;
            }
            events.tell(EventKind::StageFinished {
                stage: Stage::Publish,
                seconds: start.elapsed().as_secs_f64(),
                reused: false,
            });
        }
        let now = self.journal.publications(&run, &plan.publish)?;
        write_report(run_dir, &now)?;
        outcome.pending = pending(&now);
        Ok(outcome)
    }

    fn one(
        &self,
        run: &str,
        idx: usize,
        target: &Publish,
        bundle: &Bundle,
        events: &mut Events,
        outcome: &mut Outcome,
    ) -> Result<(), JournalError> {
        let total = mebibytes(bundle.size_bytes());
        let mut last = 0;
        let registry = registry_of(target, self.endpoints);
        let result = registry.publish(bundle, &mut |bytes| {
            let done = mebibytes(bytes).min(total);
            if done > last && (done >= last + 16 || done == total) {
                last = done;
                events.tell(EventKind::Progress {
                    stage: Stage::Publish,
                    done,
                    total,
                    unit: "MiB".into(),
                });
            }
        });
        match result {
            Ok(published) => {
                self.journal.published(run, idx, &published)?;
                outcome.published.push(published);
            }
            Err(error) => {
                let reason = error.to_string();
                self.journal.unpublished(run, idx, &reason, self.pause)?;
                events.tell(EventKind::Warning {
                    message: format!("publication to {target} failed: {reason}"),
                });
                outcome.failed.push((registry.kind(), reason));
            }
        }
        Ok(())
    }
}

/// The run's events; one that cannot be written stops nothing.
struct Events {
    writer: Writer,
    run: String,
}

impl Events {
    fn open(run_dir: &RunDir) -> Result<Self, PublishError> {
        let writer =
            Writer::open(&run_dir.events()).map_err(PublishError::io("open", &run_dir.events()))?;
        let run = run_dir.id();
        Ok(Self { writer, run })
    }

    fn tell(&mut self, kind: EventKind) {
        if let Err(error) = self.writer.write(kind) {
            tracing::warn!(run = self.run, %error, "event cannot be written");
        }
    }
}

fn pending(publications: &[Publication]) -> Option<String> {
    let sentences: Vec<_> = publications
        .iter()
        .filter(|it| it.published.is_none())
        .map(|it| {
            format!(
                "{}: {}",
                it.place,
                it.reason.as_deref().unwrap_or("not tried yet")
            )
        })
        .collect();
    (!sentences.is_empty()).then(|| format!("{PENDING}: {}", sentences.join("; ")))
}

fn write_report(run_dir: &RunDir, publications: &[Publication]) -> Result<(), PublishError> {
    let path = run_dir.report_json();
    let mut report: Report = read_json(&path, "report.json")?;
    let published: Vec<_> = publications
        .iter()
        .filter_map(|it| it.published.clone())
        .collect();
    let unpublished: Vec<_> = publications
        .iter()
        .filter_map(Publication::unpublished)
        .collect();
    if report.published == published && report.unpublished == unpublished {
        return Ok(());
    }
    report.published = published;
    report.unpublished = unpublished;
    let text = serde_json::to_vec_pretty(&report).map_err(|error| PublishError::RunFile {
        file: "report.json",
        error,
    })?;
    atomic_write(&path, &text).map_err(PublishError::io("write", &path))
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

fn read_json<T: serde::de::DeserializeOwned>(
    path: &Path,
    file: &'static str,
) -> Result<T, PublishError> {
    let bytes = std::fs::read(path).map_err(PublishError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|error| PublishError::RunFile { file, error })
}
