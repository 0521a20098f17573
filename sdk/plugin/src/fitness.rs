//! A fitness: a loss per token from final hidden states and the model's head.
//!
//! With a head `W` (`[V, D]`) the logits of a token are `z(h) = W h`; some models cap them: `z(h) =
//! c · tanh(W h / c)`. The engine hands over hidden states after the final norm in chunks of tokens
//! of its own choice, and a fitness asks the host for what needs the head, so that nothing of size
//! `[T, V]` has to be stored.

use crate::{OwnedTensor, PluginError, TensorView};

/// `T` tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Hidden states after the final norm, `[T, D]`, in the run's dtype and on its device.
    pub hidden: TensorView<'a>,
    /// The token that follows each of them, `[T]`; -1 where there is none.
    pub next_tokens: &'a [i64],
}

/// What a fitness wants to remember of the dense model: per-token numbers and vectors, O(D) a
/// token.
///
/// The engine keeps targets and cuts them along the tokens as it likes, so every entry must have
/// `T` rows.
#[derive(Debug, Default)]
pub struct Target {
    /// Per-token numbers, each `[T]`.
    pub scalars: Vec<Vec<f32>>,
    /// Per-token vectors, each `[T, D]`, f32.
    pub vectors: Vec<OwnedTensor>,
}

impl Target {
    /// A view of the target.
    pub fn view(&self) -> TargetView<'_> {
        TargetView {
            scalars: self.scalars.iter().map(Vec::as_slice).collect(),
            vectors: self.vectors.iter().map(OwnedTensor::view).collect(),
        }
    }
}

/// A [`Target`], or a range of its tokens, borrowed from where the engine keeps it.
#[derive(Clone, Debug, Default)]
pub struct TargetView<'a> {
    /// Per-token numbers, each `[T]`, in the order of [`Target::scalars`].
    pub scalars: Vec<&'a [f32]>,
    /// Per-token vectors, each `[T, D]`, f32, in the order of [`Target::vectors`].
    pub vectors: Vec<TensorView<'a>>,
}

/// The next-token distribution `p = softmax(z(h))` of each token, in O(D) numbers.
#[derive(Debug)]
pub struct Expectation {
    /// `Σ_v p_v log p_v`, `[T]`.
    pub negative_entropy: Vec<f32>,
    /// What the host needs to take expectations under `p` again, `[T, D]`, f32: `Wᵀp` where logits
    /// are linear in `h`, `h` itself where they are not. To a fitness it means nothing.
    pub summary: OwnedTensor,
}

/// What the host computes with the model's head, on the run's device.
///
/// `hidden` is always `[T, D]`, in the run's dtype or f32. Products may run in bf16; their output
/// and all sums are f32.
pub trait HeadOps {
    /// `log Σ_v exp z_v(h)`, `[T]`.
    ///
    /// # Errors
    /// When a shape, dtype or device does not fit.
    fn log_sum_exp(&self, hidden: &TensorView<'_>) -> Result<Vec<f32>, PluginError>;

    /// The distribution `p = softmax(z(h))`, in true f32.
    ///
    /// # Errors
    /// When a shape, dtype or device does not fit.
    fn expectation(&self, hidden: &TensorView<'_>) -> Result<Expectation, PluginError>;

    /// `Σ_v p_v z_v(h)`, `[T]`; `summary` is that of `p` ([`Expectation::summary`]).
    ///
    /// # Errors
    /// When a shape, dtype or device does not fit.
    fn expected_logits(
        &self,
        hidden: &TensorView<'_>,
        summary: &TensorView<'_>,
    ) -> Result<Vec<f32>, PluginError>;

    /// `Σ_v p_v ∂z_v/∂h`, `[T, D]` f32, the gradient of [`HeadOps::expected_logits`].
    ///
    /// # Errors
    /// When a shape, dtype or device does not fit.
    fn expected_gradient(
        &self,
        hidden: &TensorView<'_>,
        summary: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError>;

    /// `z_v(h)` of `v = token_t`, `[T]`; 0 where the token is -1.
    ///
    /// # Errors
    /// When a shape, dtype or device does not fit, or a token is not in the vocabulary.
    fn token_logits(
        &self,
        hidden: &TensorView<'_>,
        tokens: &[i64],
    ) -> Result<Vec<f32>, PluginError>;

    /// All logits `z(h)`, `[T, V]` f32, for a fitness that cannot do without them.
    ///
    /// # Errors
    /// When a shape, dtype or device does not fit.
    fn logits(&self, hidden: &TensorView<'_>) -> Result<OwnedTensor, PluginError>;

    /// `a − b` of two equal `[T, D]`, f32: gradients are made of differences.
    ///
    /// # Errors
    /// When a shape, dtype or device does not fit.
    fn difference(
        &self,
        a: &TensorView<'_>,
        b: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError>;

    /// `∂z_v/∂h` of `v = token_t`, `[T, D]`, f32: the head's row `W[v]` where logits are linear.
    ///
    /// # Errors
    /// When a shape, dtype or device does not fit, or a token is not in the vocabulary.
    fn token_gradients(
        &self,
        hidden: &TensorView<'_>,
        tokens: &[i64],
    ) -> Result<OwnedTensor, PluginError>;
}

/// A fitness: how far a compressed model is from what it should be, token by token.
pub trait Fitness: Send + Sync {
    /// What `loss` needs to know of the dense model, from its hidden states of one chunk. The
    /// engine keeps it.
    ///
    /// # Errors
    /// When a shape does not fit or the host's operations fail.
    fn target(&self, ops: &dyn HeadOps, dense: &Chunk<'_>) -> Result<Target, PluginError>;

    /// Loss per token, `[T]`; lower is better. A chunk's losses do not depend on how the engine
    /// cuts the chunks.
    ///
    /// # Errors
    /// When a shape does not fit or the host's operations fail.
    fn loss(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        target: &TargetView<'_>,
    ) -> Result<Vec<f32>, PluginError>;

    /// Gradient of each token's loss with respect to its hidden state, `[T, D]`, f32; none where
    /// the fitness has none, and the search does without. `own_gradient` is `Σ_v q_v ∂z_v/∂h [T,
    /// D]` of the student's own `q = softmax(z(h))`, which every loss of `q` needs: the gradient
    /// of `logsumexp(z(h))`. The tokens of `student` all have a next token.
    ///
    /// # Errors
    /// When a shape does not fit or the host's operations fail.
    fn gradient(
        &self,
        _ops: &dyn HeadOps,
        _student: &Chunk<'_>,
        _target: &TargetView<'_>,
        _own_gradient: &TensorView<'_>,
    ) -> Result<Option<OwnedTensor>, PluginError> {
        Ok(None)
    }

    /// Whether `target` must be computed.
    fn needs_target(&self) -> bool {
        true
    }
}
