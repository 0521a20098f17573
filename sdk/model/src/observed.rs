//! What comes by in a block's forward pass.

use evopress_source::spec::LayerInput;
use tch::Tensor;

/// Sees what comes by in a block.
pub type Observer<'a> = &'a mut dyn FnMut(Observed<'_>);

/// What comes by in a block.
#[derive(Debug)]
pub enum Observed<'a> {
    /// What some of its linear layers multiply.
    Input(Input<'a>),
    /// What an expert makes of its tokens.
    Output(ExpertOutput<'a>),
}

/// What some linear layers of a block multiply.
#[derive(Debug)]
pub struct Input<'a> {
    /// Which tensor of the block.
    pub input: LayerInput,
    /// The expert whose tokens it holds, and which of the stream's rows these are, in ascending
    /// order; none where it holds all rows.
    pub routed: Option<(u32, &'a [i64])>,
    /// `[T, K]`.
    pub values: &'a Tensor,
}

/// What an expert makes of its tokens.
#[derive(Debug)]
pub struct ExpertOutput<'a> {
    /// The expert.
    pub expert: u32,
    /// What the output is multiplied with, by token.
    pub gates: &'a [f32],
    /// `[n, D]`, before it is multiplied.
    pub values: &'a Tensor,
}

/// An [`Observed`] input that holds all rows.
pub(crate) fn all_rows(input: LayerInput, values: &Tensor) -> Observed<'_> {
    Observed::Input(Input {
        input,
        routed: None,
        values,
    })
}
