//! Reports of runs that never were, for tests of what is rendered from one.

use std::collections::BTreeMap;

use evopress_spec::{
    Achieved, BaselineResult, DatabaseResult, Delivered, GateResult, HistoryEntry, Metric,
    MetricResult, Mode, Published, Report, SearchResult, SequenceStart, Stage, Status,
    WrittenArtifact,
};
use indexmap::IndexMap;

/// Sub-blocks dropped from 30 blocks; a baseline is better.
pub(crate) fn dropped() -> Report {
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
        held_out: (generation % 8 == 1).then(|| 0.75 + 2.2 / f64::from(generation + 2)),
    });
    Report {
        run: "smollm2-depth-0123456789ab".to_owned(),
        name: "smollm2-depth".to_owned(),
        status: Status::Done,
        reason: None,
        spec_digest: "ab".repeat(32),
        target: serde_json::json!({ "drop": 0.25 }),
        delivered: None,
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
        experts: Vec::new(),
        sequences: vec![SequenceStart {
            text: "calibration".to_owned(),
            bos: true,
            said_by: "tokenizer.json".to_owned(),
        }],
        search: SearchResult {
            mode: Mode::Paper,
            generations: 40,
            forward_tokens: 425_984,
            seconds: 187.4,
            switch_seconds: 0.0,
            best_fitness: 0.7476,
            ended: None,
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
        unpublished: Vec::new(),
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

const LAYERS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// Levels for each linear layer of 30 blocks, by a number that wanders.
fn linear_layers(level: impl Fn(u32) -> String) -> IndexMap<String, String> {
    (0..30u32)
        .flat_map(|block_idx| {
            LAYERS.iter().zip(0u32..).map(move |(layer, idx)| {
                (
                    format!("model.layers.{block_idx}.{layer}"),
                    (block_idx * 7 + idx * 13 + block_idx * idx) % 11,
                )
            })
        })
        .map(|(unit, number)| (unit, level(number)))
        .collect()
}

/// Levels for each linear layer of 30 blocks: `level` names one for a number from 0 to 10.
pub(crate) fn of_levels(measure: &str, value: f64, level: impl Fn(u32) -> String) -> Report {
    let mut report = dropped();
    report.target = serde_json::json!({ measure: value });
    report.achieved.measure = measure.to_owned();
    report.achieved.value = value;
    report.achieved.parameters = report.achieved.dense_parameters;
    report.achieved.size_bytes = report.achieved.dense_size_bytes;
    report.achieved.packed_bytes = 96_500_000;
    report.genotype = linear_layers(&level);
    report.baselines = vec![
        baseline("uniform", linear_layers(|_| level(5))),
        baseline(
            "best of 32 random",
            linear_layers(|number| level((number + 3) % 11)),
        ),
    ];
    for it in &mut report.baselines {
        (it.achieved, it.packed_bytes) = (value, 96_000_000);
    }
    report.evaluation[0].baselines = IndexMap::from([
        ("uniform".to_owned(), 71.9),
        ("best of 32 random".to_owned(), 84.2),
    ]);
    report.evaluation[1].baselines = IndexMap::from([
        ("uniform".to_owned(), 0.777),
        ("best of 32 random".to_owned(), 0.91),
    ]);
    report.beaten_by.clear();
    report.databases = vec![DatabaseResult {
        method: "gptq".to_owned(),
        key: "0123456789abcdef".repeat(4),
        bytes: 265_400_000,
        build_seconds: 171.4,
        reused: true,
        tokens: 32_768,
        experts_without_tokens: 0,
    }];
    report.search.switch_seconds = 1.3;
    report
}

/// 2 to 8 bits, mostly 3.
pub(crate) fn quantized() -> Report {
    let report = of_levels("bits_per_weight", 2.997, |number| {
        let bits = [2, 3, 3, 3, 4, 3, 2, 3, 5, 8, 3][number as usize];
        format!("{bits}bit")
    });
    Report {
        delivered: Some(Delivered {
            method: "gguf".to_owned(),
            types: vec!["Q4_1".to_owned(), "Q8_0".to_owned()],
            size_bytes: 144_811_616,
        }),
        ..report
    }
}

/// Sub-blocks dropped, layers pruned or quantized: all for one budget in bytes.
pub(crate) fn joint() -> Report {
    of_levels("compression", 2.79, |number| {
        [
            "gptq:4bit",
            "gptq:3bit",
            "drop",
            "gptq:8bit",
            "sparsegpt:0.5",
            "sparsegpt:2:4",
            "gptq:2bit",
            "keep",
        ][number as usize % 8]
            .to_owned()
    })
}

/// 2 to 4 bits for each layer of so many blocks of 128 experts.
pub(crate) fn mixture(num_blocks: u32) -> Report {
    let genotype = |draw: fn(u32) -> u32| -> IndexMap<String, String> {
        let names = (0..num_blocks).flat_map(|block_idx| {
            let layers = (0..128).flat_map(|expert| {
                ["gate_proj", "up_proj", "down_proj"].map(|it| format!("mlp.experts.{expert}.{it}"))
            });
            let layers = ["self_attn.q_proj".to_owned()].into_iter().chain(layers);
            layers.map(move |layer| format!("model.layers.{block_idx}.{layer}"))
        });
        let levels = names
            .zip(0..)
            .map(|(name, idx)| (name, format!("{}bit", draw(idx))));
        levels.collect()
    };
    let mut report = quantized();
    report.genotype = genotype(|idx| 2 + (idx.wrapping_mul(2_654_435_761) >> 13) % 3);
    report.baselines = vec![
        baseline("uniform", genotype(|_| 3)),
        baseline(
            "random",
            genotype(|idx| 2 + (idx.wrapping_mul(40_503) >> 7) % 3),
        ),
    ];
    report
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
