//! An MLP of experts: a router, the experts that it sends tokens to, and a shared expert.
//!
//! Probabilities `p = softmax(R x)` in f32 over all experts; a token takes the `k` largest, which
//! are scaled to a sum of 1 where the model does so:
//!
//! ```text
//! y = Σ_e p_e · down_e(activation(gate_e(x)) · up_e(x)) + sigmoid(⟨g, x⟩) · shared(x)
//! ```
//!
//! A candidate may leave experts out: the router's rows of these are gone, so that `p` is over the
//! others, and a token takes the `k` largest among them.
//!
//! The tokens of an expert are gathered, so that an expert without tokens costs nothing. Experts
//! are added one after another in the order of their numbers, whatever the number of threads.

use evopress_source::ModelSpec;
use evopress_source::spec::{GatedSlots, LayerInput};
use evopress_tensor::{Activation, Weight, add_rows, project, select_rows, to_vec};
use tch::{Device, Kind, Tensor};

use crate::block_weights::{BlockWeights, LeftOut};
use crate::error::Result;
use crate::norm::Read;
use crate::observed::{ExpertOutput, Input, Observed, Observer};

/// The experts of a block.
pub(crate) struct Experts {
    /// `[E, D]`, for products.
    router: Weight,
    /// The router in f32 and libtorch's layout, which autograd can follow.
    plain_router: Tensor,
    num_active: i64,
    is_renormalized: bool,
    /// By expert.
    pub(crate) slots: Vec<GatedSlots>,
    /// `[1, D]` in f32: what the shared expert's output is gated with.
    pub(crate) shared_gate: Option<Tensor>,
}

/// The tokens of an expert.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Routed {
    /// Rows of the stream, ascending.
    pub(crate) rows: Vec<i64>,
    /// What the expert's output is multiplied with, by row.
    pub(crate) gates: Vec<f32>,
}

impl Experts {
    /// Reads the experts of a block by the names of their tensors; none where its MLP is dense.
    pub(crate) fn read(
        model: &ModelSpec,
        block_idx: usize,
        kind: Kind,
        read: Read<'_>,
    ) -> Result<Option<Self>> {
        let block = &model.blocks[block_idx];
        let Some(spec) = block.experts() else {
            return Ok(None);
        };
        let name = |name: &str| format!("{}.{name}.weight", model.block_name(block_idx));
        let router = read(&name(&spec.router), kind)?;
        let shared_gate = match &spec.shared {
            Some(shared) => Some(read(&name(&shared.gate), kind)?.f_to_kind(Kind::Float)?),
            None => None,
        };
        Ok(Some(Self {
            plain_router: router.f_to_kind(Kind::Float)?,
            router: Weight::new(router)?,
            num_active: i64::from(spec.num_active),
            is_renormalized: spec.is_renormalized,
            slots: block.slots_of_experts(),
            shared_gate,
        }))
    }

    pub(crate) fn share(&self) -> Self {
        Self {
            router: self.router.share(),
            plain_router: self.plain_router.shallow_clone(),
            num_active: self.num_active,
            is_renormalized: self.is_renormalized,
            slots: self.slots.clone(),
            shared_gate: self.shared_gate.as_ref().map(Tensor::shallow_clone),
        }
    }

    /// The tokens of each expert, of `normed [T, D]`.
    fn route(&self, normed: &Tensor, left_out: &[LeftOut<'_>]) -> Result<Vec<Routed>> {
        let logits = project(std::slice::from_ref(&self.router), None, normed)?;
        let mut first_row = 0;
        for LeftOut { num_rows, experts } in left_out {
            let rows = logits.f_narrow(0, first_row, *num_rows)?;
            drop(without(rows, experts)?);
            first_row += num_rows;
        }
        let (gates, experts) = self.choose(&logits)?;
        let (gates, experts) = (to_vec(&gates)?, numbers(&experts)?);
        let mut by_expert = vec![Routed::default(); self.slots.len()];
        for (at, (gate, expert)) in gates.into_iter().zip(experts).enumerate() {
            let routed = &mut by_expert[expert as usize];
            routed.rows.push(at as i64 / self.num_active);
            routed.gates.push(gate);
        }
        Ok(by_expert)
    }

    /// What the router gives the experts that tokens take, and which these are: both `[T, k]`.
    fn choose(&self, logits: &Tensor) -> Result<(Tensor, Tensor)> {
        let probabilities = logits.f_softmax(-1, Kind::Float)?;
        let (gates, experts) = probabilities.f_topk(self.num_active, -1, true, false)?;
        let gates = match self.is_renormalized {
            true => gates.f_div(&gates.f_sum_dim_intlist(-1i64, true, Kind::Float)?)?,
            false => gates,
        };
        Ok((gates, experts))
    }

    /// Adds what the experts make of `normed [T, D]` to `sum [T, D]` in f32. Without a sum nothing
    /// but the experts' inputs is computed.
    pub(crate) fn add(
        &self,
        activation: Activation,
        normed: &Tensor,
        mut sum: Option<&mut Tensor>,
        weights: &BlockWeights<'_>,
        observe: Observer<'_>,
    ) -> Result<()> {
        let routes = self.route(normed, &weights.left_out)?;
        for (expert, routed) in routes.into_iter().enumerate() {
            let Routed { rows, gates } = &routed;
            if rows.is_empty() {
                continue;
            }
            let slots = self.slots[expert];
            let expert = expert as u32;
            let mut see = |input: LayerInput, values: &Tensor| {
                observe(Observed::Input(Input {
                    input,
                    routed: Some((expert, rows)),
                    values,
                }));
            };
            let input = select_rows(normed, rows)?;
            see(LayerInput::MlpInput, &input);
            let gate_up = weights.get(&[slots.gate, slots.up])?.of_rows(rows);
            let activated = gate_up.gated(None, activation, &input)?;
            see(LayerInput::MlpActivation, &activated);
            let Some(sum) = &mut sum else {
                continue;
            };
            let down = weights.get(&[slots.down])?.of_rows(rows);
            let output = down.map(&activated, |weights, input| {
                Ok(project(weights, None, input)?)
            })?;
            observe(Observed::Output(ExpertOutput {
                expert,
                gates,
                values: &output,
            }));
            add_rows(sum, &output, rows, gates)?;
        }
        Ok(())
    }

    /// What the shared expert's output is multiplied with, `[T, 1]` in f32.
    pub(crate) fn gate_of_shared(&self, normed: &Tensor) -> Result<Option<Tensor>> {
        let Some(gate) = &self.shared_gate else {
            return Ok(None);
        };
        let products = normed
            .f_to_kind(Kind::Float)?
            .f_linear(gate, None::<&Tensor>)?;
        Ok(Some(products.f_sigmoid()?))
    }

    /// The tokens of each expert in operators that autograd can follow: which rows, `[n]` in int64,
    /// and what the outputs are multiplied with, `[n, 1]` in f32. Which experts a token takes is
    /// held fixed; none takes those that are `left_out`.
    pub(crate) fn traced_routes(
        &self,
        normed: &Tensor,
        left_out: &[u32],
    ) -> Result<Vec<(Tensor, Tensor)>> {
        let logits = normed
            .f_to_kind(Kind::Float)?
            .f_linear(&self.plain_router, None::<&Tensor>)?;
        let logits = without(logits, left_out)?;
        let (gates, experts) = self.choose(&logits)?;
        // Probabilities over no expert are no numbers.
        let gates = match left_out.len() == self.slots.len() {
            true => gates.f_zeros_like()?,
            false => gates,
        };
        let (gates, device) = (gates.f_reshape([-1])?, normed.device());
        let mut places = vec![Vec::new(); self.slots.len()];
        for (at, expert) in numbers(&experts)?.into_iter().enumerate() {
            places[expert as usize].push(at as i64);
        }
        let of_expert = |places: Vec<i64>| {
            let rows: Vec<i64> = places.iter().map(|at| at / self.num_active).collect();
            let places = Tensor::f_from_slice(&places)?.f_to_device(device)?;
            let gates = gates.f_index_select(0, &places)?.f_unsqueeze(1)?;
            Ok((Tensor::f_from_slice(&rows)?.f_to_device(device)?, gates))
        };
        places.into_iter().map(of_expert).collect()
    }
}

/// A router's `logits [T, E]`, changed in place so that no token takes the experts that are left
/// out.
fn without(mut logits: Tensor, left_out: &[u32]) -> Result<Tensor> {
    if left_out.is_empty() {
        return Ok(logits);
    }
    let left_out: Vec<i64> = left_out.iter().map(|&expert| i64::from(expert)).collect();
    let left_out = Tensor::f_from_slice(&left_out)?.f_to_device(logits.device())?;
    Ok(logits.f_index_fill_(1, &left_out, f64::NEG_INFINITY)?)
}

/// Integers, row by row.
fn numbers(tensor: &Tensor) -> Result<Vec<i64>> {
    let tensor = tensor.f_to_device(Device::Cpu)?.f_reshape([-1])?;
    Ok(Vec::<i64>::try_from(&tensor)?)
}
