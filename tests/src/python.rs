//! Unmodified transformers, asked about folders.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::places::{repository, variable};

/// Asks `scripts/as_loaded.py`; one answer for each question. Its head says what both are.
pub fn transformers(questions: &[Value]) -> Vec<Value> {
    let packages = variable("EVOPRESS_TEST_PYTHONPATH")
        .expect("EVOPRESS_TEST_PYTHONPATH is not set: `make test` sets it in .cargo/config.toml");
    assert!(
        packages.is_dir(),
        "{} is missing: run `make test` once",
        packages.display()
    );
    let mut python = Command::new("python3")
        .arg(repository().join("tests/scripts/as_loaded.py"))
        .env("PYTHONPATH", packages)
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = serde_json::to_vec(questions).unwrap();
    python.stdin.take().unwrap().write_all(&text).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "as_loaded.py failed");
    serde_json::from_slice(&output.stdout).unwrap()
}
