//! A good spec, the files that it names, and the mistakes of other specs.

use std::fs;

use evopress_spec::{Roots, check};
use tempfile::TempDir;

/// A spec in which everything is right.
pub(crate) const GOOD: &str = "\
apiVersion: evopress/v1
kind: Pipeline
metadata: {name: small, labels: {team: edge}}
model: {source: models/small.gguf, dtype: f32, device: cpu}
calibration: {source: text/calibration.txt, tokens: 4096, sequence_length: 512}
methods:
  - {plugin: drop, options: {granularity: sub-block}}
target: {drop: 0.25}
search:
  mode: paper
  generations: 10
  offspring: 8
  initial: {genotypes: 4, tokens: 512}
  stages: [{tokens: 512, survivors: 2}, {tokens: 2048, survivors: 1}]
  fitness: {plugin: kl}
  seed: 0
evaluation:
  - {name: held-out, source: text/evaluation.txt, tokens: 1024, gate: {max_perplexity_ratio: 3.0}}
artifacts: [{format: huggingface}]
publish: [{registry: folder, path: registry, name: small}]
";

pub(crate) fn data() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    for folder in ["models/empty-folder", "text"] {
        fs::create_dir_all(data.path().join(folder)).unwrap();
    }
    for file in [
        "models/small.gguf",
        "models/small.bin",
        "text/calibration.txt",
        "text/evaluation.txt",
    ] {
        fs::write(data.path().join(file), file).unwrap();
    }
    fs::write(data.path().join("text/nothing.txt"), "").unwrap();
    data
}

/// The mistakes of a text, one line each, with the machine's own paths left out.
pub(crate) fn told(text: &str) -> String {
    let data = data();
    let roots = Roots {
        spec_dir: data.path().join("specs"),
        data_roots: vec![data.path().to_owned()],
    };
    let mistakes = check(text, "small.yaml", &roots).expect_err("a mistake was expected");
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    lines
        .join("\n")
        .replace(&*data.path().to_string_lossy(), "DATA")
}

/// The mistakes of the good spec with `part` replaced `by` another text.
pub(crate) fn told_with(part: &str, by: &str) -> String {
    assert_eq!(GOOD.matches(part).count(), 1, "`{part}` must be there once");
    told(&GOOD.replace(part, by))
}
