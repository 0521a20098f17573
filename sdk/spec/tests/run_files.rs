//! What a run writes can be read again: plan, events, report.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use evopress_spec::events::{Reader, Writer};
use evopress_spec::{
    Achieved, BaselineResult, Credentials, DatabaseResult, Event, EventKind, GateResult,
    Generations, HistoryEntry, InputDigests, Metric, MetricResult, Mode, Origin, Plan, Published,
    RejectedDir, Report, Roots, RunDir, SearchResult, Stage, Status, WrittenArtifact, check,
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
    fetched.model.origin = Some(Origin {
        address: "hf://acme/small".parse().unwrap(),
        url: None,
        plain_http: false,
        credentials: Credentials::None,
        account: None,
        key: None,
        version: Some("a commit".to_owned()),
    });
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

fn every_event() -> Vec<EventKind> {
    let stage = Stage::Search;
    vec![
        EventKind::Started {
            attempt: 2,
            device: "cpu".into(),
            dtype: "bf16".into(),
            threads: 2,
            resumed_generation: Some(7),
        },
        EventKind::StageStarted { stage },
        EventKind::StageFinished {
            stage,
            seconds: 1.5,
            reused: false,
        },
        EventKind::Progress {
            stage: Stage::Load,
            done: 3,
            total: 10,
            unit: "MiB".into(),
        },
        EventKind::Generation {
            generation: 1,
            generations: 40,
            best_fitness: 0.5,
            accepted: true,
            forward_tokens: 4096,
            search_seconds: 2.25,
            held_out: Some(0.75),
        },
        EventKind::Baseline {
            name: "window".into(),
            kl_divergence: 0.25,
            perplexity: 70.5,
        },
        EventKind::Warning {
            message: "one line\nand another".into(),
        },
        EventKind::Finished {
            status: Status::GateFailed,
        },
        EventKind::Failed {
            reason: "no".into(),
        },
        EventKind::Interrupted { generation: None },
    ]
}

#[test]
fn events_come_back_from_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let mut reader = Reader::new(&path);
    assert_eq!(reader.poll().unwrap(), [], "the file is not there yet");
    let mut writer = Writer::open(&path).unwrap();
    for kind in every_event() {
        writer.write(kind).unwrap();
    }
    let read: Vec<EventKind> = reader
        .poll()
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(read, every_event());
    assert_eq!(
        fs::read_to_string(&path).unwrap().lines().count(),
        every_event().len()
    );
    assert_eq!(reader.poll().unwrap(), []);
    writer
        .write(EventKind::Failed {
            reason: "late".into(),
        })
        .unwrap();
    assert_eq!(
        Reader::from_offset(&path, reader.offset())
            .poll()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn events_are_written_as_agreed() {
    let event = Event {
        time: "2026-01-31T09:30:00.125Z".into(),
        kind: EventKind::StageFinished {
            stage: Stage::Stitch,
            seconds: 1.5,
            reused: true,
        },
    };
    insta::assert_snapshot!(serde_json::to_string(&event).unwrap(), @r#"{"time":"2026-01-31T09:30:00.125Z","event":"stage_finished","stage":"stitch","seconds":1.5,"reused":true}"#);
}

#[test]
fn an_infinite_fitness_is_read_as_not_a_number() {
    let kind = EventKind::Baseline {
        name: "random".into(),
        kl_divergence: f64::NAN,
        perplexity: f64::INFINITY,
    };
    let line = serde_json::to_string(&Event::now(kind)).unwrap();
    let EventKind::Baseline {
        kl_divergence,
        perplexity,
        ..
    } = serde_json::from_str::<Event>(&line).unwrap().kind
    else {
        panic!("{line}");
    };
    assert!(kl_divergence.is_nan() && perplexity.is_nan());
}

#[test]
fn a_torn_last_line_waits_for_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let line = serde_json::to_string(&Event::now(EventKind::Warning {
        message: "ä".into(),
    }))
    .unwrap()
        + "\n";
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    let mut reader = Reader::new(&path);
    for cut in 0..line.len() {
        file.write_all(&line.as_bytes()[..cut]).unwrap();
        assert_eq!(reader.poll().unwrap(), [], "cut at {cut}");
        file.write_all(&line.as_bytes()[cut..]).unwrap();
        assert_eq!(reader.poll().unwrap().len(), 1, "cut at {cut}");
    }
    // A crash tears a line for good; the next writer ends it, and the reader leaves it out.
    file.write_all(&line.as_bytes()[..9]).unwrap();
    Writer::open(&path)
        .unwrap()
        .write(EventKind::Failed {
            reason: "no".into(),
        })
        .unwrap();
    assert_eq!(reader.poll().unwrap().len(), 1);
    assert_eq!(reader.skipped(), 1);
    // Events of a later version are no reason to stop.
    file.write_all(b"{\"time\":\"\",\"event\":\"dreamt\"}\n\n[1]\n")
        .unwrap();
    file.write_all(line.as_bytes()).unwrap();
    assert_eq!(reader.poll().unwrap().len(), 1);
    assert_eq!(reader.skipped(), 3);
    // A file that was begun anew is read anew.
    fs::write(&path, &line).unwrap();
    assert_eq!(reader.poll().unwrap().len(), 1);
}

#[test]
fn a_long_file_is_read_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let message = "x".repeat(1 << 16);
    let mut writer = Writer::open(&path).unwrap();
    for _ in 0..200 {
        writer
            .write(EventKind::Warning {
                message: message.clone(),
            })
            .unwrap();
    }
    assert_eq!(Reader::new(&path).poll().unwrap().len(), 200);
}

#[test]
fn a_report_comes_back_from_its_file() {
    let genotype = || {
        [("model.layers.1.mlp".to_owned(), "drop".to_owned())]
            .into_iter()
            .collect()
    };
    let report = Report {
        run: "small-0123456789ab".into(),
        name: "small".into(),
        status: Status::GateFailed,
        reason: Some("perplexity".into()),
        spec_digest: "ab".into(),
        target: json!({"drop": 0.25}),
        achieved: Achieved {
            measure: "drop".into(),
            value: 0.2333,
            parameters: 1,
            dense_parameters: 2,
            size_bytes: 3,
            packed_bytes: 2,
            dense_size_bytes: 4,
        },
        genotype: genotype(),
        databases: vec![DatabaseResult {
            method: "gptq".into(),
            key: "01".into(),
            bytes: 9,
            build_seconds: 1.5,
            reused: true,
            tokens: 8192,
        }],
        search: SearchResult {
            mode: Mode::Paper,
            generations: 1,
            forward_tokens: 2,
            seconds: 3.0,
            switch_seconds: 0.25,
            best_fitness: 0.5,
            ended: None,
            history: vec![HistoryEntry {
                generation: 1,
                best_fitness: 0.5,
                forward_tokens: 2,
                seconds: 3.0,
                held_out: Some(0.75),
            }],
        },
        evaluation: vec![MetricResult {
            set: "held-out".into(),
            metric: Metric::KlDivergence,
            dense: 0.0,
            compressed: 0.5,
            baselines: [("window".to_owned(), 0.75)].into_iter().collect(),
            tokens: 1024,
        }],
        baselines: vec![BaselineResult {
            name: "window".into(),
            genotype: genotype(),
            parameters: 1,
            achieved: 0.25,
            packed_bytes: 2,
        }],
        beaten_by: vec!["window".into()],
        gates: vec![GateResult {
            set: "held-out".into(),
            limit: "max_kl 0.1".into(),
            value: 0.5,
            passed: false,
        }],
        artifacts: vec![WrittenArtifact {
            path: "/model".into(),
            format: "huggingface".into(),
            bytes: 3,
            digest: "cd".into(),
        }],
        unpublished: Vec::new(),
        published: vec![Published {
            registry: "folder".into(),
            location: "/registry/small/1".into(),
            version: "1".into(),
            digest: "ef".into(),
        }],
        timings: [(Stage::Load, 0.5), (Stage::Search, 3.0)].into(),
        peak_memory_bytes: 1 << 30,
        hardware: "2 cores".into(),
        warnings: vec![],
    };
    let written = serde_json::to_value(&report).unwrap();
    assert_eq!(written["status"], "gate_failed");
    assert_eq!(written["timings"]["search"], 3.0);
    assert_eq!(written["evaluation"][0]["metric"], "kl_divergence");
    assert_eq!(serde_json::from_value::<Report>(written).unwrap(), report);
}
