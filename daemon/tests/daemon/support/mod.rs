//! A scratch folder with a model, texts and specs, and daemons that work in it.

mod daemon;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use daemon::Daemon;

/// Everything of one test.
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("watched")).unwrap();
        fs::write(folder.path().join("model.gguf"), "not looked into here").unwrap();
        fs::write(folder.path().join("calibration.txt"), "calibration").unwrap();
        fs::write(folder.path().join("held-out.txt"), "held out").unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn watched(&self) -> PathBuf {
        self.path().join("watched")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub(crate) fn registry(&self) -> PathBuf {
        self.path().join("registry")
    }

    /// Puts a spec into the watched folder by a rename, as careful programs do.
    pub(crate) fn drop_spec(&self, name: &str, behaviour: &str) {
        self.drop_text(name, &self.spec(name, behaviour, 0));
    }

    pub(crate) fn drop_text(&self, name: &str, text: &str) {
        let temporary = self.path().join("dropped.tmp");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.watched().join(format!("{name}.yaml"))).unwrap();
    }

    /// A spec; the fake worker behaves as it says, and another seed makes another run.
    pub(crate) fn spec(&self, name: &str, behaviour: &str, seed: u64) -> String {
        let root = self.path().display();
        format!(
            "apiVersion: evopress/v1
kind: Pipeline
metadata: {{name: {name}, labels: {{fake: {behaviour}}}}}
model: {{source: {root}/model.gguf}}
calibration: {{source: {root}/calibration.txt}}
methods:
  - {{plugin: drop, options: {{granularity: atom}}}}
target: {{drop: 0.25}}
search: {{seed: {seed}}}
evaluation: [{{name: held-out, source: {root}/held-out.txt}}]
publish: [{{registry: folder, path: {root}/registry, name: {name}}}]
"
        )
    }

    pub(crate) fn write_spec(&self, name: &str, behaviour: &str) -> PathBuf {
        let path = self.path().join(format!("{name}.yaml"));
        fs::write(&path, self.spec(name, behaviour, 0)).unwrap();
        path
    }

    /// `evopressd COMMAND` in this scratch folder.
    pub(crate) fn evopressd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evopressd"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("EVOPRESS_WORKER", fake_worker());
        for variable in [
            "EVOPRESS_WATCH",
            "EVOPRESS_CONFIG",
            "EVOPRESS_PLUGINS",
            "EVOPRESS_LISTEN",
            "EVOPRESS_LOG",
        ] {
            command.env_remove(variable);
        }
        command.env("EVOPRESS_STATE", self.state());
        command
    }

    /// The folder of the only run whose ID begins with `name`.
    pub(crate) fn run_folder(&self, name: &str) -> PathBuf {
        let runs = fs::read_dir(self.state().join("runs"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut of_name: Vec<_> = runs
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with(&format!("{name}-"))
            })
            .collect();
        assert_eq!(of_name.len(), 1, "{of_name:?}");
        of_name.remove(0)
    }

    /// Each start of the fake worker: "ATTEMPT LAST_GENERATION".
    pub(crate) fn starts(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.run_folder(name).join("starts.txt")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn report(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.run_folder(name).join("report.json")).unwrap())
            .unwrap()
    }

    /// Lets a worker that waits go on.
    pub(crate) fn go(&self, name: &str) {
        fs::write(self.run_folder(name).join("go"), "").unwrap();
    }
}

pub(crate) fn fake_worker() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_evopress-fake-worker"))
}

/// A program of Debian's: the one that `make test` has unpacked, else the system's.
pub(crate) fn debian(program: &str) -> Command {
    let unpacked = std::env::var_os("EVOPRESS_TEST_TOOLS")
        .map(|folder| Path::new(&folder).join(program))
        .filter(|path| path.is_file());
    Command::new(unpacked.unwrap_or_else(|| PathBuf::from(program)))
}

/// Waits until `found` finds something.
pub(crate) fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(it) = found() {
            return it;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "waited 30 s for {what}"
        );
        std::thread::sleep(Duration::from_millis(25));
    }
}
