//! The forward pass of an MLP: dense, or of experts.

use evopress_source::spec::LayerInput;
use evopress_tensor::{Activation, project};
use tch::{Kind, Tensor};

use crate::block::{Gated, Mlp};
use crate::block_weights::BlockWeights;
use crate::error::Result;
use crate::experts::Experts;
use crate::forward::add_output;
use crate::model::Model;
use crate::observed::{Observer, all_rows};
use crate::stream::Stream;

impl Model {
    /// Adds the MLP of a block to the stream; nothing where the block has none.
    ///
    /// # Errors
    /// When a weight cannot be read or libtorch refuses an operation.
    pub fn mlp(
        &self,
        block_idx: usize,
        stream: &mut Stream,
        weights: &BlockWeights<'_>,
        observe: Observer<'_>,
    ) -> Result<()> {
        let Some(mlp) = &self.blocks[block_idx].mlp else {
            return Ok(());
        };
        let normed = mlp.ends.input(&stream.residual, self.kind())?;
        let Some(experts) = &mlp.experts else {
            let Some(dense) = &mlp.dense else {
                return Ok(());
            };
            let activated = activated(dense, mlp.activation, &normed, weights, observe)?;
            let down = weights.get(&[dense.slots.down])?;
            return add_output(
                stream,
                &mlp.ends,
                &down,
                dense.down_bias.as_ref(),
                &activated,
            );
        };
        if mlp.ends.adds_output_itself() {
            let sum = &mut stream.residual;
            return self.add_all_experts(mlp, experts, &normed, sum, weights, observe);
        }
        let mut sum = Tensor::f_zeros_like(&stream.residual)?;
        self.add_all_experts(mlp, experts, &normed, &mut sum, weights, observe)?;
        stream.residual = stream.residual.f_add(&mlp.ends.added(&sum)?)?;
        Ok(())
    }

    /// Shows the inputs of a block's MLP to `observe` without adding anything to the stream.
    ///
    /// # Errors
    /// As [`Self::mlp`].
    pub fn observe_mlp(
        &self,
        block_idx: usize,
        stream: &Stream,
        weights: &BlockWeights<'_>,
        observe: Observer<'_>,
    ) -> Result<()> {
        let Some(mlp) = &self.blocks[block_idx].mlp else {
            return Ok(());
        };
        let normed = mlp.ends.input(&stream.residual, self.kind())?;
        if let Some(dense) = &mlp.dense {
            let _ = activated(dense, mlp.activation, &normed, weights, observe)?;
        }
        match &mlp.experts {
            Some(experts) => experts.add(mlp.activation, &normed, None, weights, observe),
            None => Ok(()),
        }
    }

    /// Adds the experts that the router chooses, and the shared one, to `sum [T, D]` in f32.
    fn add_all_experts(
        &self,
        mlp: &Mlp,
        experts: &Experts,
        normed: &Tensor,
        sum: &mut Tensor,
        weights: &BlockWeights<'_>,
        observe: Observer<'_>,
    ) -> Result<()> {
        experts.add(mlp.activation, normed, Some(&mut *sum), weights, observe)?;
        let (Some(shared), Some(gate)) = (&mlp.dense, experts.gate_of_shared(normed)?) else {
            return Ok(());
        };
        let activated = activated(shared, mlp.activation, normed, weights, observe)?;
        let down = weights.get(&[shared.slots.down])?;
        let output = down.map(&activated, |weights, input| {
            Ok(project(weights, None, input)?)
        })?;
        let output = output.f_to_kind(Kind::Float)?.f_mul(&gate)?;
        let _ = sum.f_add_(&output)?;
        Ok(())
    }
}

/// What the down projection of a gated MLP reads, `[T, I]`.
fn activated(
    mlp: &Gated,
    activation: Activation,
    normed: &Tensor,
    weights: &BlockWeights<'_>,
    observe: Observer<'_>,
) -> Result<Tensor> {
    observe(all_rows(LayerInput::MlpInput, normed));
    let biases = mlp.gate_up_biases.as_ref();
    let gate_up = weights.get(&[mlp.slots.gate, mlp.slots.up])?;
    let activated = gate_up.gated(biases, activation, normed)?;
    observe(all_rows(LayerInput::MlpActivation, &activated));
    Ok(activated)
}
