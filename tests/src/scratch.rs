//! A folder of one test, with plugins, specs, a state and a registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use evopress_spec::RunDir;
use serde_json::{Value, json};

use crate::places::{data_root, fixture, repository};
use crate::programs::{programs, target_folder};

const PLUGINS: [&str; 9] = [
    "drop",
    "gptq",
    "kl",
    "kquant",
    "magnitude",
    "perplexity",
    "rtn",
    "sparsegpt",
    "wanda",
];

/// Everything of one test; gone with it.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
}

/// How `evopressd run --json` ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed; null where that is no report.
    pub report: Value,
    /// What it said.
    pub stderr: String,
}

/// A pipeline for the tiny random model: 8 blocks, 25 % of the sub-blocks, seconds in all.
pub fn tiny(name: &str) -> Value {
    let text = |name: &str| repository().join("pipelines/text").join(name);
    json!({
        "apiVersion": "evopress/v1",
        "kind": "Pipeline",
        "metadata": {"name": name},
        "model": {"source": fixture("tiny"), "dtype": "f32", "device": "cpu"},
        "calibration": {"source": text("calibration.txt"), "tokens": 1024, "sequence_length": 64},
        "methods": [{"plugin": "drop", "options": {"granularity": "sub-block"}}],
        "target": {"drop": 0.25},
        "search": {
            "generations": 8,
            "offspring": 12,
            "initial": {"genotypes": 8, "tokens": 64},
            "stages": [{"tokens": 64, "survivors": 2}, {"tokens": 256, "survivors": 1}],
        },
        "baselines": {"random": 4},
        "evaluation": [{"source": text("evaluation.txt"), "tokens": 512, "sample": "start"}],
    })
}

/// A pipeline for the demo's model: 25 % of the sub-blocks after one generation, in bf16, four
/// sequences of 512.
pub fn smollm2(name: &str) -> Value {
    let mut spec = tiny(name);
    let model = data_root().join("models/SmolLM2-135M-Instruct.gguf");
    spec["model"] = json!({"source": model, "dtype": "bf16", "device": "cpu"});
    spec["calibration"]["tokens"] = json!(512);
    spec["calibration"]["sequence_length"] = json!(512);
    spec["search"] = json!({
        "generations": 1,
        "offspring": 1,
        "initial": {"genotypes": 1, "tokens": 512, "baselines": true},
        "stages": [{"tokens": 512, "survivors": 1}],
    });
    spec["baselines"]["random"] = json!(0);
    spec["evaluation"][0]["tokens"] = json!(2048);
    spec
}

impl Scratch {
    /// A new folder with the plugins of this repository.
    pub fn new() -> Self {
        let parent = target_folder();
        let folder = tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(parent)
            .unwrap();
        fs::create_dir(folder.path().join("plugins")).unwrap();
        fs::create_dir(folder.path().join("watched")).unwrap();
        let scratch = Self { folder };
        for plugin in PLUGINS {
            programs().install(&format!("evopress_{plugin}"), &scratch.plugins());
        }
        scratch
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The plugins' folder.
    pub fn plugins(&self) -> PathBuf {
        self.path().join("plugins")
    }

    /// The folder that daemons watch.
    pub fn watched(&self) -> PathBuf {
        self.path().join("watched")
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The registry.
    pub fn registry(&self) -> PathBuf {
        self.path().join("registry")
    }

    /// An entry for `publish`.
    pub fn publish(&self) -> Value {
        json!([{"registry": "folder", "path": self.registry()}])
    }

    /// Writes a spec beside the other things.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(format!("{name}.yaml"));
        fs::write(&path, text).unwrap();
        path
    }

    /// Drops a spec into the watched folder by a rename, as careful programs do.
    pub fn drop_text(&self, name: &str, text: &str) {
        let aside = self.write("aside", text);
        fs::rename(aside, self.watched().join(format!("{name}.yaml"))).unwrap();
    }

    /// Drops a spec into the watched folder, under its own name.
    pub fn drop_spec(&self, spec: &Value) {
        self.drop_text(spec["metadata"]["name"].as_str().unwrap(), &yaml(spec));
    }

    /// A program with the environment of a test: nothing of the user's settings.
    pub fn evopressd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs().evopressd());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("EVOPRESS_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .current_dir(self.path())
            .env("EVOPRESS_WORKER", programs().worker())
            .env("EVOPRESS_PLUGINS", self.plugins())
            .env("EVOPRESS_STATE", self.state())
            .env("EVOPRESS_THREADS", "1");
        command
    }

    /// `evopressd run --json` of a spec.
    pub fn run(&self, spec: &Value) -> Outcome {
        self.run_text(spec["metadata"]["name"].as_str().unwrap(), &yaml(spec))
    }

    /// `evopressd run --json` of any text, as `NAME.yaml`.
    pub fn run_text(&self, name: &str, text: &str) -> Outcome {
        self.write(name, text);
        let output = self
            .evopressd(&["run", "--json", &format!("{name}.yaml")])
            .output()
            .unwrap();
        Outcome {
            code: output.status.code(),
            report: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The report of a run that must succeed.
    pub fn report(&self, spec: &Value) -> Value {
        let outcome = self.run(spec);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.report
    }

    /// The folder of the only run of a pipeline.
    pub fn run_dir(&self, name: &str) -> RunDir {
        let runs = fs::read_dir(self.state().join("runs")).unwrap();
        let mut of_name: Vec<PathBuf> = runs
            .map(|entry| entry.unwrap().path())
            .filter(|path| is_of(path, name))
            .collect();
        assert_eq!(of_name.len(), 1, "{of_name:?}");
        RunDir::new(of_name.remove(0))
    }

    /// Text with this folder's path and every SHA-256 replaced, for snapshots.
    pub fn anonymous(&self, text: &str) -> String {
        text.replace(&self.path().display().to_string(), "SCRATCH")
            .replace(&repository().display().to_string(), "REPOSITORY")
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A spec as a person would write it.
pub fn yaml(spec: &Value) -> String {
    serde_yaml::to_string(spec).unwrap()
}

/// Whether a folder is `NAME-` and 12 hex digits.
fn is_of(path: &Path, name: &str) -> bool {
    let folder = path.file_name().unwrap().to_string_lossy();
    folder
        .rsplit_once('-')
        .is_some_and(|(prefix, _)| prefix == name)
}
