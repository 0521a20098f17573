//! What a run writes can be read again: plan, events, report.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod events;
mod report;

use std::fs;
use std::path::Path;

use evopress_spec::{
    Bos, Credentials, Generations, InputDigests, Mode, ModelLocation, Origin, Plan, RejectedDir,
    Roots, RunDir, check,
};
use serde_json::json;

/// The least that a spec must say.
const LEAST: &str = "\
apiVersion: evopress/v1
kind: Pipeline
metadata: {name: least}
model: {source: model.gguf}
calibration: {source: a.txt}
methods: [{plugin: drop}]
target: {drop: 0.25}
evaluation: [{source: b.txt}]
publish: [{registry: folder, path: registry}]
";

fn plan_of(text: &str, folder: &Path) -> Plan {
    for file in ["model.gguf", "a.txt", "b.txt"] {
        fs::write(folder.join(file), file).unwrap();
    }
    let roots = Roots {
        spec_dir: folder.to_owned(),
        data_roots: vec![],
    };
    check(text, "least.yaml", &roots).unwrap()
}

#[test]
fn a_search_is_fast_unless_the_papers_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let of = |search: &str| {
        let text = LEAST.replace("drop: 0.25", "sparsity: 0.5");
        let plan = plan_of(&format!("{text}{search}"), folder.path());
        (plan.search.mode, plan.calibration.tokens)
    };
    let fast = (Mode::Fast, 131_072);
    assert_eq!(of(""), fast);
    assert_eq!(of("search: {limit: {minutes: 10}, seed: 1}\n"), fast);
    let paper = (Mode::Paper, 524_288);
    assert_eq!(of("search: {mode: paper}\n"), paper);
    assert_eq!(of("search: {generations: 10}\n"), paper);
    assert_eq!(of("search: {initial: {baselines: true}}\n"), paper);
}

#[test]
fn defaults_of_paper_mode_are_the_papers() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{LEAST}search: {{mode: paper}}\n");
    let plan = serde_json::to_string_pretty(&plan_of(&text, folder.path())).unwrap();
    insta::assert_snapshot!(plan.replace(&*folder.path().to_string_lossy(), "FOLDER"));
}

#[test]
fn defaults_fit_what_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let text = LEAST.replace("a.txt}", "a.txt, sequence_length: 3000, tokens: 6000}");
    let plan = plan_of(&format!("{text}search: {{offspring: 1}}\n"), folder.path());
    let stages: Vec<(u64, u32)> = plan
        .search
        .stages
        .iter()
        .map(|stage| (stage.tokens, stage.survivors))
        .collect();
    assert_eq!(stages, [(3000, 1), (6000, 1)]);
    assert_eq!(plan.search.initial.tokens, 3000);
    assert_eq!(
        (
            plan.evaluation[0].sequence_length,
            plan.evaluation[0].tokens
        ),
        (3000, 33_000)
    );
    let text = LEAST.replace("drop: 0.25", "sparsity: 0.5");
    let plan = plan_of(&format!("{text}search: {{mode: paper}}\n"), folder.path());
    assert_eq!(
        (
            plan.search.offspring,
            plan.search.stages.len(),
            plan.calibration.tokens
        ),
        (64, 3, 524_288)
    );
}

#[test]
fn each_text_says_whether_its_sequences_begin_with_bos() {
    let folder = tempfile::tempdir().unwrap();
    let of = |calibration: &str, evaluation: &str| {
        let text = LEAST
            .replace("a.txt}", &format!("a.txt{calibration}}}"))
            .replace("b.txt}", &format!("b.txt{evaluation}}}"));
        let plan = plan_of(&text, folder.path());
        // The database's sequences begin as the calibration's do.
        assert_eq!(plan.database.bos, plan.calibration.bos);
        (plan.calibration.bos, plan.evaluation[0].bos)
    };
    assert_eq!(of("", ""), (Bos::Auto, Bos::Auto));
    assert_eq!(of(", bos: always", ""), (Bos::Always, Bos::Auto));
    assert_eq!(of("", ", bos: never"), (Bos::Auto, Bos::Never));
}

#[test]
fn a_database_is_built_from_the_calibration_text_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let text = LEAST.replace("a.txt}", "a.txt, tokens: 5120}");
    let of = |database: &str| {
        let plan = plan_of(&format!("{text}{database}"), folder.path());
        let source = plan.database.source.file_name().unwrap().to_owned();
        (source, plan.database.tokens, plan.database.sequence_length)
    };
    assert_eq!(of(""), ("a.txt".into(), 5120, 512));
    assert_eq!(
        of("database: {sequence_length: 2048}\n"),
        ("a.txt".into(), 6144, 2048),
        "whole sequences, and no fewer tokens"
    );
    assert_eq!(
        of("database: {source: model.gguf, tokens: 512}\n"),
        ("model.gguf".into(), 512, 512)
    );
}

#[test]
fn a_plan_comes_back_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = plan_of(LEAST, folder.path());
    for generations in [Generations::Paper, Generations::Fixed(107)] {
        plan.search.generations = generations;
        plan.evaluation[0].gate.max_kl = Some(0.1);
        plan.model.device = "cuda:3".parse().unwrap();
        let written = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&written).unwrap(), plan);
    }
    let value = json!(plan);
    assert_eq!(value["target"], json!({"drop": 0.25}));
    assert_eq!(value["search"]["generations"], json!({"fixed": 107}));
    assert_eq!(value["model"]["device"], "cuda:3");
    assert_eq!(value["publish"][0]["registry"], "folder");
}

#[test]
fn a_run_is_named_by_what_decides_its_result() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let text = LEAST.replace(", path: registry", ", path: /tmp/registry");
    let digests = InputDigests {
        model: "m".into(),
        calibration: "c".into(),
        database: "c".into(),
        evaluation: vec!["e".into()],
        plugins: [("drop".to_owned(), "p".to_owned())].into(),
    };
    let id = |text: &str, folder: &Path, digests: &InputDigests| {
        RunDir::run_id(&plan_of(text, folder), digests)
    };
    let first = id(&text, here.path(), &digests);
    assert!(first.starts_with("least-") && first.len() == "least-".len() + 12);
    assert_eq!(
        id(&text, there.path(), &digests),
        first,
        "files that are only moved are the same input"
    );
    assert_eq!(
        id(&format!("# note\n{text}"), here.path(), &digests),
        first,
        "comments decide nothing"
    );
    let mut fetched = plan_of(&text, here.path());
    fetched.model.location = ModelLocation::Fetched {
        path: "/cache/models/0a/small".into(),
        origin: Origin {
            address: "hf://acme/small".parse().unwrap(),
            url: None,
            plain_http: false,
            credentials: Credentials::None,
            account: None,
            key: None,
            version: Some("a commit".to_owned()),
        },
    };
    assert_eq!(
        RunDir::run_id(&fetched, &digests),
        first,
        "what a model's files are counts, not where they come from"
    );
    assert_ne!(
        id(&text.replace("0.25", "0.3"), here.path(), &digests),
        first
    );
    assert_ne!(
        id(
            &text,
            here.path(),
            &InputDigests {
                model: "n".into(),
                ..digests.clone()
            }
        ),
        first
    );
    let plugins = [("drop".to_owned(), "q".to_owned())].into();
    assert_ne!(
        id(&text, here.path(), &InputDigests { plugins, ..digests }),
        first
    );
}

#[test]
fn folders_have_safe_names() {
    let run = RunDir::of_run(Path::new("/state"), "small-0123456789ab");
    assert_eq!(
        run.events(),
        Path::new("/state/runs/small-0123456789ab/events.jsonl")
    );
    assert_eq!(run.id(), "small-0123456789ab");
    let rejected = RejectedDir::of_spec(Path::new("/state"), "../My Spec.yaml", b"abc");
    assert_eq!(
        rejected.path(),
        Path::new("/state/rejected/my-spec-ba7816bf8f01")
    );
}
