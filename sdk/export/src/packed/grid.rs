//! The uniform grids that packed formats have, and the products that runtimes fuse.

use evopress_plugin::Encoding;

use super::PackedFormat;

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

/// Layers that share their inputs, and the name of the one layer that runtimes make of them.
pub(super) struct Product {
    pub(super) parent: &'static str,
    pub(super) layers: &'static [&'static str],
    pub(super) fused: Option<&'static str>,
}

/// All linear layers of a block.
pub(super) const PRODUCTS: [Product; 4] = [
    Product {
        parent: "self_attn",
        layers: &["q_proj", "k_proj", "v_proj"],
        fused: Some("qkv_proj"),
    },
    Product {
        parent: "self_attn",
        layers: &["o_proj"],
        fused: None,
    },
    Product {
        parent: "mlp",
        layers: &["gate_proj", "up_proj"],
        fused: Some("gate_up_proj"),
    },
    Product {
        parent: "mlp",
        layers: &["down_proj"],
        fused: None,
    },
];

impl Product {
    /// Name and module of its layers in a block of the artifact.
    pub(super) fn modules(
        &self,
        block_idx: usize,
    ) -> impl Iterator<Item = (&'static str, String)> + '_ {
        self.layers.iter().map(move |&layer| {
            let module = format!("model.layers.{block_idx}.{}.{layer}", self.parent);
            (layer, module)
        })
    }
}
