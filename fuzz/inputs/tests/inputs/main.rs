//! Every input that is kept, and changes of these that are the same at each run: all are read
//! without a fault. What fails is left in a file whose path is printed.
//!
//! An input that ends the whole program (a stack overflow, memory) leaves its file, too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dictionary;
mod mutate;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};

use evopress_fuzz::{KINDS, Kind, folder};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::mutate::Material;
use crate::watch::Watch;

/// Changed inputs of each kind.
const NUM_CHANGED: usize = 4000;
const SEED: u64 = 19;

fn check(name: &str) {
    watch::limit_memory();
    let kind = KINDS.iter().find(|kind| kind.name == name).unwrap();
    let mut inputs = kept("corpus", kind);
    assert!(!inputs.is_empty(), "no inputs of kind {name} are kept");
    inputs.extend(kept("regressions", kind));
    let runner = Runner::new(kind);
    inputs.iter().for_each(|input| runner.run(input));
    let material = Material {
        words: dictionary::words(&folder().join("dictionaries").join(name)),
        inputs,
    };
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    for _ in 0..NUM_CHANGED {
        runner.run(&material.changed(&mut random));
    }
}

/// The inputs in a folder, in the order of their names.
fn kept(of: &str, kind: &Kind) -> Vec<Vec<u8>> {
    let folder = folder().join(of).join(kind.name);
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Runs inputs of a kind and leaves the last one in a file.
struct Runner {
    kind: Kind,
    file: PathBuf,
    watch: Watch,
}

impl Runner {
    fn new(kind: &Kind) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let file = folder.join(format!("fuzz-{}", kind.name));
        Self {
            kind: *kind,
            watch: Watch::new(&file),
            file,
        }
    }

    fn run(&self, input: &[u8]) {
        fs::write(&self.file, input).unwrap();
        self.watch.begin();
        (self.kind.run)(input);
        self.watch.end();
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is in {}", self.file.display());
        }
    }
}

#[test]
fn config() {
    check("config");
}

#[test]
fn gguf() {
    check("gguf");
}

#[test]
fn gguf_tokenizer() {
    check("gguf_tokenizer");
}

#[test]
fn index() {
    check("index");
}

#[test]
fn quantized() {
    check("quantized");
}

#[test]
fn safetensors() {
    check("safetensors");
}

#[test]
fn spec() {
    check("spec");
}

#[test]
fn tokenizer() {
    check("tokenizer");
}

#[test]
fn every_kind_has_a_target_and_a_corpus() {
    let names = |entries: fs::ReadDir| {
        let stems = entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned());
        let mut names: Vec<String> = stems.map(|it| it.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let kinds = KINDS.map(|kind| kind.name);
    for of in ["fuzz_targets", "corpus"] {
        assert_eq!(
            names(fs::read_dir(folder().join(of)).unwrap()),
            kinds,
            "{of}"
        );
    }
}
