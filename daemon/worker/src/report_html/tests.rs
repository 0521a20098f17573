use std::collections::BTreeMap;

use evopress_spec::{
    Achieved, BaselineResult, GateResult, HistoryEntry, Metric, MetricResult, Mode, Published,
    Report, SearchResult, Stage, Status, WrittenArtifact,
};
use indexmap::IndexMap;

use super::{render, text};

/// A report of 30 blocks in which a baseline wins.
pub(super) fn made_up() -> Report {
    let genotype = |dropped: &[u32]| -> IndexMap<String, String> {
        let level = |gone: bool| {
            if gone {
                "drop".to_owned()
            } else {
                "keep".to_owned()
            }
        };
        (0..30)
            .flat_map(|block_idx| {
                [
                    (
                        format!("model.layers.{block_idx}.self_attn"),
                        level(dropped.contains(&block_idx)),
                    ),
                    (
                        format!("model.layers.{block_idx}.mlp"),
                        level(dropped.contains(&(block_idx * 7 % 30))),
                    ),
                ]
            })
            .collect()
    };
    let baselines = IndexMap::from([
        ("window cosine".to_owned(), 70.95),
        ("best of 32 random".to_owned(), 158.6),
    ]);
    let history = (1..=40u32).map(|generation| HistoryEntry {
        generation,
        best_fitness: 0.7 + 2.0 / f64::from(generation + 2),
        forward_tokens: u64::from(generation) * 10_240 + 16_384,
        seconds: f64::from(generation) * 3.1,
    });
    Report {
        run: "smollm2-depth-0123456789ab".to_owned(),
        name: "smollm2-depth".to_owned(),
        status: Status::Done,
        reason: None,
        spec_digest: "ab".repeat(32),
        target: serde_json::json!({ "drop": 0.25 }),
        achieved: Achieved {
            measure: "drop".to_owned(),
            value: 0.2333,
            parameters: 105_000_000,
            dense_parameters: 134_515_008,
            size_bytes: 210_000_000,
            packed_bytes: 210_000_000,
            dense_size_bytes: 269_030_016,
        },
        genotype: genotype(&[3, 9, 11, 14, 18, 20, 26]),
        databases: Vec::new(),
        search: SearchResult {
            mode: Mode::Paper,
            generations: 40,
            forward_tokens: 425_984,
            seconds: 187.4,
            switch_seconds: 0.0,
            best_fitness: 0.7476,
            history: history.collect(),
        },
        evaluation: vec![
            metric(Metric::Perplexity, 35.45, 71.81, baselines),
            metric(
                Metric::KlDivergence,
                0.0,
                0.746,
                IndexMap::from([("window cosine".to_owned(), 0.731)]),
            ),
        ],
        baselines: vec![
            baseline("window cosine", genotype(&[12, 13, 14, 15, 16, 17, 18])),
            baseline("best of 32 random", genotype(&[1, 5, 6, 12, 19, 22, 29])),
        ],
        beaten_by: vec!["window cosine".to_owned()],
        gates: vec![
            gate("max_perplexity_ratio 4", 2.03, true),
            gate("max_kl 0.5", 0.746, false),
        ],
        artifacts: vec![WrittenArtifact {
            path: "/var/lib/evopressd/runs/smollm2-depth-0123456789ab/model".to_owned(),
            format: "huggingface".to_owned(),
            bytes: 212_345_678,
            digest: "cd".repeat(32),
        }],
        published: vec![Published {
            registry: "folder".to_owned(),
            location: "/srv/registry/smollm2-depth/3".to_owned(),
            version: "3".to_owned(),
            digest: "ef".repeat(32),
        }],
        timings: BTreeMap::from([
            (Stage::Load, 0.4),
            (Stage::Calibrate, 6.1),
            (Stage::Initial, 9.0),
            (Stage::Search, 187.4),
            (Stage::Baselines, 31.0),
            (Stage::Evaluate, 22.5),
        ]),
        peak_memory_bytes: 1_480_000_000,
        hardware: "2 threads of a CPU with AMX".to_owned(),
        warnings: vec!["the calibration text repeats after 140,000 tokens".to_owned()],
    }
}

fn metric(
    metric: Metric,
    dense: f64,
    compressed: f64,
    baselines: IndexMap<String, f64>,
) -> MetricResult {
    MetricResult {
        set: "held-out".to_owned(),
        metric,
        dense,
        compressed,
        baselines,
        tokens: 32_768,
    }
}

fn baseline(name: &str, genotype: IndexMap<String, String>) -> BaselineResult {
    BaselineResult {
        name: name.to_owned(),
        genotype,
        parameters: 105_000_000,
        achieved: 0.2333,
        packed_bytes: 210_000_000,
    }
}

fn gate(limit: &str, value: f64, passed: bool) -> GateResult {
    GateResult {
        set: "held-out".to_owned(),
        limit: limit.to_owned(),
        value,
        passed,
    }
}

/// Every element that is opened is closed, in order: the page is well formed.
fn assert_well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let body = html.split_once("</style>").map_or(html, |(_, body)| body);
    for tag in body
        .split('<')
        .skip(1)
        .map(|rest| rest.split_once('>').expect("a tag ends").0)
    {
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .expect("a tag has a name");
        if let Some(closed) = tag.strip_prefix('/') {
            if ["head", "html"].contains(&closed) {
                continue;
            }
            assert_eq!(open.pop(), Some(closed), "near </{closed}>");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn a_page_is_well_formed_and_self_contained() {
    let page = render(&made_up());
    assert_well_formed(&page);
    for outside in [
        "<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import", "http:",
        "https:",
    ] {
        assert!(!page.contains(outside), "the page has {outside}");
    }
}

#[test]
fn a_winning_baseline_is_named_plainly() {
    let mut report = made_up();
    let sentence = "<b>A baseline is better than this result:</b> window cosine (70.95), against 71.81 of the search.";
    assert!(render(&report).contains(sentence));
    report.beaten_by.clear();
    assert!(!render(&report).contains("better than this result"));
}

#[test]
fn a_result_that_is_a_baseline_says_so() {
    let mut report = made_up();
    let sentence = "The search ended at the very choice of the baseline window cosine.";
    assert!(!render(&report).contains(sentence));
    report.genotype = report.baselines[0].genotype.clone();
    assert!(render(&report).contains(sentence));
}

#[test]
fn no_text_of_a_report_becomes_markup() {
    let hostile = "</title></style><script>alert('x')</script>\"&";
    let mut report = made_up();
    for field in [
        &mut report.run,
        &mut report.name,
        &mut report.spec_digest,
        &mut report.hardware,
    ] {
        *field = hostile.to_owned();
    }
    report.reason = Some(hostile.to_owned());
    report.target = serde_json::json!({ hostile: hostile });
    report.achieved.measure = hostile.to_owned();
    report
        .genotype
        .insert(hostile.to_owned(), hostile.to_owned());
    report
        .genotype
        .insert(format!("layers.3.{hostile}"), hostile.to_owned());
    report.warnings.push(hostile.to_owned());
    report.beaten_by.push(hostile.to_owned());
    for result in &mut report.evaluation {
        result.set = hostile.to_owned();
        result.baselines.insert(hostile.to_owned(), 1.0);
    }
    report.baselines[0].name = hostile.to_owned();
    report.gates[0].set = hostile.to_owned();
    report.gates[0].limit = hostile.to_owned();
    let artifact = &mut report.artifacts[0];
    (artifact.path, artifact.format, artifact.digest) =
        (hostile.to_owned(), hostile.to_owned(), hostile.to_owned());
    let place = &mut report.published[0];
    (place.registry, place.location) = (hostile.to_owned(), hostile.to_owned());
    (place.version, place.digest) = (hostile.to_owned(), hostile.to_owned());
    let page = render(&report);
    assert!(!page.contains("<script"));
    assert_well_formed(&page);
}

#[test]
fn a_report_of_almost_nothing_is_a_page() {
    let mut report = made_up();
    report.status = Status::Failed;
    report.reason = Some("the model is not there".to_owned());
    report.evaluation.clear();
    report.genotype.clear();
    report.search.history.clear();
    report.timings.clear();
    report.gates.clear();
    report.artifacts.clear();
    report.published.clear();
    report.achieved.dense_parameters = 0;
    let page = render(&report);
    assert_well_formed(&page);
    assert!(page.contains("the model is not there"));
    assert!(!page.contains("<h2>Search</h2>"));
}

#[test]
fn numbers_that_are_none_show_a_dash() {
    let mut report = made_up();
    report.evaluation[0].compressed = f64::INFINITY;
    report.search.history[3].best_fitness = f64::NAN;
    report.search.history.truncate(5);
    let page = render(&report);
    assert_well_formed(&page);
    assert!(!page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn numbers_for_people() {
    let check = |found: String, expected: &str| assert_eq!(found, expected);
    check(text::number(35.4512), "35.45");
    check(text::number(0.74612), "0.7461");
    check(text::number(8_123_456_789.0), "8.12e9");
    check(text::number(f64::NAN), "–");
    check(text::grouped(134_515_008), "134,515,008");
    check(text::grouped(0), "0");
    check(text::bytes(269_030_016), "269.0 MB");
    check(text::duration(187.4), "3 min 07 s");
    check(text::duration(59.96), "60.0 s");
    check(text::duration(7_260.0), "2 h 01 min");
}
