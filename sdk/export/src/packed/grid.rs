//! The uniform grids that packed formats have, and the products that runtimes fuse.

use evopress_plugin::Encoding;

use super::PackedFormat;
use crate::experts;
use evopress_source::spec::{BlockSpec, InputGroup, LayerInput};

/// GPTQ's words are filled along both sides of a weight.
const GPTQ_MULTIPLE: usize = 32;

/// How a layer's weight is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Grid {
    pub(super) bits: u8,
    /// Columns that share a scale; none where a row has one scale.
    pub(super) group_size: Option<u32>,
    pub(super) symmetric: bool,
}

impl Grid {
    /// What a weight of `shape` is in a format, if that has it.
    pub(super) fn of(format: PackedFormat, encoding: &Encoding, shape: &[usize]) -> Option<Self> {
        let &Encoding::Quantized {
            bits,
            group_size,
            symmetric,
        } = encoding
        else {
            return None;
        };
        let &[_, columns] = shape else { return None };
        let fits = match format {
            PackedFormat::CompressedTensors => true,
            PackedFormat::Gptq => shape.iter().all(|it| it.is_multiple_of(GPTQ_MULTIPLE)),
        };
        (fits && has_bits(format, bits)).then_some(Self {
            bits,
            group_size: (group_size as usize != columns).then_some(group_size),
            symmetric,
        })
    }
}

/// The bits that a format has.
pub(super) fn bits_of(format: PackedFormat) -> &'static [u8] {
    match format {
        PackedFormat::CompressedTensors => &[1, 2, 3, 4, 5, 6, 7, 8],
        PackedFormat::Gptq => &[2, 3, 4, 8],
    }
}

pub(super) fn has_bits(format: PackedFormat, bits: u8) -> bool {
    bits_of(format).contains(&bits)
}

/// Layers of a block that share their input, and the name of the one layer that runtimes make of
/// them.
pub(super) struct Product {
    /// The module within the block: `self_attn`.
    pub(super) parent: String,
    /// Names of the layers in that module.
    pub(super) layers: Vec<String>,
    pub(super) fused: Option<&'static str>,
}

impl Product {
    /// All linear layers of a block, without the experts that are `left_out`.
    pub(super) fn of_block(block: &BlockSpec, left_out: &[u32]) -> Vec<Self> {
        let groups = block.layers_by_input().into_iter();
        let product = |group: InputGroup| {
            let layers = group.slots.iter().map(|&slot| &block.layers[slot]);
            // Layers that share a tensor are one module.
            let modules = layers.filter_map(|layer| match (&layer.stacked, layer.expert) {
                (Some(stacked), _) => Some(stacked.name.clone()),
                (None, None) => Some(layer.name.clone()),
                (None, Some(expert)) => {
                    let number = experts::number(expert, left_out)?;
                    Some(experts::renamed(&layer.name, expert, number))
                }
            });
            let split = |name: String| {
                let (parent, layer) = name.rsplit_once('.').unwrap_or(("", &name));
                (parent.to_owned(), layer.to_owned())
            };
            let (parents, mut layers): (Vec<String>, Vec<String>) = modules.map(split).unzip();
            layers.dedup();
            Some(Self {
                parent: parents.first()?.clone(),
                fused: fused(group.input).filter(|_| layers.len() > 1),
                layers,
            })
        };
        groups.filter_map(product).collect()
    }

    /// Names and modules of its layers in a block of the artifact.
    pub(super) fn modules(&self, block_name: &str) -> impl Iterator<Item = (&str, String)> {
        self.layers.iter().map(move |layer| {
            let module = format!("{block_name}.{}.{layer}", self.parent);
            (layer.as_str(), module)
        })
    }
}

/// What runtimes call the layers of one input when they make them one.
fn fused(input: LayerInput) -> Option<&'static str> {
    match input {
        LayerInput::AttentionInput => Some("qkv_proj"),
        LayerInput::MlpInput => Some("gate_up_proj"),
        LayerInput::AttentionHeads | LayerInput::MlpActivation => None,
    }
}
