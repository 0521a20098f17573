//! A block's sub-blocks in libtorch's own operators, which autograd can follow: what gradients are
//! computed with.
//!
//! The numbers are those of the fused kernels up to rounding; a test compares them.

use evopress_search::genotype::WeightId;
use evopress_tensor::plain_rotary_attention;
use tch::{Kind, Tensor};

use crate::error::Result;
use crate::model::Model;
use crate::sub_block::Ends;

/// A sub-block as it ran. Layers are in the order of their slots: q, k, v, o of an attention; gate,
/// up, down of an MLP.
pub struct Traced {
    /// By layer, `[T, K]`.
    pub inputs: Vec<Tensor>,
    /// By layer, `[T, N]`; without the last where its output is `added`.
    pub outputs: Vec<Tensor>,
    /// What the sub-block adds to the stream, `[T, D]` in f32.
    pub added: Tensor,
}

impl Traced {
    /// `outputs` are those of all layers but the last, whose is `output`.
    fn new(
        ends: &Ends,
        inputs: Vec<Tensor>,
        mut outputs: Vec<Tensor>,
        output: Tensor,
    ) -> Result<Self> {
        let added = ends.traced_added(&output)?;
        if !ends.adds_output_itself() {
            outputs.push(output);
        }
        Ok(Self {
            inputs,
            outputs,
            added,
        })
    }
}

impl Model {
    /// The attention of a block on the `stream [T, D]` (f32) of sequences of `length` tokens;
    /// `weights` are those of q, k, v and o, in any dtype.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    ///
    /// # Panics
    /// Where the block has no attention.
    pub fn traced_attention(
        &self,
        block_idx: usize,
        stream: &Tensor,
        length: i64,
        weights: &[Tensor],
    ) -> Result<Traced> {
        let attention = self.blocks[block_idx].attention.as_ref();
        let attention = attention.expect("an attention that runs is there");
        let normed = attention.ends.traced_input(stream, weights[0].kind())?;
        let mut outputs = Vec::with_capacity(4);
        let mut first_row = 0;
        for weight in &weights[..3] {
            let bias = match &attention.projection_bias {
                Some(bias) => Some(bias.f_narrow(0, first_row, weight.size()[0])?),
                None => None,
            };
            first_row += weight.size()[0];
            outputs.push(linear(&normed, weight, bias.as_ref())?);
        }
        let rotation = self.rope_of(block_idx).rows(length)?;
        let heads = attention.heads(length, rotation.as_ref());
        let queries = match attention.query_factors(length, stream.device())? {
            Some(factors) => {
                let by_sequence = outputs[0].f_view([-1, length, attention.query_width()])?;
                by_sequence.f_mul(&factors)?.f_view_as(&outputs[0])?
            }
            None => outputs[0].shallow_clone(),
        };
        let projected = [&queries, &outputs[1], &outputs[2]];
        let attended = plain_rotary_attention(projected, attention.shape, &heads)?;
        let output = linear(&attended, &weights[3], attention.output_bias.as_ref())?;
        let shared = || normed.shallow_clone();
        let inputs = vec![shared(), shared(), shared(), attended];
        Traced::new(&attention.ends, inputs, outputs, output)
    }

    /// The MLP of a block on `stream [T, D]` (f32); `weights` are those of gate, up and down, in
    /// any dtype.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    ///
    /// # Panics
    /// Where the block has no MLP.
    pub fn traced_mlp(
        &self,
        block_idx: usize,
        stream: &Tensor,
        weights: &[Tensor],
    ) -> Result<Traced> {
        let mlp = self.blocks[block_idx].mlp.as_ref();
        let mlp = mlp.expect("an MLP that runs is there");
        let normed = mlp.ends.traced_input(stream, weights[0].kind())?;
        let bias = |idx: usize| mlp.gate_up_biases.as_ref().map(|biases| &biases[idx]);
        let outputs = vec![
            linear(&normed, &weights[0], bias(0))?,
            linear(&normed, &weights[1], bias(1))?,
        ];
        let activated = mlp.activation.plain(&outputs[0])?.f_mul(&outputs[1])?;
        let output = linear(&activated, &weights[2], mlp.down_bias.as_ref())?;
        let inputs = vec![normed.shallow_clone(), normed, activated];
        Traced::new(&mlp.ends, inputs, outputs, output)
    }

    /// The final norm of `stream [T, D]`, in f32.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn traced_finish(&self, stream: &Tensor) -> Result<Tensor> {
        self.final_norm.traced(stream, Kind::Float)
    }

    /// A layer's weight `[N, K]` in libtorch's layout and any dtype.
    ///
    /// # Errors
    /// When it cannot be read or decoded.
    pub fn plain_weight(
        &self,
        layer_idx: usize,
        level: Option<WeightId>,
        kind: Kind,
    ) -> Result<Tensor> {
        self.weights.plain(layer_idx, level, kind)
    }
}

fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let bias = bias.map(|bias| bias.f_to_kind(weight.kind())).transpose()?;
    Ok(input.f_linear(weight, bias.as_ref())?)
}
