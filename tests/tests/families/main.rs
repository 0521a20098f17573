//! Every family as it is written: transformers loads our folders, llama.cpp our GGUF files, and
//! both compute what transformers computes with the model that we have read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod yarn;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use evopress::export;
use evopress::genotype::{Genotype, SearchSpace};
use evopress::plugin::{Edit, GroupBudget, Level, SubBlock, Unit};
use evopress::source::Source;
use evopress_tests::{fixture, llama_cpp_logits, transformers_logits};
use serde_json::{Value, json};
use tch::{Kind, Tensor};
use tempfile::TempDir;

/// A family's fixture, and llama.cpp's name of what it is written as.
struct Case {
    name: &'static str,
    class: &'static str,
    /// llama.cpp's architecture, and how many tokens it sees as the model does.
    gguf: Option<(&'static str, usize)>,
}

const ALL: usize = 40;

fn case(name: &'static str, class: &'static str, gguf: (&'static str, usize)) -> Case {
    Case {
        name,
        class,
        gguf: Some(gguf),
    }
}

fn cases() -> Vec<Case> {
    vec![
        case("yarn", "LlamaForCausalLM", ("llama", ALL)),
        Case {
            name: "yarn-turns",
            class: "LlamaForCausalLM",
            gguf: None,
        },
        // llama.cpp knows no windows there: nine tokens are within all of them.
        case("mistral", "MistralForCausalLM", ("llama", 9)),
        case("ministral", "MinistralForCausalLM", ("llama", 9)),
        // Queries grow from the seventeenth token on.
        case("ministral3", "Ministral3ForCausalLM", ("mistral3", ALL)),
        case("phi3", "Phi3ForCausalLM", ("phi3", ALL)),
        case("phi3-partial", "Phi3ForCausalLM", ("phi3", 17)),
        case("qwen2", "Qwen2ForCausalLM", ("qwen2", ALL)),
        case("qwen2-windows", "Qwen2ForCausalLM", ("qwen2", 9)),
        case("qwen3", "Qwen3ForCausalLM", ("qwen3", ALL)),
        case("gemma2", "Gemma2ForCausalLM", ("gemma2", ALL)),
        case("gemma3", "Gemma3ForCausalLM", ("gemma3", ALL)),
        case("gemma3-nested", "Gemma3ForCausalLM", ("gemma3", ALL)),
        case("smollm3", "SmolLM3ForCausalLM", ("smollm3", ALL)),
        Case {
            name: "smollm3-biased",
            class: "SmolLM3ForCausalLM",
            gguf: None,
        },
        case("olmo2", "Olmo2ForCausalLM", ("olmo2", ALL)),
        case("olmo3", "Olmo3ForCausalLM", ("olmo2", ALL)),
        case("granite", "GraniteForCausalLM", ("granite", ALL)),
    ]
}

impl Case {
    fn source(&self) -> Source {
        Source::open(&self.folder()).unwrap()
    }

    fn folder(&self) -> PathBuf {
        fixture("families").join(self.name)
    }

    fn expected(&self) -> HashMap<String, Tensor> {
        let file = self.folder().join("expected.safetensors");
        Tensor::read_safetensors(file)
            .unwrap()
            .into_iter()
            .collect()
    }

    fn ids(&self, count: usize) -> Vec<i64> {
        let ids = Vec::<i64>::try_from(&self.expected()["input_ids"]).unwrap();
        ids[..count].to_vec()
    }

    /// How far logits of the first tokens are from transformers', of the largest logit.
    fn error(&self, answer: &Value) -> f64 {
        self.error_of(&logits(answer))
    }

    fn error_of(&self, found: &Tensor) -> f64 {
        let expected = self.expected()["logits"].narrow(0, 0, found.size()[0]);
        (found - &expected).abs().max().double_value(&[]) / expected.abs().max().double_value(&[])
    }
}

/// The logits of an answer, `[T, V]`.
fn logits(answer: &Value) -> Tensor {
    let rows = answer["logits"].as_array().unwrap();
    let numbers = rows.iter().flat_map(|row| row.as_array().unwrap());
    let numbers: Vec<f64> = numbers.map(|it| it.as_f64().unwrap()).collect();
    Tensor::from_slice(&numbers).view([rows.len() as i64, -1])
}

/// A search that drops the first or the last block.
fn space(source: &Source) -> SearchSpace {
    let outline = source.spec().outline(4);
    let level = |name: &str, cost, edits| Level {
        name: name.into(),
        cost,
        edits,
    };
    let unit = |block_idx: u32| {
        let halves = [SubBlock::Attention, SubBlock::Mlp];
        let dropped = halves.map(|half| Edit::drop(block_idx, half));
        Unit {
            name: format!("block {block_idx}"),
            group: "all".into(),
            block_idx,
            layer_idxs: Vec::new(),
            levels: vec![
                level("keep", 1, Vec::new()),
                level("drop", 0, dropped.to_vec()),
            ],
            calibration_level: 0,
        }
    };
    let units = vec![unit(0), unit(outline.num_blocks - 1)];
    let budget = GroupBudget {
        group: "all".into(),
        max_cost: 1,
    };
    SearchSpace::with_budgets(&outline, units, &[budget]).unwrap()
}

/// Writes the model as it is, as a folder and as a GGUF file.
fn write(case: &Case, scratch: &Path) -> (PathBuf, PathBuf) {
    let source = case.source();
    let (space, genotype) = (space(&source), Genotype(vec![0, 0]));
    let folder = scratch.join(case.name);
    std::fs::create_dir(&folder).unwrap();
    let kind = Kind::Float;
    export::huggingface(&source, &space, &[], &genotype, kind, &folder, |_, _| {}).unwrap();
    let file = scratch.join(format!("{}.gguf", case.name));
    if case.gguf.is_some() {
        export::gguf::check(&source).unwrap();
        // llama.cpp rounds what it multiplies to the type of the weights.
        let whole = Source::open(&folder).unwrap();
        export::gguf::write(&whole, &space, &[], &genotype, kind, &file, |_, _| {}).unwrap();
    }
    let candidate = space.candidate(&genotype);
    for artifact in [&folder, &file].into_iter().filter(|it| it.exists()) {
        let artifact = Source::open_artifact(artifact).unwrap();
        export::verify(&artifact, &source, &space, &[], &candidate, kind).unwrap();
    }
    (folder, file)
}

#[test]
fn transformers_computes_the_same_with_what_is_written() {
    let scratch = TempDir::new().unwrap();
    let cases = cases();
    let questions: Vec<Value> = cases
        .iter()
        .map(|case| {
            let (folder, _) = write(case, scratch.path());
            json!({"folder": folder, "ids": case.ids(ALL), "dtype": "float32"})
        })
        .collect();
    for (case, answer) in cases.iter().zip(transformers_logits(&questions)) {
        let error = case.error(&answer);
        println!("{}: {error:.1e}", case.name);
        assert_eq!(answer["class"], case.class, "{}", case.name);
        assert!(error < 1e-5, "{}: {error:.1e}", case.name);
    }
}

/// llama.cpp keeps keys and values in 16 bits, which is all that its logits may be off by: a wrong
/// switch of a family moves them by a tenth and more.
#[test]
fn llama_cpp_computes_the_same_with_what_is_written() {
    let scratch = TempDir::new().unwrap();
    let cases = cases();
    let with_gguf = cases.iter().filter_map(|case| Some((case, case.gguf?)));
    let questions: Vec<Value> = with_gguf
        .clone()
        .map(|(case, (_, count))| {
            let (_, file) = write(case, scratch.path());
            json!({"file": file, "ids": case.ids(count)})
        })
        .collect();
    for ((case, (architecture, _)), answer) in with_gguf.zip(llama_cpp_logits(&questions)) {
        let error = case.error(&answer);
        println!("{}: {error:.1e}", case.name);
        assert_eq!(answer["architecture"], architecture, "{}", case.name);
        assert!(error < 5e-3, "{}: {error:.1e}", case.name);
    }
}

/// A model that comes as a GGUF file becomes a folder.
#[test]
fn folders_made_of_gguf_files_compute_the_same() {
    let scratch = TempDir::new().unwrap();
    let cases = cases();
    let with_gguf = cases.iter().filter_map(|case| Some((case, case.gguf?)));
    // Each beside the folder that it was made from, on the same tokens: how a sequence is rotated may
    // depend on its length.
    let questions: Vec<Value> = with_gguf
        .clone()
        .flat_map(|(case, (_, count))| {
            let (_, file) = write(case, scratch.path());
            let gguf = Source::open(&file).unwrap();
            let folder = scratch.path().join(format!("{}-again", case.name));
            std::fs::create_dir(&folder).unwrap();
            let (space, genotype) = (space(&gguf), Genotype(vec![0, 0]));
            export::huggingface(
                &gguf,
                &space,
                &[],
                &genotype,
                Kind::Float,
                &folder,
                |_, _| {},
            )
            .unwrap();
            [folder, case.folder()]
                .map(|folder| json!({"folder": folder, "ids": case.ids(count), "dtype": "float32"}))
        })
        .collect();
    let answers = transformers_logits(&questions);
    for ((case, (architecture, _)), answers) in with_gguf.zip(answers.chunks(2)) {
        let [answer, original] = answers else {
            panic!("two answers for each case");
        };
        let original = logits(original);
        let error = (logits(answer) - &original).abs().max() / original.abs().max();
        let error = error.double_value(&[]);
        assert!(error < 1e-4, "{}: {error:.1e}", case.name);
        let is_llama = architecture == "llama";
        let class = if is_llama {
            "LlamaForCausalLM"
        } else {
            case.class
        };
        assert_eq!(answer["class"], class, "{}", case.name);
    }
}

/// Without its first block, a model has its windows and rotations in other places.
#[test]
fn windows_follow_the_blocks_that_are_left() {
    let scratch = TempDir::new().unwrap();
    let cases = cases();
    let windowed = ["gemma2", "gemma3", "olmo3"];
    let of_windows = cases.iter().filter(|case| windowed.contains(&case.name));
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for case in of_windows.clone() {
        let (folder, _) = write(case, scratch.path());
        let source = Source::open(&folder).unwrap();
        let (space, genotype, kind) = (space(&source), Genotype(vec![1, 0]), Kind::Float);
        let folder = scratch.path().join(format!("{}-shorter", case.name));
        std::fs::create_dir(&folder).unwrap();
        export::huggingface(&source, &space, &[], &genotype, kind, &folder, |_, _| {}).unwrap();
        let file = folder.join("model.gguf");
        export::gguf::write(&source, &space, &[], &genotype, kind, &file, |_, _| {}).unwrap();
        let ids = case.ids(ALL);
        folders.push(json!({"folder": folder, "ids": ids, "dtype": "float32"}));
        files.push(json!({"file": file, "ids": ids}));
    }
    let answers = transformers_logits(&folders)
        .into_iter()
        .zip(llama_cpp_logits(&files));
    for (case, (expected, found)) in of_windows.zip(answers) {
        let (expected, found) = (logits(&expected), logits(&found));
        let error = (&found - &expected).abs().max().double_value(&[])
            / expected.abs().max().double_value(&[]);
        assert!(error < 5e-3, "{}: {error:.1e}", case.name);
        assert!(
            case.error_of(&expected) > 0.1,
            "{}: a block is gone",
            case.name
        );
    }
}

/// What llama.cpp has no name for is lost in a GGUF file, and nothing else.
#[test]
fn gguf_files_say_what_folders_say() {
    let scratch = TempDir::new().unwrap();
    let loses_windows = ["mistral", "ministral", "qwen2-windows", "phi3-partial"];
    for case in cases().iter().filter(|it| it.gguf.is_some()) {
        let (_, file) = write(case, scratch.path());
        let (folder, gguf) = (case.source(), Source::open(&file).unwrap());
        let mut expected = folder.spec().clone();
        if loses_windows.contains(&case.name) {
            let windows = expected.blocks.iter_mut().map(|block| {
                let attention = block.attention.as_mut().unwrap();
                attention.window.take()
            });
            // Longer sequences would be another model's.
            expected.max_position_embeddings = windows.flatten().min().unwrap();
        }
        let mut found = gguf.spec().clone();
        if loses_windows[..2].contains(&case.name) {
            assert_eq!(found.architecture, "llama");
            found.architecture.clone_from(&expected.architecture);
        }
        let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-6;
        for (found, expected) in found.blocks.iter_mut().zip(&expected.blocks) {
            let (found, expected) = (found.attention.as_mut(), expected.attention.as_ref());
            let (found, expected) = (found.unwrap(), expected.unwrap());
            assert!(
                close(found.score_scale, expected.score_scale),
                "{}",
                case.name
            );
            found.score_scale = expected.score_scale;
            let ropes = found.rope.as_mut().zip(expected.rope.as_ref());
            if let Some((found, expected)) = ropes {
                assert!(
                    close(found.attention_factor(), expected.attention_factor()),
                    "{}",
                    case.name
                );
                let divisors = found.divisors(40).into_iter().zip(expected.divisors(40));
                assert!(
                    divisors.into_iter().all(|(a, b)| close(a, b)),
                    "{}",
                    case.name
                );
                found.scaling = expected.scaling.clone();
            }
        }
        assert_eq!(found, expected, "{}", case.name);
    }
}

#[test]
fn what_llama_cpp_computes_in_another_way_is_refused() {
    let what = |case: &Case| {
        let refused = export::gguf::check(&case.source()).unwrap_err().to_string();
        let (_, sentence) = refused.split_once(": unsupported ").unwrap();
        format!("{}: {sentence}", case.name)
    };
    let cases = cases();
    let refused = cases.iter().filter(|case| case.gguf.is_none()).map(what);
    assert_eq!(
        refused.collect::<Vec<_>>(),
        [
            "yarn-turns: format `gguf`: llama.cpp's `llama`: found YaRN with settings other than its usual ones, supported: what it computes as the model does",
            "smollm3-biased: format `gguf`: llama.cpp's `smollm3`: found block 1 without a rotation, supported: what it computes as the model does",
        ]
    );
}

#[test]
fn only_a_llama_is_written_as_nemotron_nas() {
    let mistral = cases().swap_remove(2).source();
    let refused = export::nemotron_nas::check(&mistral)
        .unwrap_err()
        .to_string();
    let expected = "format `nemotron-nas` is that of a `llama`, found a `mistral`; `huggingface` has every result";
    assert_eq!(refused, expected);
}

/// llama.cpp tells by the number of a block whether it rotates.
#[test]
fn blocks_that_llama_cpp_counts_are_not_left_out() {
    for case in cases() {
        let source = case.source();
        let refused = export::gguf::check_space(&source, &space(&source)).err();
        let sentence = refused.map(|it| it.to_string());
        let expected = "format `gguf` goes without blocks that are dropped whole, but llama.cpp's `smollm3` tells which blocks rotate by their numbers; `huggingface` has every result";
        let expected = case.name.starts_with("smollm3").then_some(expected);
        assert_eq!(sentence.as_deref(), expected, "{}", case.name);
    }
}
