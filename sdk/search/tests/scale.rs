//! Searches over as many layers as a large mixture of experts has: memory grows linearly, and time
//! stays in seconds.
//!
//! Each size runs in a process of its own, which reports the peak of its resident memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::Instant;

use evopress_plugin::{
    Edit, Encoding, GroupBudget, LayerOutline, Level, Method, ModelOutline, PluginError, SubBlock,
    Unit, Variant,
};
use evopress_search::genotype::{Budget, Genotype, Grouping, MethodUnits, SearchSpace};
use evopress_search::prediction::{PredictionRequest, Predictions, Responses};
use evopress_search::search::{self, SelectionStage, Settings, fast};
use evopress_search::{Fitness, Result as SearchResult};

const NUM_EXPERTS: u32 = 128;
const BITS: [u8; 5] = [6, 5, 4, 3, 2];
const FEATURES: u64 = 64;
/// Responses of a gradient pass to each level change.
const NUM_COLUMNS: usize = 64;
/// Tells a process of this test how many blocks its model has.
const NUM_BLOCKS: &str = "EVOPRESS_SCALE_TEST_BLOCKS";

fn outline(num_blocks: u32) -> ModelOutline {
    let layer = |idx: u32| {
        let block_idx = idx / (3 * NUM_EXPERTS);
        let (expert_idx, place) = (idx / 3 % NUM_EXPERTS, idx % 3);
        let name = ["gate_proj", "up_proj", "down_proj"][place as usize];
        LayerOutline {
            name: format!("model.layers.{block_idx}.mlp.experts.{expert_idx}.{name}"),
            block_idx,
            sub_block: SubBlock::Mlp,
            expert_idx: Some(expert_idx),
            input_idx: 2 * (idx / 3) + place / 2,
            out_features: FEATURES,
            in_features: FEATURES,
            has_bias: false,
        }
    };
    ModelOutline {
        num_blocks,
        layers: (0..num_blocks * NUM_EXPERTS * 3).map(layer).collect(),
        bytes_per_weight: 2,
    }
}

/// Offers each layer at some numbers of bits.
struct Bits;

impl Method for Bits {
    fn units(&self, model: &ModelOutline, _: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        Ok(units(model, ""))
    }

    fn measure(&self) -> &str {
        "bits_per_weight"
    }

    fn budget(
        &self,
        model: &ModelOutline,
        _: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        let num_weights: u64 = model.layers.iter().map(LayerOutline::num_weights).sum();
        Ok(vec![GroupBudget {
            group: "all".into(),
            max_cost: (target * num_weights as f64) as u64,
        }])
    }
}

/// A unit for each layer.
fn units(outline: &ModelOutline, group: &str) -> Vec<Unit> {
    let level = |bits: u8, layer_idx: u32| {
        let name = format!("{bits}bit");
        let encoding = Encoding::Quantized {
            bits,
            group_size: 64,
            symmetric: false,
        };
        let variant = Variant {
            name: name.clone(),
            encoding,
        };
        Level {
            name,
            cost: u64::from(bits) * FEATURES * FEATURES,
            edits: vec![Edit::Replace { layer_idx, variant }],
        }
    };
    let layers = (0..).zip(&outline.layers);
    let unit = |(idx, layer): (u32, &LayerOutline)| Unit {
        name: layer.name.clone(),
        group: group.into(),
        block_idx: layer.block_idx,
        layer_idxs: vec![idx],
        calibration_level: 0,
        levels: BITS.map(|bits| level(bits, idx)).into(),
    };
    layers.map(unit).collect()
}

/// A unit for each layer, at 3 and a half bits a weight in all.
fn space(num_blocks: u32) -> SearchSpace {
    let outline = outline(num_blocks);
    let units = units(&outline, "all");
    let budget = GroupBudget {
        group: "all".into(),
        max_cost: units.len() as u64 * FEATURES * FEATURES * 7 / 2,
    };
    SearchSpace::with_budgets(&outline, units, &[budget]).unwrap()
}

/// A unit for each expert, at 3 and a half bits a weight in all.
fn by_expert(num_blocks: u32) -> SearchSpace {
    let outline = outline(num_blocks);
    let methods = [MethodUnits {
        name: "bits".into(),
        method: &Bits,
        units: Bits.units(&outline, None).unwrap(),
    }];
    let budget = Budget::Measure {
        name: "bits_per_weight".into(),
        value: 3.5,
    };
    SearchSpace::new(&outline, &methods, &budget, 0, Some(Grouping::Expert)).unwrap()
}

/// `mean_u s_u 4^l_u` with a little noise of a sequence and of a genotype.
struct Layers {
    sensitivities: Vec<f64>,
    spent: u64,
}

impl Layers {
    fn new(num_units: usize) -> Self {
        let sensitivity = |idx: usize| 0.01 + ((idx * 7919 + 3) % 101) as f64 / 101.0;
        Self {
            sensitivities: (0..num_units).map(sensitivity).collect(),
            spent: 0,
        }
    }

    fn of_level(&self, unit_idx: usize, level: usize) -> f64 {
        self.sensitivities[unit_idx] * 4_f64.powi(level as i32) / self.sensitivities.len() as f64
    }

    fn exact(&self, genotype: &Genotype) -> f64 {
        let units = 0..self.sensitivities.len();
        units
            .map(|idx| self.of_level(idx, genotype.level(idx)))
            .sum()
    }
}

impl Fitness for Layers {
    fn num_sequences(&self) -> usize {
        64
    }

    fn losses(
        &mut self,
        genotypes: &[Genotype],
        minibatch: &[usize],
    ) -> SearchResult<Vec<Vec<f64>>> {
        self.spent += (genotypes.len() * minibatch.len()) as u64;
        let losses = genotypes.iter().map(|genotype| {
            let exact = self.exact(genotype);
            let noise = |idx: usize| idx as f64 * 0.01 + (exact * 1e9 + idx as f64).sin() * 1e-5;
            minibatch.iter().map(|&idx| exact + noise(idx)).collect()
        });
        Ok(losses.collect())
    }

    fn tokens_spent(&self) -> u64 {
        self.spent
    }

    fn predict(&mut self, request: &PredictionRequest<'_>) -> SearchResult<Option<Predictions>> {
        self.spent += 8;
        let changes = request.changes;
        let first = changes.iter().map(|change| {
            let before = self.of_level(change.unit_idx, request.parent.level(change.unit_idx));
            (self.of_level(change.unit_idx, change.level) - before, 1e-9)
        });
        let entry = |idx: usize| ((idx * 31 + idx / 7) % 13) as f32 * 1e-6 - 6e-6;
        let values = (0..changes.len() * NUM_COLUMNS).map(entry).collect();
        Ok(Some(Predictions {
            first: first.collect(),
            sink: vec![(0.0, 0.0); changes.len()],
            sink_samples: request.samples_of_levels * request.sequence_idxs.len(),
            responses: Responses::new(changes.len(), values),
            forward_tokens: 8,
        }))
    }
}

fn stage(num_sequences: usize, survivors: usize) -> SelectionStage {
    SelectionStage {
        num_sequences,
        survivors,
    }
}

/// Both searches for a few generations.
fn run_both(num_blocks: u32) {
    let begun = Instant::now();
    let space = space(num_blocks);
    println!(
        "{} units: space {:.2?}",
        space.units().len(),
        begun.elapsed()
    );
    let begun = Instant::now();
    let grouped = by_expert(num_blocks);
    println!("{} experts: {:.2?}", grouped.units().len(), begun.elapsed());
    assert_eq!(grouped.units().len() * 3, space.units().len());
    drop(grouped);
    let settings = Settings {
        generations: 3,
        offspring: 128,
        initial_genotypes: 4,
        initial_sequences: 1,
        stages: vec![stage(1, 16), stage(4, 4), stage(16, 1)],
        seed: 0,
    };
    let mut fitness = Layers::new(space.units().len());
    let begun = Instant::now();
    let start = search::initial(&space, &mut fitness, &settings, &[]).unwrap();
    println!("start of the paper's search: {:.2?}", begun.elapsed());
    let begun = Instant::now();
    let before = start.fitness;
    let found = search::run(&space, &mut fitness, &settings, start.clone(), |_| Ok(())).unwrap();
    println!("3 generations of 128 offspring: {:.2?}", begun.elapsed());
    assert!(space.meets_budget(&found.parent) && found.fitness < before);

    let settings = fast::Settings {
        offspring: 8,
        gradient_sequences: 2,
        limit: fast::Limit {
            forward_tokens: Some(300),
            ..fast::Limit::default()
        },
        without: fast::Without::default(),
        tuning: fast::Tuning::default(),
        seed: 0,
    };
    let mut fitness = Layers::new(space.units().len());
    let begun = Instant::now();
    let starts = [start.parent];
    let (best, state) = fast::start(&space, &mut fitness, &settings, &starts).unwrap();
    let before = fitness.exact(&best.parent);
    let mut generations = 0;
    let best = fast::run(
        &space,
        &mut fitness,
        &settings,
        best,
        state,
        &|| 0.0,
        |_, _| {
            generations += 1;
            Ok(())
        },
    )
    .unwrap();
    println!(
        "{generations} generations of the fast search: {:.2?}",
        begun.elapsed()
    );
    assert!(space.meets_budget(&best.parent) && fitness.exact(&best.parent) < before);
}

/// The peak of this process's resident memory, in kB.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn memory_grows_no_faster_than_the_number_of_layers() {
    if let Ok(num_blocks) = std::env::var(NUM_BLOCKS) {
        let before = peak_kb();
        run_both(num_blocks.parse().unwrap());
        println!("peak: {} kB", peak_kb() - before);
        return;
    }
    let peak = |num_blocks: u32| -> f64 {
        let ended = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "memory_grows_no_faster_than_the_number_of_layers",
                "--nocapture",
            ])
            .env(NUM_BLOCKS, num_blocks.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        println!("{text}");
        assert!(
            ended.status.success(),
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
        let line = text.lines().find_map(|line| line.strip_prefix("peak: "));
        line.unwrap().trim_end_matches(" kB").parse().unwrap()
    };
    // 4,608 and 18,432 layers.
    let (small, large) = (peak(12), peak(48));
    assert!(large / small < 4.5, "from {small} kB to {large} kB");
    // All pairs of level changes would be 10 GB.
    assert!(large < 1e6, "{large} kB");
}
