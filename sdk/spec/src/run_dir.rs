//! Where a run keeps its files: `STATE/runs/ID/…`, and where a rejected spec is recorded:
//! `STATE/rejected/NAME-…/`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{InputDigests, Plan, digest_bytes};

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// The run in this folder.
    pub fn new(root: impl Into<PathBuf>) -> RunDir {
        RunDir { root: root.into() }
    }

    /// The run of this ID under a state folder.
    pub fn of_run(state: &Path, id: &str) -> RunDir {
        RunDir::new(state.join("runs").join(id))
    }

    /// The ID of a run: its pipeline's name and 12 hex digits of all that decides its result. A
    /// text or a model that is only moved keeps the ID, since its digest stands for its path or its
    /// address.
    pub fn run_id(plan: &Plan, digests: &InputDigests) -> String {
        let mut identity = json!(plan);
        if let Some(plan) = identity.as_object_mut() {
            plan.shift_remove("limits");
        }
        identity["model"]["source"] = Value::Null;
        if let Some(model) = identity["model"].as_object_mut() {
            model.shift_remove("origin");
        }
        identity["calibration"]["source"] = Value::Null;
        identity["database"]["source"] = Value::Null;
        for set in identity["evaluation"].as_array_mut().into_iter().flatten() {
            set["source"] = Value::Null;
        }
        let mut identity = json!({ "plan": identity, "digests": digests });
        identity.sort_all_objects();
        format!(
            "{}-{}",
            plan.name,
            &digest_bytes(identity.to_string().as_bytes())[..12]
        )
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The run's ID: the folder's name.
    pub fn id(&self) -> String {
        self.root
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// The spec as it was dropped.
    pub fn spec(&self) -> PathBuf {
        self.root.join("spec.yaml")
    }

    /// The resolved plan, JSON.
    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    /// Digests, versions, hardware, JSON.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("manifest.json")
    }

    /// The events, one JSON object a line.
    pub fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    /// Folder of the search's checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    /// Folder of the artifact.
    pub fn model(&self) -> PathBuf {
        self.root.join("model")
    }

    /// The report as a page.
    pub fn report_html(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// The report as JSON.
    pub fn report_json(&self) -> PathBuf {
        self.root.join("report.json")
    }

    /// The worker's log.
    pub fn worker_log(&self) -> PathBuf {
        self.root.join("worker.log")
    }

    /// The file that a living worker holds a lock on.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
}

/// The folder of one rejected spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedDir {
    root: PathBuf,
}

impl RejectedDir {
    /// Where a spec of this text is recorded, under a name made from its file's.
    pub fn of_spec(state: &Path, file_name: &str, text: &[u8]) -> RejectedDir {
        let stem = Path::new(file_name)
            .file_stem()
            .map(|stem| stem.to_string_lossy())
            .unwrap_or_default();
        let name: String = stem
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .take(63)
            .collect();
        let folder = format!("{name}-{}", &digest_bytes(text)[..12]);
        RejectedDir {
            root: state.join("rejected").join(folder),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The spec as it was dropped.
    pub fn spec(&self) -> PathBuf {
        self.root.join("spec.yaml")
    }

    /// The mistakes as a JSON list.
    pub fn mistakes_json(&self) -> PathBuf {
        self.root.join("mistakes.json")
    }

    /// The mistakes as a person reads them.
    pub fn mistakes_txt(&self) -> PathBuf {
        self.root.join("mistakes.txt")
    }
}
