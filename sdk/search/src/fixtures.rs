//! A small made-up model and methods of every measure, for the tests of this crate and of those
//! that search with it.

use evopress_plugin::{
    BlockPart, DType, Edit, Encoding, GroupBudget, LayerOutline, Level, Method, ModelOutline,
    PluginError, SubBlock, Unit, Variant,
};

use crate::error::Result;
use crate::genotype::{Budget, Grouping, MethodUnits, SearchSpace};

/// Bytes of embeddings, norms and head.
pub const FIXED: u64 = 5000;

/// q and o of 16×16, k and v of 8×16, gate, up and down of 48×16 in each block.
pub fn outline(num_blocks: u32) -> ModelOutline {
    // With the input that each reads.
    let shapes = [
        ("self_attn.q_proj", SubBlock::Attention, 0, 16, 16),
        ("self_attn.k_proj", SubBlock::Attention, 0, 8, 16),
        ("self_attn.v_proj", SubBlock::Attention, 0, 8, 16),
        ("self_attn.o_proj", SubBlock::Attention, 1, 16, 16),
        ("mlp.gate_proj", SubBlock::Mlp, 2, 48, 16),
        ("mlp.up_proj", SubBlock::Mlp, 2, 48, 16),
        ("mlp.down_proj", SubBlock::Mlp, 3, 16, 48),
    ];
    let layers = (0..num_blocks).flat_map(|block_idx| {
        shapes.map(
            |(name, sub_block, input, out_features, in_features)| LayerOutline {
                name: format!("model.layers.{block_idx}.{name}"),
                block_idx,
                sub_block,
                expert_idx: None,
                input_idx: block_idx * 4 + input,
                out_features,
                in_features,
                has_bias: false,
            },
        )
    });
    ModelOutline {
        num_blocks,
        layers: layers.collect(),
        bytes_per_weight: 2,
    }
}

/// In each block an o of 16×16 and experts whose gate, up and down are 32×16.
pub fn mixture(num_blocks: u32, num_experts: u32) -> ModelOutline {
    let layer =
        |block_idx: u32, name: String, expert_idx: Option<u32>, input: u32, shape: [u64; 2]| {
            LayerOutline {
                name: format!("model.layers.{block_idx}.{name}"),
                block_idx,
                sub_block: match expert_idx {
                    Some(_) => SubBlock::Mlp,
                    None => SubBlock::Attention,
                },
                expert_idx,
                input_idx: block_idx * (1 + 2 * num_experts) + input,
                out_features: shape[0],
                in_features: shape[1],
                has_bias: false,
            }
        };
    let layers = (0..num_blocks).flat_map(|block_idx| {
        let of_expert = move |expert_idx: u32| {
            let names = [
                ("gate_proj", 0, [32, 16]),
                ("up_proj", 0, [32, 16]),
                ("down_proj", 1, [16, 32]),
            ];
            names.map(|(name, place, shape)| {
                let name = format!("mlp.experts.{expert_idx}.{name}");
                layer(
                    block_idx,
                    name,
                    Some(expert_idx),
                    1 + 2 * expert_idx + place,
                    shape,
                )
            })
        };
        let output = layer(block_idx, "self_attn.o_proj".into(), None, 0, [16, 16]);
        [output]
            .into_iter()
            .chain((0..num_experts).flat_map(of_expert))
    });
    ModelOutline {
        num_blocks,
        layers: layers.collect(),
        bytes_per_weight: 2,
    }
}

/// A unit for each layer, quantized to some numbers of bits in rising order.
pub struct Bits(
    /// The numbers of bits.
    pub &'static [u8],
);

/// A unit for each layer, with kept weights in steps of 1/16 around a half; small layers have finer
/// steps.
pub struct Sparse {
    /// Levels below and above a half, each.
    pub num_steps: u64,
}

/// Sub-blocks that are kept or dropped.
pub struct Drops;

/// Experts that are kept or dropped, equally many in each block.
pub struct ExpertDrops;

fn units_of(
    outline: &ModelOutline,
    levels: impl Fn(&LayerOutline, u32) -> Vec<Level>,
) -> Vec<Unit> {
    let layers = (0_u32..).zip(&outline.layers);
    layers
        .map(|(idx, layer)| {
            let levels = levels(layer, idx);
            Unit {
                name: layer.name.clone(),
                group: String::new(),
                block_idx: layer.block_idx,
                layer_idxs: vec![idx],
                calibration_level: (levels.len() / 2) as u32,
                levels,
            }
        })
        .collect()
}

fn replaced(name: String, cost: u64, layer_idx: u32, encoding: Encoding) -> Level {
    let variant = Variant {
        name: name.clone(),
        encoding,
    };
    Level {
        name,
        cost,
        edits: vec![Edit::Replace { layer_idx, variant }],
    }
}

fn budgets(
    outline: &ModelOutline,
    units: &[Unit],
    share: f64,
) -> Result<Vec<GroupBudget>, PluginError> {
    let mut weights: Vec<(String, u64)> = Vec::new();
    for unit in units {
        let count = num_weights(unit, outline);
        match weights.iter_mut().find(|(group, _)| *group == unit.group) {
            Some((_, sum)) => *sum += count,
            None => weights.push((unit.group.clone(), count)),
        }
    }
    let budget = |(group, count)| GroupBudget {
        group,
        max_cost: (count as f64 * share + 1e-6).floor() as u64,
    };
    Ok(weights.into_iter().map(budget).collect())
}

fn num_weights(unit: &Unit, outline: &ModelOutline) -> u64 {
    let layers = unit.layer_idxs.iter();
    layers
        .map(|&idx| outline.layers[idx as usize].num_weights())
        .sum()
}

impl Method for Bits {
    fn units(&self, model: &ModelOutline, _: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        Ok(units_of(model, |layer, idx| {
            let bits = self.0.iter().rev();
            bits.map(|&bits| {
                let encoding = Encoding::Quantized {
                    bits,
                    group_size: 16,
                    symmetric: false,
                };
                let cost = u64::from(bits) * layer.num_weights();
                replaced(format!("{bits}bit"), cost, idx, encoding)
            })
            .collect()
        }))
    }

    fn measure(&self) -> &str {
        "bits_per_weight"
    }

    fn budget(
        &self,
        model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        budgets(model, units, target)
    }
}

impl Method for Sparse {
    fn units(&self, model: &ModelOutline, _: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        Ok(units_of(model, |layer, idx| {
            let num_weights = layer.num_weights();
            let step = num_weights.min(256) / 16;
            (0..=2 * self.num_steps)
                .map(|level| {
                    let kept = num_weights / 2 + self.num_steps * step - level * step;
                    let encoding = Encoding::Sparse {
                        num_values: kept,
                        dtype: DType::Bf16,
                    };
                    let sparsity = 1.0 - kept as f64 / num_weights as f64;
                    replaced(format!("{sparsity:.4}"), kept, idx, encoding)
                })
                .collect()
        }))
    }

    fn measure(&self) -> &str {
        "sparsity"
    }

    fn budget(
        &self,
        model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        budgets(model, units, 1.0 - target)
    }
}

impl Method for Drops {
    fn units(&self, model: &ModelOutline, _: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        let halves = [("self_attn", SubBlock::Attention), ("mlp", SubBlock::Mlp)];
        let unit = |block_idx: u32, (name, half): (&str, SubBlock)| {
            let layers = (0_u32..).zip(&model.layers);
            let of_half = layers.filter(|(_, l)| l.block_idx == block_idx && l.sub_block == half);
            let edit = Edit::drop(block_idx, half);
            let level = |name: &str, cost, edits| Level {
                name: name.into(),
                cost,
                edits,
            };
            Unit {
                name: format!("model.layers.{block_idx}.{name}"),
                group: name.into(),
                block_idx,
                layer_idxs: of_half.map(|(idx, _)| idx).collect(),
                calibration_level: 0,
                levels: vec![level("keep", 1, vec![]), level("drop", 0, vec![edit])],
            }
        };
        let blocks = 0..model.num_blocks;
        Ok(blocks
            .flat_map(|block_idx| halves.map(|half| unit(block_idx, half)))
            .collect())
    }

    fn measure(&self) -> &str {
        "drop"
    }

    fn budget(
        &self,
        _: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        let kept = units.len() as f64 / 2.0 * (1.0 - target);
        let budget = |group: &str| GroupBudget {
            group: group.into(),
            max_cost: kept.ceil() as u64,
        };
        Ok(vec![budget("self_attn"), budget("mlp")])
    }
}

impl Method for ExpertDrops {
    fn units(&self, model: &ModelOutline, _: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        let mut units: Vec<Unit> = Vec::new();
        for (layer_idx, layer) in (0_u32..).zip(&model.layers) {
            let Some(expert_idx) = layer.expert_idx else {
                continue;
            };
            let block_idx = layer.block_idx;
            let name = format!("model.layers.{block_idx}.mlp.experts.{expert_idx}");
            if let Some(unit) = units.last_mut().filter(|unit| unit.name == name) {
                unit.layer_idxs.push(layer_idx);
                continue;
            }
            let part = BlockPart::Expert { expert_idx };
            let level = |name: &str, cost, edits| Level {
                name: name.into(),
                cost,
                edits,
            };
            units.push(Unit {
                name,
                group: format!("experts of block {block_idx}"),
                block_idx,
                layer_idxs: vec![layer_idx],
                calibration_level: 0,
                levels: vec![
                    level("keep", 1, vec![]),
                    level("drop", 0, vec![Edit::Drop { block_idx, part }]),
                ],
            });
        }
        Ok(units)
    }

    fn measure(&self) -> &str {
        "drop"
    }

    fn budget(
        &self,
        model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        let num_experts = units.len() as f64 / f64::from(model.num_blocks);
        let budget = |block_idx: u32| GroupBudget {
            group: format!("experts of block {block_idx}"),
            max_cost: (num_experts * (1.0 - target)).ceil() as u64,
        };
        Ok((0..model.num_blocks).map(budget).collect())
    }
}

/// The search space of some methods over [`outline`].
///
/// # Errors
/// As [`SearchSpace::new`].
pub fn space(
    num_blocks: u32,
    methods: &[(&str, &dyn Method)],
    budget: &Budget,
    grouping: Option<Grouping>,
) -> Result<SearchSpace> {
    space_over(&outline(num_blocks), methods, budget, grouping)
}

/// The search space of some methods over any model.
///
/// # Errors
/// As [`SearchSpace::new`].
pub fn space_over(
    outline: &ModelOutline,
    methods: &[(&str, &dyn Method)],
    budget: &Budget,
    grouping: Option<Grouping>,
) -> Result<SearchSpace> {
    let methods: Vec<MethodUnits<'_>> = methods
        .iter()
        .map(|(name, method)| MethodUnits::of(*name, *method, outline, budget))
        .collect::<Result<_>>()?;
    SearchSpace::new(outline, &methods, budget, FIXED, grouping)
}

/// A target in a method's measure.
pub fn measure(name: &str, value: f64) -> Budget {
    Budget::Measure {
        name: name.into(),
        value,
    }
}
