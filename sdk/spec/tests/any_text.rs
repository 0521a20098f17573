//! No text makes the check panic, hang, or say something without a place.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use evopress_spec::{Mistake, Plan, Roots, check, check_bytes, locate, render};
use proptest::prelude::*;

const PIPELINE: &str = include_str!("../../../pipelines/smollm2-depth.yaml");

/// A folder in which every path of the pipeline is a file: what is generated is checked to the end.
fn data() -> &'static Path {
    static DATA: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    DATA.get_or_init(|| {
        let data = tempfile::tempdir().unwrap();
        for folder in ["models", "text"] {
            std::fs::create_dir(data.path().join(folder)).unwrap();
        }
        for file in [
            "models/SmolLM2-135M-Instruct.gguf",
            "text/calibration.txt",
            "text/evaluation.txt",
        ] {
            std::fs::write(data.path().join(file), file).unwrap();
        }
        data
    })
    .path()
}

fn outcome(text: &str) -> Result<Plan, Vec<Mistake>> {
    check(
        text,
        "any.yaml",
        &Roots {
            spec_dir: data().to_owned(),
            data_roots: vec![],
        },
    )
}

fn holds(text: &str) {
    match outcome(text) {
        Ok(plan) => {
            let written = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&written).unwrap(), plan);
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            let unified = text.replace("\r\n", "\n").replace('\r', "\n");
            let num_lines = unified.lines().count().max(1);
            for mistake in &mistakes {
                assert!((1..=num_lines + 1).contains(&mistake.line), "{mistake}");
                assert!(
                    mistake.column >= 1 && mistake.path.starts_with('$'),
                    "{mistake}"
                );
                assert!(
                    !mistake.to_string().contains(|c: char| c.is_control()),
                    "{mistake:?}"
                );
                assert!(
                    !mistake.message.contains("pipeline cannot be read"),
                    "{mistake}"
                );
            }
            let shown = render(&mistakes, text, "any.yaml", false);
            assert!(
                !shown.contains(|c: char| c.is_control() && c != '\n'),
                "{shown:?}"
            );
        }
    }
    locate(text, "/search/stages/0/tokens");
}

/// Pieces that YAML and specs are made of.
fn soup() -> impl Strategy<Value = String> {
    let pieces = [
        "a", "target", "drop", "search", "stages", "tokens", "methods", "plugin", "source", "0.25",
        "512", "-1", ".nan", "1e400", "0x1F", "0o17", "017", "~", "null", "true", "yes", ": ", ":",
        "- ", "-", "{", "}", "[", "]", ", ", "\n", "\n  ", "\n    ", "\t", "\"", "'", "|\n",
        ">-\n", "&x ", "*x", "!t ", "!!str ", "#", " #c", "---\n", "...\n", "? ", "%", "@", "`",
        "\\", "<<: ", "\r\n", "\r", "\u{7}", "\u{85}", "\u{2028}", "\u{FEFF}", "é", "🙂",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..60)
        .prop_map(|pieces| pieces.concat())
}

/// The demo's pipeline with some lines and characters changed.
fn broken() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0usize..12, soup());
    prop::collection::vec(edit, 1..4).prop_map(|edits| {
        let mut text: Vec<char> = PIPELINE.chars().collect();
        for (at, removed, inserted) in edits {
            let at = at.index(text.len());
            let end = (at + removed).min(text.len());
            let inserted = inserted.chars().take(removed);
            text.splice(at..end, inserted);
        }
        text.into_iter().collect()
    })
}

/// The demo's pipeline with one value exchanged for another.
fn exchanged() -> impl Strategy<Value = String> {
    let values = [
        "",
        "0",
        "1",
        "-1",
        "1.0",
        "1e3",
        "0.5",
        "x",
        "\"512\"",
        "true",
        "[]",
        "[1]",
        "{}",
        "{a: 1}",
        "[[{}]]",
        "~",
        "18446744073709551616",
        "-.inf",
        "'~'",
        "0x200",
        "512",
        "01000",
    ];
    let values = prop::sample::select(values.to_vec());
    (any::<prop::sample::Index>(), values).prop_map(|(at, value)| {
        let colons: Vec<usize> = PIPELINE.match_indices(": ").map(|(at, _)| at).collect();
        let from = colons[at.index(colons.len())] + 2;
        let length = PIPELINE[from..].find([',', '}', '\n']).unwrap();
        format!("{}{value}{}", &PIPELINE[..from], &PIPELINE[from + length..])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_characters(text in "\\PC*") {
        holds(&text);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        assert!(check_bytes(&bytes, "any.yaml", &Roots::default()).is_err());
    }

    #[test]
    fn any_soup_of_yaml(text in soup()) {
        holds(&text);
    }

    #[test]
    fn a_pipeline_with_characters_changed(text in broken()) {
        holds(&text);
    }

    #[test]
    fn a_pipeline_with_values_exchanged(text in exchanged()) {
        holds(&text);
    }
}
