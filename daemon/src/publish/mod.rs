//! Publishing: a finished model goes from its run's folder to the registries that the spec names.
//!
//! Publishing again is harmless: a registry recognises the run. So a daemon that died while it published does it once more.

mod bundle;
mod folder;

use std::io;
use std::path::{Path, PathBuf};

use evopress_spec::events::Writer;
use evopress_spec::{EventKind, Plan, Publish, Published, Report, RunDir, Stage, atomic_write};

pub use bundle::{Bundle, BundleFile};
pub use folder::FolderRegistry;

/// A place for models.
pub trait Registry {
    /// The word in a spec: `folder`.
    fn kind(&self) -> &'static str;

    /// Puts the bundle there, or finds it there. `progress` is told the bytes done so far.
    ///
    /// # Errors
    /// It is not there now; nobody sees a part of it.
    fn publish(
        &self,
        bundle: &Bundle,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Published, PublishError>;
}

/// Why a model is not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file or folder.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// What was written is not what was read.
    #[error("the copy {} has SHA-256 {found}, expected {expected}: the medium or the memory is faulty", path.display())]
    Corrupt {
        /// The copy.
        path: PathBuf,
        /// Of the copy.
        found: String,
        /// Of what was read.
        expected: String,
    },
    /// There is nothing to publish.
    #[error("the run has no model in {}", .0.display())]
    NoModel(PathBuf),
    /// The run's own files.
    #[error("the run's {file} is not what it should be: {error}")]
    RunFile {
        /// Which.
        file: &'static str,
        /// What is wrong.
        error: serde_json::Error,
    },
}

impl PublishError {
    /// For `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, error }
    }
}

fn registry_of(target: &Publish) -> Box<dyn Registry> {
    match target {
        Publish::Folder { path, name } => Box::new(FolderRegistry {
            root: path.clone(),
            name: name.clone(),
        }),
    }
}

/// Publishes a finished run to every registry of its plan, writes where into its report, and tells of it in its events.
///
/// # Errors
/// One of the registries has it not; those before it keep it, and the next call goes on from there.
pub fn publish_run(run_dir: &RunDir) -> Result<Vec<Published>, PublishError> {
    let plan: Plan = read_json(&run_dir.plan(), "plan.json")?;
    let mut published = Vec::new();
    if !plan.publish.is_empty() {
        let mut events =
            Writer::open(&run_dir.events()).map_err(PublishError::io("open", &run_dir.events()))?;
        let mut tell = |kind| {
            if let Err(error) = events.write(kind) {
                tracing::warn!(run = run_dir.id(), %error, "event cannot be written");
            }
        };
        let start = std::time::Instant::now();
        tell(EventKind::StageStarted {
            stage: Stage::Publish,
        });
        let bundle = Bundle::of_run(run_dir)?;
        for target in &plan.publish {
            let registry = registry_of(target);
            let mut last = 0;
            let total = mebibytes(bundle.size_bytes());
            published.push(registry.publish(&bundle, &mut |bytes| {
                let done = mebibytes(bytes);
                if done >= last + 16 || done == total {
                    last = done;
                    tell(EventKind::Progress {
                        stage: Stage::Publish,
                        done,
                        total,
                        unit: "MiB".into(),
                    });
                }
            })?);
        }
        tell(EventKind::StageFinished {
            stage: Stage::Publish,
            seconds: start.elapsed().as_secs_f64(),
            reused: false,
        });
    }
    let mut report: Report = read_json(&run_dir.report_json(), "report.json")?;
    if report.published != published {
        report.published.clone_from(&published);
        let text = serde_json::to_vec_pretty(&report).map_err(|error| PublishError::RunFile {
            file: "report.json",
            error,
        })?;
        atomic_write(&run_dir.report_json(), &text)
            .map_err(PublishError::io("write", &run_dir.report_json()))?;
    }
    Ok(published)
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
