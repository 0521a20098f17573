//! The programs and plugins under test, as cargo builds them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::places::variable;

/// A folder with `evopressd`, `evopress-worker` and all shared libraries.
#[derive(Debug)]
pub struct Programs {
    folder: PathBuf,
}

/// The programs; built once in each test process, into the folder that the test itself was built
/// into. With `EVOPRESS_TEST_PROGRAMS=FOLDER` they are taken from there as they are.
pub fn programs() -> &'static Programs {
    static PROGRAMS: LazyLock<Programs> = LazyLock::new(|| Programs {
        folder: variable("EVOPRESS_TEST_PROGRAMS").unwrap_or_else(build),
    });
    &PROGRAMS
}

impl Programs {
    /// The daemon.
    pub fn evopressd(&self) -> PathBuf {
        self.folder.join("evopressd")
    }

    /// The worker.
    pub fn worker(&self) -> PathBuf {
        self.folder.join("evopress-worker")
    }

    /// A shared library by its crate: `evopress_drop`, `fault_panics`.
    pub fn library(&self, name: &str) -> PathBuf {
        let path = self.folder.join(format!("lib{name}.so"));
        assert!(path.is_file(), "{} is missing", path.display());
        path
    }

    /// Puts a library into a plugins folder, as a plugin.
    pub fn install(&self, name: &str, folder: &Path) {
        let plugin = name.strip_prefix("evopress_").unwrap_or(name);
        let target = folder.join(format!("libevopress_{plugin}.so"));
        let source = self.library(name);
        // A link costs nothing, and what cargo builds later is a new file beside it.
        if std::fs::hard_link(&source, &target).is_err() {
            std::fs::copy(&source, &target).unwrap();
        }
    }
}

/// `cargo build` of everything, like `make test`, so that nothing is built twice.
fn build() -> PathBuf {
    let profile_folder = target_folder();
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace", "--profile", profile])
        .arg("--target-dir")
        .arg(profile_folder.parent().unwrap())
        .current_dir(crate::repository())
        .status();
    assert!(status.unwrap().success(), "cargo build failed");
    profile_folder
}

/// `target/debug`, from this test's own `target/debug/deps/TEST`.
pub(crate) fn target_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(2).unwrap().to_owned()
}
