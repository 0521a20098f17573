//! The words of mistakes, each with its place.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use evopress_spec::{Origin, Roots, Secret, check, check_bytes, locate, mistake_at, render};
use tempfile::TempDir;

/// A spec in which everything is right.
const GOOD: &str = "\
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

fn data() -> TempDir {
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

/// One line a mistake, with the machine's own paths left out.
fn told(text: &str) -> String {
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

/// What is told when a part of the good spec is replaced.
fn told_with(part: &str, by: &str) -> String {
    assert_eq!(GOOD.matches(part).count(), 1, "`{part}` must be there once");
    told(&GOOD.replace(part, by))
}

#[test]
fn the_good_spec_is_good() {
    let data = data();
    let roots = Roots {
        spec_dir: data.path().to_owned(),
        data_roots: vec![],
    };
    check(GOOD, "small.yaml", &roots).unwrap();
    check_bytes(
        format!("\u{FEFF}{}", GOOD.replace('\n', "\r\n")).as_bytes(),
        "small.yaml",
        &roots,
    )
    .unwrap();
}

#[test]
fn each_mistake_has_its_sentence() {
    let cases: &[(&str, &str)] = &[
        // names of fields
        ("  stages: [", "  stagse: ["),
        ("  seed: 0", "  sede: 0\n  color: red"),
        ("metadata: {name: small, labels: {team: edge}}\n", ""),
        ("{source: models/small.gguf, dtype", "{dtype"),
        ("kind: Pipeline", "kind: Pipelin"),
        ("evopress/v1", "evopress/v2"),
        ("{plugin: drop, options", "{plugn: drop, options"),
        // types
        ("generations: 10", "generations: many"),
        ("generations: 10", "generations: \"10\""),
        ("generations: 10", "generations: 10_000"),
        ("generations: 10", "generations: 10.0"),
        ("generations: 10", "generations: 1.5"),
        ("generations: 10", "generations:"),
        ("generations: 10", "generations: [10]"),
        ("metadata: {name: small, labels: {team: edge}}", "metadata:"),
        ("generations: 10", "generations: .inf"),
        ("tokens: 512}\n", "tokens: 512, baselines: yes}\n"),
        ("team: edge", "team: 7"),
        (
            "options: {granularity: sub-block}",
            "options: [granularity]",
        ),
        (
            "artifacts: [{format: huggingface}]",
            "artifacts: {format: huggingface}",
        ),
        ("{drop: 0.25}", "0.25"),
        // ranges
        ("generations: 10", "generations: 0"),
        ("generations: 10", "generations: -3"),
        ("offspring: 8", "offspring: 99999999999999999999999"),
        ("drop: 0.25", "drop: 25"),
        ("drop: 0.25", "drop: 25 %"),
        ("drop: 0.25", "drop: 0"),
        ("drop: 0.25", "sparsity: 1.0"),
        ("{drop: 0.25}", "{drop: 0.25, sparsity: 0.5}"),
        ("{drop: 0.25}", "{}"),
        ("{drop: 0.25}", "{dorp: 0.25}"),
        ("max_perplexity_ratio: 3.0", "max_perplexity_ratio: -1"),
        (
            "methods:\n  - {plugin: drop, options: {granularity: sub-block}}",
            "methods: []",
        ),
        // choices and names
        ("dtype: f32", "dtype: fp32"),
        ("device: cpu", "device: gpu"),
        ("device: cpu", "device: cuda0"),
        ("format: huggingface", "format: hugging-face"),
        ("registry: folder", "registry: s3"),
        ("{name: small, labels", "{name: Small Model, labels"),
        ("name: small, labels", "name: \"small\\n\", labels"),
        ("name: small, labels", "name: ../small, labels"),
        ("mode: paper", "mode: papper"),
        ("mode: paper", "mode: fast"),
        // files
        ("models/small.gguf", "models/smal.gguf"),
        ("models/small.gguf", "models/small.bin"),
        ("models/small.gguf", "models/empty-folder"),
        ("models/small.gguf", "hf://SmolLM2-135M"),
        ("models/small.gguf", "ftp://example.org/small.gguf"),
        ("models/small.gguf", "oci://ada:s3cr3t@example.org/small"),
        ("models/small.gguf", "mlflow:small"),
        ("dtype: f32, device: cpu", "token: {env: HF_TOKEN}"),
        (
            "models/small.gguf, dtype: f32",
            "\"hf://acme/small\", username: ada, url: \"http://example.org\"",
        ),
        (
            "models/small.gguf, dtype: f32",
            "\"s3://models/small\", account: {env: AWS_ACCESS_KEY_ID}",
        ),
        ("text/calibration.txt", "hf://acme/texts"),
        ("models/small.gguf", "/nowhere/at/all.gguf"),
        ("text/calibration.txt", "text"),
        ("text/calibration.txt", "text/nothing.txt"),
        ("text/evaluation.txt", "text/calibration.txt"),
        ("text/evaluation.txt", "\"\""),
        ("path: registry", "path: text/calibration.txt"),
        // rules between fields
        ("tokens: 4096", "tokens: 4000"),
        ("{tokens: 512, survivors: 2}", "{tokens: 500, survivors: 2}"),
        (
            "{tokens: 2048, survivors: 1}",
            "{tokens: 8192, survivors: 1}",
        ),
        ("{tokens: 512, survivors: 2}", "{tokens: 512, survivors: 9}"),
        (
            "{tokens: 2048, survivors: 1}",
            "{tokens: 2048, survivors: 3}",
        ),
        ("genotypes: 4, tokens: 512", "genotypes: 4, tokens: 8192"),
        ("methods:", "database: {tokens: 3000}\nmethods:"),
        (
            "methods:",
            "database: {sequence_length: 1000, tokens: 4096}\nmethods:",
        ),
        (
            "methods:",
            "database: {source: text/calibratoin.txt}\nmethods:",
        ),
        (
            "calibration: {source: text/calibration.txt",
            "database: {source: text/evaluation.txt}\ncalibration: {source: text/calibration.txt",
        ),
        ("mode: paper", "grouping: sizes"),
        (
            "target: {drop: 0.25}\nsearch:",
            "target: {size_bytes: 90000000}\nsearch:\n  grouping: size",
        ),
        (
            "target: {drop: 0.25}\nsearch:",
            "target: {compression: 4}\nsearch:\n  grouping: name",
        ),
        (
            "  - {plugin: drop, options",
            "  - {plugin: gptq}\n  - {plugin: drop, options",
        ),
        (
            "target: {drop: 0.25}",
            "  - {plugin: drop}\ntarget: {size_bytes: 1000000}",
        ),
        ("tokens: 1024", "tokens: 1000"),
        (
            "[{format: huggingface}]",
            "[{format: huggingface}, {format: huggingface}]",
        ),
        (
            "artifacts: ",
            "  - {name: held-out, source: text/evaluation.txt}\nartifacts: ",
        ),
        // YAML
        ("seed: 0", "seed: 0\n  seed: 1"),
        ("seed: 0", "seed: 0\n\toffspring: 4"),
        ("{team: edge}}", "{team: edge}"),
        ("{team: edge}}", "{team: \"edge}}"),
        ("kind: Pipeline", "kind Pipeline"),
        ("kind: Pipeline", "kind: Pipeline: 2"),
        ("  mode: paper", "   mode: paper"),
        ("  - {plugin: drop", "  -{plugin: drop"),
        ("seed: 0", "seed: *number"),
        ("seed: 0", "seed: !!int 0"),
        ("seed: 0", "seed: @0"),
        ("seed: 0", "seed: 0\n  ? [a, b]\n  : 1"),
        ("artifacts: ", "---\nartifacts: "),
        ("seed: 0", "<<: {seed: 0}"),
        ("seed: 0", "seed: 0\n  7: 1\n  true: 2"),
        ("{team: edge}", "{1: one}"),
        ("granularity: sub-block", "granularity: .nan"),
        ("device: cpu", "device: \"c\\pu\""),
    ];
    let table: Vec<String> = cases
        .iter()
        .map(|(part, by)| format!("{by:?}\n{}\n", told_with(part, by)))
        .collect();
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn all_mistakes_of_a_spec_are_told_at_once() {
    let text = "\
apiVersion: evopress/v1
kind: Pipeline
metadata: {name: My_Model, label: {team: edge}}
model: {source: models/smal.gguf, dtype: fp16, device: gpu}
calibration: {source: text/missing.txt, tokens: many, sequence_length: 512}
methods:
  - {plugin: drop, options: nothing}
target: {drop: 0.25, sparsity: 0.5}
search:
  mode: paper
  mode: fast
  stagse: [{tokens: 512, survivors: 2}]
  stages: [{tokens: 500, survivors: 20}, {tokens: 1024, survivors: 2}]
  offspring: 16
  seed: -1
evaluation:
  - {name: held-out, source: text/evaluation.txt, tokens: 100, gate: {max_ppl: 2}}
publish: [{registry: folder}]
";
    insta::assert_snapshot!(told(text));
}

#[test]
fn files_that_are_no_pipeline_get_one_sentence() {
    for (name, text) in [
        ("empty", ""),
        ("comment", "# nothing yet\n"),
        ("start", "---\n"),
        ("text", "hello\n"),
        ("list", "- a\n- b\n"),
        ("json", "{\"kind\": \"Pipeline\""),
        ("control", "kind: \u{7}Pipeline\n"),
    ] {
        insta::assert_snapshot!(name, told(text));
    }
}

#[test]
fn bytes_that_are_no_text_are_told() {
    let told = |bytes: &[u8]| {
        let mistakes = check_bytes(bytes, "small.yaml", &Roots::default()).unwrap_err();
        assert_eq!(mistakes.len(), 1);
        mistakes[0].to_string()
    };
    insta::assert_snapshot!(told(b"kind: Pipeline\nname: caf\xE9\n"), @"small.yaml:2:10: $: the byte 0xE9 here is not UTF-8: save the file as UTF-8");
    insta::assert_snapshot!(told(b"\xFF\xFEk\0i\0n\0d\0"), @"small.yaml:1:1: $: the file is UTF-16: save it as UTF-8");
    insta::assert_snapshot!(told(&vec![b' '; 2 << 20]), @"small.yaml:1:1: $: the file has 2097152 bytes, and a pipeline has at most 1048576");
    insta::assert_snapshot!(told(&vec![0xFF; 2 << 20]), @"small.yaml:1:1: $: the file has 2097152 bytes, and a pipeline has at most 1048576");
}

#[test]
fn hostile_texts_end_soon() {
    let mut laughs = String::from("a: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..12 {
        let before = format!("*l{}, ", level - 1).repeat(9);
        laughs.push_str(&format!(
            "b{level}: &l{level} [{}]\n",
            before.trim_end_matches(", ")
        ));
    }
    insta::assert_snapshot!(told(&laughs).lines().last().unwrap(), @"small.yaml:6:10: $: the file holds more than 100000 values, aliases written out: that is no pipeline");
    insta::assert_snapshot!(told("a: &self [*self]\n"), @"small.yaml:1:11: $.a: this alias stands inside the very thing that it refers to");
    insta::assert_snapshot!(told(&"[".repeat(1 << 19)), @"small.yaml:1:256: $: this is nested too deeply");
    insta::assert_snapshot!(told(&"- ".repeat(1 << 19)), @"small.yaml:1:65: $[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: this is nested deeper than 32 levels");
    insta::assert_snapshot!(told(&"{a: ".repeat(1 << 18)), @"small.yaml:1:1021: $: this is nested too deeply");
    let many: String = (0..20_000)
        .map(|idx| format!("field{idx}: {idx}\n"))
        .collect();
    let told = told(&many);
    assert_eq!(told.lines().count(), 100);
    insta::assert_snapshot!(told.lines().last().unwrap(), @"small.yaml:93:1: $.field92: `field92` is not a field of a pipeline, which has `apiVersion`, `kind`, `metadata`, `model`, `calibration`, `database`, `methods`, `target`, `search`, `baselines`, `evaluation`, `artifacts` and `publish`; and at least 907 more mistakes after this one");
}

#[test]
fn as_many_mistakes_as_fit_end_soon() {
    let stages = "[{tokens: 512, survivors: 2}, {tokens: 2048, survivors: 1}]";
    for stage in [
        "1",
        "{}",
        "{tokens: 1.0, survivors: 1}",
        "{survivors: 1, x: 1}",
        "[]",
    ] {
        let many = vec![stage; 900_000 / (stage.len() + 2)].join(", ");
        told_with(stages, &format!("[{many}]"));
    }
    let fields: String = (0..60_000).map(|idx| format!("f{idx}: 1, ")).collect();
    told_with("team: edge", &fields);
    told_with("{drop: 0.25}", &format!("{{{fields}}}"));
    for (text, times) in [
        ("a: 1\n", 200_000),
        ("a: [\n", 200_000),
        ("- [a, {b: c}]\n", 70_000),
        ("\u{7}", 1 << 20),
        ("\n", 1 << 20),
        ("\"", 1 << 20),
        ("? ", 1 << 19),
        ("&a ", 1 << 18),
        ("a", 1 << 20),
        ("a ", 1 << 19),
        ("a\n", 1 << 19),
    ] {
        told(&text.repeat(times));
    }
}

#[test]
fn aliases_are_read() {
    let text = GOOD
        .replace(
            "source: text/calibration.txt, tokens: 4096",
            "source: text/calibration.txt, tokens: &all 4096",
        )
        .replace(
            "{tokens: 2048, survivors: 1}",
            "{tokens: *all, survivors: 1}",
        );
    let data = data();
    let roots = Roots {
        spec_dir: data.path().to_owned(),
        data_roots: vec![],
    };
    assert_eq!(
        check(&text, "small.yaml", &roots).unwrap().search.stages[1].tokens,
        4096
    );
}

#[test]
fn pointers_are_found_in_the_text() {
    assert_eq!(locate(GOOD, "/search/stages/1/tokens"), (14, 50));
    assert_eq!(locate(GOOD, "/methods/0/options/granularity"), (7, 43));
    assert_eq!(locate(GOOD, "/search"), (9, 1));
    assert_eq!(
        locate(GOOD, "/search/initial/baselines"),
        (13, 3),
        "what is left out is found at what would hold it"
    );
    assert_eq!(locate(GOOD, ""), (1, 1));
    assert_eq!(locate("[", "/search"), (1, 1));
    let mistake = mistake_at(
        GOOD,
        "small.yaml",
        "/methods/0/plugin",
        "no plugin is named `drop`",
    );
    assert_eq!(
        mistake.to_string(),
        "small.yaml:7:14: $.methods[0].plugin: no plugin is named `drop`"
    );
}

#[test]
fn mistakes_are_shown_with_their_lines() {
    let text = GOOD
        .replace("generations: 10", "generations: \"ten\"")
        .replace("offspring: 8", "offspring: 8 # \u{1b}[31m")
        .replace(
            "mode: paper",
            &format!("mode: paper\n  {}: 1", "x".repeat(300)),
        );
    let data = data();
    let roots = Roots {
        spec_dir: data.path().to_owned(),
        data_roots: vec![],
    };
    let mistakes = check(&text, "small.yaml", &roots).unwrap_err();
    insta::assert_snapshot!(render(&mistakes, &text, "small.yaml", false));
    let coloured = render(&mistakes, &text, "small.yaml", true);
    assert!(coloured.contains("\u{1b}[1;31m"));
    let hostile = mistake_at(&text, "small.yaml", "/search/offspring", "found \u{1b}[31m");
    assert!(!render(&[hostile], &text, "small.yaml", false).contains("# \u{1b}"));
}

#[test]
fn a_model_from_a_registry_is_not_looked_for_here() {
    let data = data();
    let roots = Roots {
        spec_dir: data.path().to_owned(),
        ..Roots::default()
    };
    let text = GOOD.replace(
        "models/small.gguf",
        "\"hf://acme/small\", token: {env: HUB_TOKEN}, url: \"http://127.0.0.1:8000/\"",
    );
    let plan = check(&text, "small.yaml", &roots).unwrap();
    let ModelLocation::Remote(origin) = plan.model.location else {
        panic!("{:?}", plan.model.location);
    };
    assert_eq!(origin.address.to_string(), "hf://acme/small@main");
    assert_eq!(origin.url.as_deref(), Some("http://127.0.0.1:8000"));
    assert_eq!(origin.secrets(), [&Secret::Env("HUB_TOKEN".to_owned())]);
    let written = serde_json::to_string(&origin).unwrap();
    assert_eq!(serde_json::from_str::<Origin>(&written).unwrap(), origin);
}

#[test]
fn a_relative_path_is_tried_beside_the_spec_first() {
    let (near, far) = (data(), data());
    let roots = |spec: &Path, data: &Path| Roots {
        spec_dir: spec.to_owned(),
        data_roots: vec![data.to_owned()],
    };
    let plan = check(GOOD, "small.yaml", &roots(near.path(), far.path())).unwrap();
    assert!(plan.model.location.path().unwrap().starts_with(near.path()));
    fs::remove_file(near.path().join("models/small.gguf")).unwrap();
    let plan = check(GOOD, "small.yaml", &roots(near.path(), far.path())).unwrap();
    let expected = far.path().join("models/small.gguf");
    assert_eq!(plan.model.location, ModelLocation::Local(expected));
    assert!(plan.calibration.source.starts_with(near.path()));
}
