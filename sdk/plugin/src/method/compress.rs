//! Layers on their way to a method, and the packed weights that it makes of them.

use super::Variant;
use crate::{OwnedTensor, TensorView};

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

/// Layers that read the same activations (one
/// [`LayerOutline::input_idx`](super::LayerOutline::input_idx)), and the statistics of these
/// activations.
#[derive(Debug)]
pub struct CompressTask<'a> {
    /// Calibration tokens that the statistics are over. 0 where the method needs none.
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
    /// As in [`LayerOutline::name`](super::LayerOutline::name).
    pub name: &'a str,
    /// `[out_features, in_features]` f32, on the run's device. All values are finite.
    pub weight: TensorView<'a>,
    /// What to make of it.
    pub variants: &'a [Variant],
}

/// A compressed weight: the tensors of its [`Encoding::parts`](crate::Encoding::parts), in that
/// order, on the CPU.
#[derive(Debug)]
pub struct PackedWeight {
    /// The parts.
    pub parts: Vec<OwnedTensor>,
}
