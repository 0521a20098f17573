//! A block's sub-blocks in libtorch's own operators, which autograd can follow: what gradients are
//! computed with.
//!
//! The numbers are those of the fused kernels up to rounding; a test compares them. Experts get the
//! tokens that the router chooses, and that choice is held fixed: it has no gradient.

use evopress_search::genotype::WeightId;
use evopress_source::spec::GatedSlots;
use evopress_tensor::{Activation, plain_rotary_attention};
use tch::{Kind, Tensor};

use crate::block::Mlp;
use crate::error::Result;
use crate::experts::Experts;
use crate::model::Model;
use crate::sub_block::Ends;

/// A sub-block as it ran.
pub struct Traced {
    /// The linear layers that ran: an expert without tokens has none.
    pub layers: Vec<TracedLayer>,
    /// What the sub-block adds to the stream, `[T, D]` in f32.
    pub added: Tensor,
}

/// A linear layer as it ran.
pub struct TracedLayer {
    /// Its slot of the block.
    pub slot: usize,
    /// The rows of the stream that it reads, `[n]` in int64; none where it reads all.
    pub rows: Option<Tensor>,
    /// `[n, K]`.
    pub input: Tensor,
    /// `[n, N]`; none where it is all that the sub-block adds.
    pub output: Option<Tensor>,
}

/// Gives a layer's weight, in any dtype, by its slot of the block.
pub type SlotWeight<'a> = &'a dyn Fn(usize) -> Result<Tensor>;

/// The gated MLP, or the expert, that is being traced.
struct Part<'a> {
    slots: GatedSlots,
    activation: Activation,
    /// Of gate, up and down.
    biases: [Option<&'a Tensor>; 3],
    rows: Option<Tensor>,
}

impl Model {
    /// The attention of a block on the `stream [T, D]` (f32) of sequences of `length` tokens. Its
    /// layers are q, k, v and o; products are in `kind`, which the weights are of.
    ///
    /// # Errors
    /// When a weight cannot be read or libtorch refuses an operation.
    ///
    /// # Panics
    /// Where the block has no attention.
    pub fn traced_attention(
        &self,
        block_idx: usize,
        stream: &Tensor,
        length: i64,
        kind: Kind,
        weight: SlotWeight<'_>,
    ) -> Result<Traced> {
        let attention = self.blocks[block_idx].attention.as_ref();
        let attention = attention.expect("an attention that runs is there");
        let normed = attention.ends.traced_input(stream, kind)?;
        let mut layers = Vec::with_capacity(4);
        let mut projected = Vec::with_capacity(3);
        let mut first_row = 0;
        for &slot in &attention.slots[..3] {
            let weight = weight(slot)?;
            let bias = match &attention.projection_bias {
                Some(bias) => Some(bias.f_narrow(0, first_row, weight.size()[0])?),
                None => None,
            };
            first_row += weight.size()[0];
            let output = linear(&normed, &weight, bias.as_ref())?;
            projected.push(output.shallow_clone());
            layers.push(TracedLayer {
                slot,
                rows: None,
                input: normed.shallow_clone(),
                output: Some(output),
            });
        }
        let rotation = self.rope_of(block_idx).rows(length)?;
        let heads = attention.heads(length, rotation.as_ref());
        let queries = match attention.query_factors(length, stream.device())? {
            Some(factors) => {
                let by_sequence = projected[0].f_view([-1, length, attention.query_width()])?;
                by_sequence.f_mul(&factors)?.f_view_as(&projected[0])?
            }
            None => projected[0].shallow_clone(),
        };
        let projected = [&queries, &projected[1], &projected[2]];
        let attended = plain_rotary_attention(projected, attention.shape, &heads)?;
        let slot = attention.slots[3];
        let output = linear(&attended, &weight(slot)?, attention.output_bias.as_ref())?;
        let added = attention.ends.traced_added(&output)?;
        layers.push(TracedLayer {
            slot,
            rows: None,
            input: attended,
            output: unless_added(&attention.ends, output),
        });
        Ok(Traced { layers, added })
    }

    /// The MLP of a block on `stream [T, D]` (f32). Its layers are gate, up and down of the dense
    /// MLP, or of the experts that have tokens and then of the shared one; experts that are
    /// `left_out` have none. Products are in `kind`, which the weights are of.
    ///
    /// # Errors
    /// When a weight cannot be read or libtorch refuses an operation.
    ///
    /// # Panics
    /// Where the block has no MLP.
    pub fn traced_mlp(
        &self,
        block_idx: usize,
        stream: &Tensor,
        kind: Kind,
        left_out: &[u32],
        weight: SlotWeight<'_>,
    ) -> Result<Traced> {
        let mlp = self.blocks[block_idx].mlp.as_ref();
        let mlp = mlp.expect("an MLP that runs is there");
        let normed = mlp.ends.traced_input(stream, kind)?;
        let mut layers = Vec::new();
        let dense = match &mlp.dense {
            None => None,
            Some(dense) => {
                let bias = |idx: usize| dense.gate_up_biases.as_ref().map(|biases| &biases[idx]);
                let part = Part {
                    slots: dense.slots,
                    activation: mlp.activation,
                    biases: [bias(0), bias(1), dense.down_bias.as_ref()],
                    rows: None,
                };
                Some(part.trace(&normed, weight, &mut layers)?)
            }
        };
        let output = match &mlp.experts {
            Some(experts) => {
                let routes = experts.traced_routes(&normed, left_out)?;
                traced_experts((mlp, experts), routes, &normed, dense, weight, &mut layers)?
            }
            None => {
                let output = dense.expect("an MLP without experts is dense");
                if let Some(down) = layers.last_mut() {
                    down.output = unless_added(&mlp.ends, output.shallow_clone());
                }
                output
            }
        };
        let added = mlp.ends.traced_added(&output)?;
        Ok(Traced { layers, added })
    }

    /// The rows of `stream [T, D]` that a block's router sends to an expert when others are
    /// `left_out`, `[n]` in int64; products are in `kind`.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    ///
    /// # Panics
    /// Where the block has no experts.
    pub fn rows_of_expert(
        &self,
        block_idx: usize,
        stream: &Tensor,
        kind: Kind,
        left_out: &[u32],
        expert: u32,
    ) -> Result<Tensor> {
        let mlp = self.blocks[block_idx].mlp.as_ref();
        let with_experts = mlp.and_then(|mlp| Some((mlp, mlp.experts.as_ref()?)));
        let (mlp, experts) = with_experts.expect("a block whose experts change has some");
        let normed = mlp.ends.traced_input(stream, kind)?;
        let mut routes = experts.traced_routes(&normed, left_out)?;
        Ok(routes.swap_remove(expert as usize).0)
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

impl Part<'_> {
    /// The output `[n, D]`; the three layers go to `layers`.
    fn trace(
        &self,
        input: &Tensor,
        weight: SlotWeight<'_>,
        layers: &mut Vec<TracedLayer>,
    ) -> Result<Tensor> {
        let mut run = |slot: usize, input: &Tensor, bias: Option<&Tensor>| -> Result<Tensor> {
            let output = linear(input, &weight(slot)?, bias)?;
            layers.push(TracedLayer {
                slot,
                rows: self.rows.as_ref().map(Tensor::shallow_clone),
                input: input.shallow_clone(),
                output: Some(output.shallow_clone()),
            });
            Ok(output)
        };
        let gate = run(self.slots.gate, input, self.biases[0])?;
        let up = run(self.slots.up, input, self.biases[1])?;
        let activated = self.activation.plain(&gate)?.f_mul(&up)?;
        run(self.slots.down, &activated, self.biases[2])
    }
}

/// The sum of the experts' outputs and the shared expert's, `[T, D]` in f32.
fn traced_experts(
    (mlp, experts): (&Mlp, &Experts),
    routes: Vec<(Tensor, Tensor)>,
    normed: &Tensor,
    shared: Option<Tensor>,
    weight: SlotWeight<'_>,
    layers: &mut Vec<TracedLayer>,
) -> Result<Tensor> {
    let mut sum = Tensor::f_zeros(normed.size(), (Kind::Float, normed.device()))?;
    for (slots, (rows, gates)) in experts.slots.iter().zip(routes) {
        if rows.size()[0] == 0 {
            continue;
        }
        let part = Part {
            slots: *slots,
            activation: mlp.activation,
            biases: [None; 3],
            rows: Some(rows.shallow_clone()),
        };
        let output = part.trace(&normed.f_index_select(0, &rows)?, weight, layers)?;
        let scaled = output.f_to_kind(Kind::Float)?.f_mul(&gates)?;
        let _ = sum.f_index_add_(0, &rows, &scaled)?;
    }
    match (shared, experts.gate_of_shared(normed)?) {
        (Some(shared), Some(gate)) => Ok(sum.f_add(&shared.f_to_kind(Kind::Float)?.f_mul(&gate)?)?),
        _ => Ok(sum),
    }
}

/// A last layer's output, where it is not what the sub-block adds.
fn unless_added(ends: &Ends, output: Tensor) -> Option<Tensor> {
    (!ends.adds_output_itself()).then_some(output)
}

fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let bias = bias.map(|bias| bias.f_to_kind(weight.kind())).transpose()?;
    Ok(input.f_linear(weight, bias.as_ref())?)
}
