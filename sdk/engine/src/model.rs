//! A decoder-only transformer in memory, and its forward pass with sub-blocks left out.
//!
//! In go token ids; out come the hidden states after the final norm. The residual stream is f32 whatever the dtype of
//! the weights, so that sixty additions in a row do not each round. One decoder serves every family that [`ModelConfig`]
//! describes: q, k and v are one product, gate and up another.
//!
//! Shapes: B sequences of L tokens, T = B·L, D hidden size, d head size, I intermediate size.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::genotype::Dropped;
use crate::kernels::{self, AttentionShape, GatedLinear, Linear};
use crate::source::{ModelConfig, Source};

/// A model on a device. Sharing is cheap: [`Model::share`] makes another handle to the same weights.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    kind: Kind,
    device: Device,
    embedding: Tensor,
    blocks: Vec<Block>,
    final_norm: Tensor,
    head: Tensor,
    rope: RopeTable,
}

/// Weights of one block; linear layers are `[out_features, in_features]`, norms f32.
#[derive(Debug)]
struct Block {
    attention_norm: Tensor,
    qkv: Linear,
    output: Linear,
    mlp_norm: Tensor,
    gate_up: GatedLinear,
    down: Linear,
}

#[derive(Debug)]
struct RopeTable {
    cos: Tensor,
    sin: Tensor,
}

/// Hidden states between blocks: the residual stream `[T, D]` in f32.
#[derive(Debug)]
pub(crate) struct Stream {
    residual: Tensor,
    length: i64,
}

impl Stream {
    /// The residual stream in memory of its own.
    pub(crate) fn snapshot(&self) -> Result<Tensor> {
        Ok(self.residual.f_detach_copy()?)
    }
}

impl Model {
    /// Reads every weight of `source` to `device` as `kind` (`BFloat16` or `Float`).
    ///
    /// `progress` is told how many blocks are there after each one.
    ///
    /// # Errors
    /// A tensor that cannot be read, or a device without room for it.
    pub fn load(
        source: &Source,
        kind: Kind,
        device: Device,
        mut progress: impl FnMut(usize),
    ) -> Result<Self> {
        let config = source.config().clone();
        let read = |name: &str, kind: Kind| -> Result<Tensor> {
            Ok(source
                .tensor(name)?
                .f_to_device(device)?
                .f_to_kind(kind)?
                .f_contiguous()?)
        };
        let bias = |layer: &str, has_bias: bool| -> Result<Option<Tensor>> {
            has_bias
                .then(|| read(&format!("{layer}.bias"), kind))
                .transpose()
        };
        let weight = |layer: &str| read(&format!("{layer}.weight"), kind);
        let linear = |layers: &[String], has_bias: bool| -> Result<Linear> {
            let weights: Vec<Tensor> = layers.iter().map(|l| weight(l)).collect::<Result<_>>()?;
            let biases: Option<Vec<Tensor>> = layers
                .iter()
                .map(|layer| bias(layer, has_bias).transpose())
                .collect::<Option<Result<_>>>()
                .transpose()?;
            let bias = biases.map(|parts| Tensor::f_cat(&parts, 0)).transpose()?;
            Linear::new(Tensor::f_cat(&weights, 0)?, bias)
        };
        let mut blocks = Vec::with_capacity(config.num_blocks);
        for block_idx in 0..config.num_blocks {
            let name = |layer: &str| format!("model.layers.{block_idx}.{layer}");
            blocks.push(Block {
                attention_norm: read(&name("input_layernorm.weight"), Kind::Float)?,
                qkv: linear(
                    &[
                        name("self_attn.q_proj"),
                        name("self_attn.k_proj"),
                        name("self_attn.v_proj"),
                    ],
                    config.attention_bias,
                )?,
                output: linear(&[name("self_attn.o_proj")], config.attention_bias)?,
                mlp_norm: read(&name("post_attention_layernorm.weight"), Kind::Float)?,
                gate_up: {
                    let (gate, up) = (name("mlp.gate_proj"), name("mlp.up_proj"));
                    let biases = (bias(&gate, config.mlp_bias)?).zip(bias(&up, config.mlp_bias)?);
                    GatedLinear::new(
                        &[weight(&gate)?, weight(&up)?],
                        biases.map(|(gate, up)| [gate, up]).as_ref(),
                    )?
                },
                down: linear(&[name("mlp.down_proj")], config.mlp_bias)?,
            });
            progress(block_idx + 1);
        }
        let embedding = read("model.embed_tokens.weight", kind)?;
        let head = if config.tie_word_embeddings {
            embedding.shallow_clone()
        } else {
            read("lm_head.weight", kind)?
        };
        let final_norm = read("model.norm.weight", Kind::Float)?;
        let rope = RopeTable::new(&config, 1, device)?;
        Ok(Self {
            config,
            kind,
            device,
            embedding,
            blocks,
            final_norm,
            head,
            rope,
        })
    }

    /// Another handle to the same weights, for another thread.
    pub fn share(&self) -> Self {
        Self {
            config: self.config.clone(),
            kind: self.kind,
            device: self.device,
            embedding: self.embedding.shallow_clone(),
            blocks: self.blocks.iter().map(Block::share).collect(),
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

    /// Final hidden states `[T, D]` (after the final norm) of `tokens` (`[B, L]` int64 on the model's device), with the
    /// sub-blocks in `dropped` left out: they add nothing to the residual stream.
    pub fn forward(&self, tokens: &Tensor, dropped: &Dropped) -> Result<Tensor> {
        let mut stream = self.embed(tokens)?;
        for block_idx in 0..self.config.num_blocks {
            self.run_block(block_idx, &mut stream, dropped)?;
        }
        self.finish(&stream)
    }

    /// Logits `[T, V]` in f32 of all tokens: for tests and small inputs.
    pub fn logits(&self, tokens: &[i64]) -> Result<Tensor> {
        let ids = Tensor::f_from_slice(tokens)?
            .f_view([1, -1])?
            .f_to_device(self.device)?;
        let hidden = self.forward(&ids, &Dropped::none(self.config.num_blocks))?;
        Ok(hidden
            .f_to_kind(Kind::Float)?
            .f_matmul(&self.head.f_to_kind(Kind::Float)?.f_transpose(0, 1)?)?)
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

    /// Runs one block, or what `dropped` leaves of it.
    pub(crate) fn run_block(
        &self,
        block_idx: usize,
        stream: &mut Stream,
        dropped: &Dropped,
    ) -> Result<()> {
        let block = &self.blocks[block_idx];
        let eps = self.config.rms_norm_eps;
        if !dropped.attention[block_idx] {
            let normed = stream.norm(&block.attention_norm, eps, self.kind)?;
            let (cos, sin) = self.rope.rows(&self.config, stream.length, self.device)?;
            let attended = kernels::rotary_attention(
                block.qkv.apply(&normed)?,
                self.attention_shape(),
                &cos,
                &sin,
            )?;
            block.output.add_to(&mut stream.residual, &attended)?;
        }
        if !dropped.mlp[block_idx] {
            let normed = stream.norm(&block.mlp_norm, eps, self.kind)?;
            let activated = block.gate_up.apply(&normed)?;
            block.down.add_to(&mut stream.residual, &activated)?;
        }
        Ok(())
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

impl Block {
    fn share(&self) -> Self {
        Self {
            attention_norm: self.attention_norm.shallow_clone(),
            qkv: self.qkv.share(),
            output: self.output.share(),
            mlp_norm: self.mlp_norm.shallow_clone(),
            gate_up: self.gate_up.share(),
            down: self.down.share(),
        }
    }
}

impl RopeTable {
    /// `cos` and `sin` of position × frequency, `[length, d/2]` f32.
    fn new(config: &ModelConfig, length: i64, device: Device) -> Result<Self> {
        let frequencies = config.rope.inverse_frequencies(config.head_dim);
        let mut cos = Vec::with_capacity(length as usize * frequencies.len());
        let mut sin = Vec::with_capacity(cos.capacity());
        for position in 0..length {
            for frequency in &frequencies {
                // f32 like every implementation that models are trained with.
                let angle = position as f32 * *frequency as f32;
                cos.push(angle.cos());
                sin.push(angle.sin());
            }
        }
        let table = |values: &[f32]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?
                .f_view([length, frequencies.len() as i64])?
                .f_to_device(device)?)
        };
        Ok(Self {
            cos: table(&cos)?,
            sin: table(&sin)?,
        })
    }

    fn rows(&self, config: &ModelConfig, length: i64, device: Device) -> Result<(Tensor, Tensor)> {
        if length > self.cos.size()[0] {
            let table = Self::new(config, length, device)?;
            return Ok((table.cos, table.sin));
        }
        Ok((
            self.cos.f_narrow(0, 0, length)?,
            self.sin.f_narrow(0, 0, length)?,
        ))
    }

    fn share(&self) -> Self {
        Self {
            cos: self.cos.shallow_clone(),
            sin: self.sin.shallow_clone(),
        }
    }
}
