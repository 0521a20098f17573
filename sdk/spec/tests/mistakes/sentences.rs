//! The sentence of each mistake.

use evopress_spec::{Roots, check_bytes};

use crate::support::{told, told_with};

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
fn a_hint_does_not_change_the_value() {
    let hint = |typed: &str| {
        let told = told_with("{team: edge}", &format!("{{v: {typed}}}"));
        let (_, told) = told.split_once(": $.metadata.labels.v: ").unwrap();
        told.to_owned()
    };
    insta::assert_snapshot!(hint("1.10"), @r#"found 1.10, expected text; put it in quotes: "1.10""#);
    insta::assert_snapshot!(hint("1e10"), @r#"found 1e10, expected text; put it in quotes: "1e10""#);
    insta::assert_snapshot!(hint("0x1F"), @r#"found 0x1F, expected text; put it in quotes: "0x1F""#);
    insta::assert_snapshot!(hint("True"), @r#"found True, expected text; put it in quotes: "True""#);
}

#[test]
fn a_text_that_is_too_long_is_told_so() {
    let registry = "{registry: folder, path: registry, name: small}";
    let long = format!("{{registry: mlflow, experiment: {}}}", "a".repeat(251));
    let told = told_with(registry, &long);
    assert!(
        told.ends_with("expected text of 1 to 250 characters"),
        "{told}"
    );
}

#[test]
fn names_that_registries_refuse_are_told_before_the_search() {
    let registry = "{registry: folder, path: registry, name: small}";
    let told = |entry: &str| {
        let told = told_with(registry, entry);
        let (_, told) = told.split_once(": $.publish[0].").unwrap();
        told.to_owned()
    };
    insta::assert_snapshot!(
        told("{registry: mlflow, alias: v1}"),
        @r#"alias: found "v1", expected another alias: MLflow keeps `latest` and `v` with a number for itself"#
    );
    insta::assert_snapshot!(
        told("{registry: huggingface, repository: acme/foo--bar}"),
        @r#"repository: found "acme/foo--bar", expected ORGANIZATION/NAME without `--`, `..` and `.git` at the end"#
    );
    insta::assert_snapshot!(
        told("{registry: oci, repository: 'localhost:99999/acme/foo'}"),
        @r#"repository: found "localhost:99999/acme/foo", expected HOST[:PORT]/PATH with a port from 1 to 65535"#
    );
    insta::assert_snapshot!(
        told("{registry: s3, bucket: models, prefix: ..}"),
        @r#"prefix: found "..", expected a prefix without the parts `.` and `..`, which servers and clients resolve differently"#
    );
    insta::assert_snapshot!(
        told("{registry: s3, bucket: models, url: 'https://s3 example.org'}"),
        @"url: this URL is none of a server: expected a URL without spaces"
    );
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
    insta::assert_snapshot!(
        told(b"kind: Pipeline\nname: caf\xE9\n"),
        @"small.yaml:2:10: $: the byte 0xE9 here is not UTF-8: save the file as UTF-8"
    );
    insta::assert_snapshot!(told(b"\xFF\xFEk\0i\0n\0d\0"), @"small.yaml:1:1: $: the file is UTF-16: save it as UTF-8");
    insta::assert_snapshot!(
        told(&vec![b' '; 2 << 20]),
        @"small.yaml:1:1: $: the file has 2097152 bytes, and a pipeline has at most 1048576"
    );
    insta::assert_snapshot!(
        told(&vec![0xFF; 2 << 20]),
        @"small.yaml:1:1: $: the file has 2097152 bytes, and a pipeline has at most 1048576"
    );
}
