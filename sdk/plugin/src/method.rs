//! A compression method: from the outline of a model to units, their levels and the budget, and from a layer's weight to its levels.
//!
//! Units, levels and level switches are those of the EvoPress paper, section 3: a unit gets one of its levels, a genotype is one
//! level per unit, and a mutation moves cost between units of one group so that the group's budget stays met. A method that changes
//! weights names the [`Variant`]s of each layer in its levels' edits; the engine then asks it to [`Method::compress`] the layers, block
//! by block, and keeps what it returns in a level database.

use std::collections::HashSet;

use crate::{Encoding, OwnedTensor, PluginError, TensorView};

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

/// One way to write down a layer's weight in fewer bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Short name within the layer, lower-case letters, digits, hyphens and dots: `3bit`, `0.5`.
    pub name: String,
    /// How the weight is packed.
    pub encoding: Encoding,
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
    /// The layer's weight is one that the method has compressed.
    Replace {
        /// The layer, an index into [`ModelOutline::layers`].
        layer_idx: u32,
        /// Which of its compressed weights.
        variant: Variant,
    },
}

/// One choice for a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// Short name within the unit: `keep`, `drop`, `3bit`.
    pub name: String,
    /// Cost in the method's own measure (kept sub-blocks, kept weights, bits).
    pub cost: u64,
    /// What the level does to the dense model; empty means that the unit is left as it is.
    pub edits: Vec<Edit>,
}

/// Something that gets a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Unique name: `model.layers.3.self_attn`, `model.layers.3.mlp`, `model.layers.3`, `model.layers.3.mlp.up_proj`.
    pub name: String,
    /// Level switches move cost only between units of one group: `attention`, `mlp`, `sub-block`, `block`. Empty: the pipeline's
    /// `search.grouping` decides.
    pub group: String,
    /// The block, counted from 0.
    pub block_idx: u32,
    /// The layers that its levels change, indices into [`ModelOutline::layers`].
    pub layer_idxs: Vec<u32>,
    /// At least two levels in order of falling cost.
    pub levels: Vec<Level>,
    /// The level at which a level database's calibration goes on to the next block.
    pub calibration_level: u32,
}

/// The highest total cost that the units of a group may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupBudget {
    /// The group's name.
    pub group: String,
    /// Highest sum of the chosen levels' costs.
    pub max_cost: u64,
}

/// What a method needs to know of the inputs `x` of a layer, over the calibration tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Statistics {
    /// Nothing: the weight alone decides.
    #[default]
    None,
    /// The root mean square of each feature.
    InputNorms,
    /// The second moment `H = mean(x xᵀ)`, and the norms.
    Hessian,
}

/// Statistics of the inputs that some layers share (q, k and v; gate and up), and these layers.
#[derive(Debug)]
pub struct CompressTask<'a> {
    /// Calibration tokens that the statistics are over; 0 where the method needs none.
    pub num_tokens: u64,
    /// Root mean square of each input feature, `[in_features]`.
    pub input_norms: Option<&'a [f32]>,
    /// `mean(x xᵀ)`, `[in_features, in_features]` f32, symmetric, on the run's device.
    pub hessian: Option<TensorView<'a>>,
    /// The layers.
    pub layers: Vec<LayerTask<'a>>,
}

/// A layer to compress.
#[derive(Debug)]
pub struct LayerTask<'a> {
    /// As in [`LayerOutline::name`].
    pub name: &'a str,
    /// `[out_features, in_features]` f32, on the run's device; finite.
    pub weight: TensorView<'a>,
    /// What to make of it.
    pub variants: &'a [Variant],
}

/// A compressed weight: the tensors of its [`Encoding::parts`], in that order, on the CPU.
#[derive(Debug)]
pub struct PackedWeight {
    /// The parts.
    pub parts: Vec<OwnedTensor>,
}

/// A compression method.
pub trait Method: Send + Sync {
    /// The units of a model, each with its levels. `target` is the pipeline's budget where that is in this method's measure: a method
    /// may choose its levels around it.
    ///
    /// # Errors
    /// When the model has nothing that this method can compress, or the options do not fit its layers.
    fn units(&self, model: &ModelOutline, target: Option<f64>) -> Result<Vec<Unit>, PluginError>;

    /// The measure by which `target:` of a spec names this method's budget: `drop`, `sparsity`, `bits_per_weight`.
    fn measure(&self) -> &str;

    /// The budget of every group for a target in that measure (`0.25`). Units may have been tied and grouped since
    /// [`Method::units`] returned them.
    ///
    /// # Errors
    /// When the target is out of range or leaves nothing to choose.
    fn budget(
        &self,
        model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError>;

    /// What [`Method::compress`] needs.
    fn statistics(&self) -> Statistics {
        Statistics::None
    }

    /// The variants of some layers, by layer and variant in the order of the task. The same task gets the same answer.
    ///
    /// # Errors
    /// When a weight or a statistic is such that no sound result can be had.
    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        let name = task.layers.first().map_or("nothing", |layer| layer.name);
        Err(format!("asked to compress {name}, but this method makes no variants").into())
    }
}

/// Whether units are what the search relies on: there are some, with distinct names, blocks and layers of the model, at least two levels in
/// order of falling cost each, and encodings that fit their layers. The host checks every method's units so.
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
            layer_idxs,
            levels,
            calibration_level,
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
        if *calibration_level as usize >= levels.len() {
            return Err(format!(
                "unit `{name}` calibrates at level {calibration_level}, but has {} levels",
                levels.len()
            )
            .into());
        }
        if let Some(layer) = layer_idxs
            .iter()
            .find(|idx| **idx as usize >= model.layers.len())
        {
            return Err(format!(
                "unit `{name}` covers layer {layer}, but the model has {} layers",
                model.layers.len()
            )
            .into());
        }
        for edit in levels.iter().flat_map(|level| &level.edits) {
            let Edit::Replace { layer_idx, variant } = edit else {
                continue;
            };
            if !layer_idxs.contains(layer_idx) {
                return Err(format!(
                    "unit `{name}` replaces layer {layer_idx}, which it does not cover"
                )
                .into());
            }
            let layer = &model.layers[*layer_idx as usize];
            variant
                .encoding
                .check(layer.out_features, layer.in_features)
                .map_err(|error| PluginError::new(format!("layer `{}`: {error}", layer.name)))?;
        }
    }
    Ok(())
}
