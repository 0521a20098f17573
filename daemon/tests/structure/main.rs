//! The shape of the code: which crate may use which, no circles between modules, where `unsafe` may
//! stand, and how long files and lines of docs may be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crates;
mod modules;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Every Rust file that git knows or would add, relative to the root.
fn rust_files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.rs",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "git lists no files");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<PathBuf> = listed.lines().map(PathBuf::from).collect();
    let there = files.into_iter().filter(|file| root().join(file).is_file());
    there.collect()
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}
