//! A compression method: from the outline of a model to units, their levels and the budget.
//!
//! Units, levels and level switches are those of the EvoPress paper, section 3: a unit gets one of its levels, a genotype is one
//! level per unit, and a mutation moves cost between units of one group so that the group's budget stays met.

use std::collections::HashSet;

use crate::PluginError;

/// Which half of a transformer block a layer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubBlock {
    /// Query, key, value and output projections.
    Attention,
    /// Gate, up and down projections.
    Mlp,
}

/// A linear layer `y = W x` with `W` of shape `[out_features, in_features]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerOutline {
    /// Hugging Face's weight name without `.weight`: `model.layers.3.self_attn.q_proj`.
    pub name: String,
    /// The block, counted from 0.
    pub block_idx: u32,
    /// The half of the block.
    pub sub_block: SubBlock,
    /// Rows of the weight.
    pub out_features: u64,
    /// Columns of the weight.
    pub in_features: u64,
}

impl LayerOutline {
    /// Number of weights.
    pub fn num_weights(&self) -> u64 {
        self.out_features * self.in_features
    }
}

/// What a method gets to know of a model: its blocks and their linear layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOutline {
    /// Number of transformer blocks.
    pub num_blocks: u32,
    /// The linear layers of all blocks, in the order of the model.
    pub layers: Vec<LayerOutline>,
    /// Bytes of one weight in the run's dtype: 2 for bf16, 4 for f32.
    pub bytes_per_weight: u32,
}

/// A change to the dense model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edit {
    /// The attention sub-block adds nothing to the residual stream.
    DropAttention {
        /// The block, counted from 0.
        block_idx: u32,
    },
    /// The MLP sub-block adds nothing to the residual stream.
    DropMlp {
        /// The block, counted from 0.
        block_idx: u32,
    },
}

/// One choice for a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// Short name within the unit: `keep`, `drop`.
    pub name: String,
    /// Cost in the method's own measure (kept sub-blocks, kept weights, bits).
    pub cost: u64,
    /// Size of the unit at this level, in bytes.
    pub size_bytes: u64,
    /// What the level does to the dense model; empty means that the unit is left as it is.
    pub edits: Vec<Edit>,
}

/// Something that gets a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Unique name: `model.layers.3.self_attn`, `model.layers.3.mlp`, `model.layers.3`.
    pub name: String,
    /// Level switches move cost only between units of one group: `attention`, `mlp`, `sub-block`, `block`.
    pub group: String,
    /// The block, counted from 0.
    pub block_idx: u32,
    /// At least two levels in order of falling cost.
    pub levels: Vec<Level>,
}

/// The highest total cost that the units of a group may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupBudget {
    /// The group's name.
    pub group: String,
    /// Highest sum of the chosen levels' costs.
    pub max_cost: u64,
}

/// A compression method.
pub trait Method: Send + Sync {
    /// The units of a model, each with its levels.
    ///
    /// # Errors
    /// When the model has nothing that this method can compress.
    fn units(&self, model: &ModelOutline) -> Result<Vec<Unit>, PluginError>;

    /// The measure by which `target:` of a spec names this method's budget: `drop`, `sparsity`, `bits_per_weight`.
    fn measure(&self) -> &str;

    /// The budget of every group for a target in that measure (`0.25`).
    ///
    /// # Errors
    /// When the target is out of range or leaves nothing to choose.
    fn budget(&self, units: &[Unit], target: f64) -> Result<Vec<GroupBudget>, PluginError>;
}

/// Whether units are what the search relies on: there are some, with distinct names, blocks of the model, and at least two levels in
/// order of falling cost each. The host checks every method's units so.
///
/// # Errors
/// The first unit that is not, and why.
pub fn check_units(units: &[Unit], model: &ModelOutline) -> Result<(), PluginError> {
    if units.is_empty() {
        return Err("no units".into());
    }
    let mut names = HashSet::new();
    for unit in units {
        let Unit {
            name,
            block_idx,
            levels,
            ..
        } = unit;
        if !names.insert(name) {
            return Err(format!("two units are named `{name}`").into());
        }
        if *block_idx >= model.num_blocks {
            return Err(format!(
                "unit `{name}` is in block {block_idx}, but the model has {} blocks",
                model.num_blocks
            )
            .into());
        }
        if levels.len() < 2 {
            return Err(format!(
                "unit `{name}` has {} levels; at least 2 are needed",
                levels.len()
            )
            .into());
        }
        if let Some(pair) = levels.windows(2).find(|pair| pair[0].cost <= pair[1].cost) {
            let [above, below] = [&pair[0], &pair[1]];
            return Err(format!(
                "unit `{name}`: levels are not in order of falling cost: `{}` costs {}, `{}` after it costs {}",
                above.name, above.cost, below.name, below.cost
            )
            .into());
        }
    }
    Ok(())
}
