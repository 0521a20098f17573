//! What a reader meets: files of a length that one mind holds, docs that fit the screen and say
//! something.

use std::path::Path;

use crate::{read, rust_files};

/// Lines of a file, at most.
const LONGEST_FILE: usize = 400;
/// Columns of a line of docs, at most.
const WIDEST_DOC: usize = 100;

/// Folders whose crates may hold `unsafe` code: the interface to plugins, the tensors, maps of
/// files; plugins that misbehave.
const UNSAFE_ALLOWED: &[&str] = &[
    "sdk/plugin/",
    "sdk/plugin-tch/",
    "sdk/tensor/",
    "tests/plugins/",
];

/// Single files beside these that hold `unsafe` code, and why.
const UNSAFE_FILES: &[(&str, &str)] = &[
    (
        "sdk/source/src/mapped_file.rs",
        "maps a model's file into memory",
    ),
    (
        "daemon/worker/src/process.rs",
        "asks the kernel to end with its parent",
    ),
    (
        "daemon/src/worker_process/spawn.rs",
        "sets up the worker between fork and exec",
    ),
    ("daemon/tests/structure/text.rs", "names it to look for it"),
];

#[test]
fn files_are_short() {
    let files = rust_files();
    let long: Vec<String> = files
        .iter()
        .map(|file| (file, read(file).lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(file, lines)| format!("{}: {lines}", file.display()))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn unsafe_code_is_where_it_is_allowed() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let name = file.to_str().unwrap();
        let is_allowed = UNSAFE_ALLOWED.iter().any(|folder| name.starts_with(folder))
            || UNSAFE_FILES.iter().any(|(allowed, _)| name == *allowed);
        let has_unsafe = read(&file).lines().any(is_unsafe);
        if has_unsafe && !is_allowed {
            wrong.push(name.to_owned());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn is_unsafe(line: &str) -> bool {
    let code = line.trim();
    let starts = [
        "unsafe {",
        "unsafe impl",
        "unsafe fn",
        "unsafe extern",
        "unsafe trait",
    ];
    !code.starts_with("//") && starts.iter().any(|start| code.contains(start))
}

fn is_doc(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("///") || line.starts_with("//!")
}

#[test]
fn docs_fit_the_screen_and_say_something() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let text = read(&file);
        let (mut is_first, mut in_code) = (true, false);
        for (idx, line) in text.lines().enumerate() {
            if !is_doc(line) {
                (is_first, in_code) = (true, false);
                continue;
            }
            let said = line.trim_start()[3..].trim();
            in_code ^= said.starts_with("```");
            let is_empty_talk = is_first && (said.starts_with("The same") || said == "Why.");
            let may_be_wide = in_code || said.starts_with('|') || said.starts_with("```");
            if is_empty_talk || line.chars().count() > WIDEST_DOC && !may_be_wide {
                wrong.push(place(&file, idx));
            }
            is_first = false;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn place(file: &Path, line_idx: usize) -> String {
    format!("{}:{}", file.display(), line_idx + 1)
}
