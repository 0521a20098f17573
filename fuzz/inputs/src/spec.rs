//! A pipeline's YAML.

use evopress_spec::{Roots, examine_bytes, render};

use crate::scratch::Scratch;
use crate::sentence::check;

/// Files that the pipelines of this repository name.
const FILES: [&str; 3] = [
    "SmolLM2-135M-Instruct.gguf",
    "calibration.txt",
    "evaluation.txt",
];

/// Of so many mistakes each is shown with its line.
const MAX_MISTAKES: usize = 120;

/// Reads a pipeline, with all its mistakes and their lines of the text.
pub fn spec(input: &[u8]) {
    thread_local! {
        static FOLDER: Scratch = with_files();
    }
    let roots = FOLDER.with(|folder| Roots {
        spec_dir: folder.path().to_owned(),
        data_roots: Vec::new(),
    });
    let Err(wrong) = examine_bytes(input, "pipeline.yaml", &roots) else {
        return;
    };
    assert!(!wrong.mistakes.is_empty(), "wrong without a mistake");
    assert!(wrong.mistakes.len() <= MAX_MISTAKES, "too many mistakes");
    for mistake in &wrong.mistakes {
        check(&mistake.to_string());
        let text = String::from_utf8_lossy(input);
        check(&render(
            std::slice::from_ref(mistake),
            &text,
            "pipeline.yaml",
            false,
        ));
    }
}

fn with_files() -> Scratch {
    let folder = Scratch::new();
    for name in FILES {
        folder.write(name, b"a text");
    }
    folder
}
