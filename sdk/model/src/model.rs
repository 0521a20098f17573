//! A decoder-only transformer, and its forward pass with a candidate's weights and sub-blocks left out.
//!
//! In go token ids; out come the hidden states after the final norm. The residual stream is f32 whatever the dtype of
//! the weights, so that sixty additions in a row do not each round. One decoder serves every family that [`ModelConfig`]
//! describes.
//!
//! Shapes: B sequences of L tokens, T = B·L, D hidden size, d head size, I intermediate size.

mod block;
mod runs;
mod traced;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::genotype::Candidate;
use crate::kernels::{self, AttentionShape};
use crate::levels::Database;
use crate::rope_table::RopeTable;
use crate::source::{LAYERS_PER_BLOCK, ModelConfig, Source};
use crate::weights::Weights;

use block::Block;
pub(crate) use runs::Runs;
pub(crate) use traced::Traced;

/// A model on a device. Sharing is cheap: [`Model::share`] makes another handle to the same weights.
pub struct Model {
    config: ModelConfig,
    kind: Kind,
    device: Device,
    embedding: Tensor,
    blocks: Vec<Block>,
    weights: Arc<Weights>,
    final_norm: Tensor,
    head: Tensor,
    rope: RopeTable,
}

/// Inputs of linear layers that have a name of their own; q, k and v share one, gate and up another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Of q, k and v.
    Attention,
    /// Of the attention's output projection.
    Output,
    /// Of gate and up.
    Mlp,
    /// Of the MLP's down projection.
    Down,
}

impl Input {
    pub(crate) const ALL: [Input; 4] = [Input::Attention, Input::Output, Input::Mlp, Input::Down];

    /// The layers that read it, as places within the block.
    pub(crate) fn layers(self) -> Range<usize> {
        match self {
            Input::Attention => 0..3,
            Input::Output => 3..4,
            Input::Mlp => 4..6,
            Input::Down => 6..7,
        }
    }
}

/// Sees the inputs `[T, K]` of a block's linear layers as they come by.
pub(crate) type Observer<'a> = &'a mut dyn FnMut(Input, &Tensor);

/// Hidden states between blocks: the residual stream `[T, D]` in f32.
#[derive(Debug)]
pub(crate) struct Stream {
    residual: Tensor,
    length: i64,
}

impl Stream {
    /// The stream of one sequence, in the caller's memory: blocks change it in place.
    pub(crate) fn of(residual: Tensor) -> Self {
        Self {
            length: residual.size()[0],
            residual,
        }
    }

    /// The residual stream.
    pub(crate) fn residual(&self) -> &Tensor {
        &self.residual
    }

    /// The residual stream in memory of its own.
    pub(crate) fn snapshot(&self) -> Result<Tensor> {
        Ok(self.residual.f_detach_copy()?)
    }
}

impl Model {
    /// Opens `source` on `device` in `kind` (`BFloat16` or `Float`), with level databases in the order of the methods. The weights of
    /// linear layers are read or decoded where they are first used, and kept while all of them take at most `limit_bytes`.
    ///
    /// # Errors
    /// A tensor that cannot be read, or a device without room for it.
    pub fn open(
        source: &Arc<Source>,
        kind: Kind,
        device: Device,
        databases: Vec<Arc<Database>>,
        limit_bytes: u64,
    ) -> Result<Self> {
        let config = source.config().clone();
        let read = |name: &str, kind: Kind| -> Result<Tensor> {
            Ok(source
                .tensor(name)?
                .f_to_device(device)?
                .f_to_kind(kind)?
                .f_contiguous()?)
        };
        let blocks = (0..config.num_blocks)
            .map(|idx| Block::read(&config, idx, (kind, device), &read))
            .collect::<Result<_>>()?;
        let embedding = read("model.embed_tokens.weight", kind)?;
        let head = if config.tie_word_embeddings {
            embedding.shallow_clone()
        } else {
            read("lm_head.weight", kind)?
        };
        let final_norm = read("model.norm.weight", Kind::Float)?;
        let rope = RopeTable::new(&config, 1, device)?;
        let weights = Weights::new(Arc::clone(source), kind, device, databases, limit_bytes);
        Ok(Self {
            config,
            kind,
            device,
            embedding,
            blocks,
            weights: Arc::new(weights),
            final_norm,
            head,
            rope,
        })
    }

    /// Reads every dense weight, as far as the limit lets it stay; `progress` is told how many blocks are there after each one.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn preload(&self, mut progress: impl FnMut(usize)) -> Result<()> {
        for block_idx in 0..self.config.num_blocks {
            for slot in 0..LAYERS_PER_BLOCK {
                self.weights
                    .get(block_idx * LAYERS_PER_BLOCK + slot, None)?;
            }
            progress(block_idx + 1);
        }
        Ok(())
    }

    /// Another handle to the same weights, for another thread.
    pub fn share(&self) -> Self {
        Self {
            config: self.config.clone(),
            kind: self.kind,
            device: self.device,
            embedding: self.embedding.shallow_clone(),
            blocks: self.blocks.iter().map(Block::share).collect(),
            weights: Arc::clone(&self.weights),
            final_norm: self.final_norm.shallow_clone(),
            head: self.head.shallow_clone(),
            rope: self.rope.share(),
        }
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Dtype of weights and activations.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The head's weight `[V, D]`.
    pub fn head(&self) -> &Tensor {
        &self.head
    }

    /// Prepares the rotary table for sequences of up to `length` tokens; sequences beyond what is prepared cost a new table
    /// each.
    pub fn prepare_length(&mut self, length: usize) -> Result<()> {
        self.rope = RopeTable::new(&self.config, length as i64, self.device)?;
        Ok(())
    }

    /// Time that was spent decoding levels, over all threads.
    pub fn switch_time(&self) -> Duration {
        self.weights.switch_time()
    }

    /// Final hidden states `[T, D]` (after the final norm) of `tokens` (`[B, L]` int64 on the model's device) with the candidate's
    /// weights; its dropped sub-blocks add nothing to the residual stream.
    pub fn forward(&self, tokens: &Tensor, candidate: &Candidate) -> Result<Tensor> {
        let stream = self.embed(tokens)?;
        self.forward_from(0, stream, &[candidate], &mut |_| Ok(()))
    }

    /// The same from a block on, with the stream before it, whose rows are divided evenly among the candidates in `lanes`; `observe` sees
    /// the stream between blocks.
    pub(crate) fn forward_from(
        &self,
        first_block: usize,
        mut stream: Stream,
        lanes: &[&Candidate],
        observe: &mut dyn FnMut(&Stream) -> Result<()>,
    ) -> Result<Tensor> {
        for block_idx in first_block..self.config.num_blocks {
            self.run_block(block_idx, &mut stream, lanes)?;
            observe(&stream)?;
        }
        self.finish(&stream)
    }

    /// Logits `[T, V]` in f32 of all tokens: for tests and small inputs.
    pub fn logits(&self, tokens: &[i64]) -> Result<Tensor> {
        let ids = Tensor::f_from_slice(tokens)?
            .f_view([1, -1])?
            .f_to_device(self.device)?;
        let hidden = self.forward(&ids, &self.dense())?;
        Ok(hidden
            .f_to_kind(Kind::Float)?
            .f_matmul(&self.head.f_to_kind(Kind::Float)?.f_transpose(0, 1)?)?)
    }

    /// The dense model as a candidate.
    pub fn dense(&self) -> Candidate {
        Candidate::dense(
            self.config.num_blocks,
            self.config.num_blocks * LAYERS_PER_BLOCK,
        )
    }

    /// The stream before the first block.
    pub(crate) fn embed(&self, tokens: &Tensor) -> Result<Stream> {
        let length = tokens.size()[1];
        let residual =
            Tensor::f_embedding(&self.embedding, &tokens.f_reshape([-1])?, -1, false, false)?;
        // `embedding` has made new memory, so the buffer is ours alone even where no conversion happens.
        Ok(Stream {
            residual: residual.f_to_kind(Kind::Float)?,
            length,
        })
    }

    /// Adds the attention of a block to the stream; `qkv` are the weights of q, k and v.
    pub(crate) fn attention(
        &self,
        block_idx: usize,
        stream: &mut Stream,
        qkv: &Runs,
        output: &Runs,
        observe: Observer<'_>,
    ) -> Result<()> {
        let block = &self.blocks[block_idx];
        let normed = stream.norm(&block.attention_norm, self.config.rms_norm_eps, self.kind)?;
        observe(Input::Attention, &normed);
        let (cos, sin) = self.rope.rows(&self.config, stream.length, self.device)?;
        let bias = block.qkv_bias.as_ref();
        let qkv = qkv.map(&normed, |weights, input| {
            kernels::project(weights, bias, input)
        })?;
        let shape = self.attention_shape();
        let attended = kernels::rotary_attention(&qkv, self.kind, shape, &cos, &sin)?;
        observe(Input::Output, &attended);
        let bias = block.output_bias.as_ref();
        output.add(&mut stream.residual, &attended, |sum, weights, input| {
            kernels::add_projection(sum, &weights[0], bias, input)
        })
    }

    /// Adds the MLP of a block to the stream; `gate_up` are the weights of gate and up.
    pub(crate) fn mlp(
        &self,
        block_idx: usize,
        stream: &mut Stream,
        gate_up: &Runs,
        down: &Runs,
        observe: Observer<'_>,
    ) -> Result<()> {
        let activated = self.gated(block_idx, stream, gate_up, observe)?;
        let bias = self.blocks[block_idx].down_bias.as_ref();
        down.add(&mut stream.residual, &activated, |sum, weights, input| {
            kernels::add_projection(sum, &weights[0], bias, input)
        })
    }

    /// What the down projection of a block's MLP would read.
    pub(crate) fn gated(
        &self,
        block_idx: usize,
        stream: &Stream,
        gate_up: &Runs,
        observe: Observer<'_>,
    ) -> Result<Tensor> {
        let block = &self.blocks[block_idx];
        let normed = stream.norm(&block.mlp_norm, self.config.rms_norm_eps, self.kind)?;
        observe(Input::Mlp, &normed);
        let biases = block.gate_up_biases.as_ref();
        let activated = gate_up.map(&normed, |weights, input| {
            kernels::gated([&weights[0], &weights[1]], biases, input)
        })?;
        observe(Input::Down, &activated);
        Ok(activated)
    }

    /// The final norm.
    pub(crate) fn finish(&self, stream: &Stream) -> Result<Tensor> {
        stream.norm(&self.final_norm, self.config.rms_norm_eps, self.kind)
    }

    fn attention_shape(&self) -> AttentionShape {
        AttentionShape {
            num_heads: self.config.num_heads as usize,
            num_kv_heads: self.config.num_kv_heads as usize,
            head_dim: self.config.head_dim as usize,
        }
    }
}

impl Stream {
    fn norm(&self, weight: &Tensor, eps: f64, kind: Kind) -> Result<Tensor> {
        kernels::rms_norm(&self.residual, weight, eps, kind)
    }
}
