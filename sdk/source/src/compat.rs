//! The interface that the rest used before a model was data.

use evopress_plugin::{ModelOutline, SubBlock};
use tch::{Device, Kind, Tensor};

use crate::error::SourceError;
use crate::source::Source;
use crate::spec::{LayerRole, ModelSpec, Rope, RopeScaling};

/// All that the decoder needs to know about a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Family, as in Hugging Face's `model_type`: `llama`.
    pub architecture: String,
    /// Transformer blocks.
    pub num_blocks: usize,
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Width of the MLP.
    pub intermediate_size: i64,
    /// Query heads.
    pub num_heads: i64,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: i64,
    /// Width of a head, even; not always `hidden_size / num_heads`.
    pub head_dim: i64,
    /// Rows of the embedding.
    pub vocab_size: i64,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f64,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Whether the head is the embedding (then there is no `lm_head.weight`).
    pub tie_word_embeddings: bool,
    /// Longest sequence that the model was made for, in tokens.
    pub max_position_embeddings: i64,
    /// Whether the attention's projections (q, k, v and o) have biases.
    pub attention_bias: bool,
    /// Whether the MLP's projections have biases.
    pub mlp_bias: bool,
    /// Begin-of-sequence token.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Padding token.
    pub pad_token_id: Option<u32>,
    spec: ModelSpec,
}

/// Linear layers of a block, in the order q, k, v, o, gate, up, down.
pub const LAYERS_PER_BLOCK: usize = 7;

impl ModelConfig {
    pub(crate) fn of(spec: &ModelSpec) -> Self {
        let (attention, mlp) = (spec.first_attention(), spec.first_mlp());
        let has_bias = |role| {
            let mut layers = spec.layers();
            layers.any(|layer| layer.spec.role == role && layer.spec.has_bias)
        };
        Self {
            architecture: spec.architecture.clone(),
            num_blocks: spec.num_blocks(),
            hidden_size: spec.hidden_size,
            intermediate_size: mlp.map_or(0, |it| it.intermediate_size),
            num_heads: attention.map_or(0, |it| it.num_heads),
            num_kv_heads: attention.map_or(0, |it| it.num_kv_heads),
            head_dim: attention.map_or(0, |it| it.head_dim),
            vocab_size: spec.vocab_size,
            rms_norm_eps: spec.final_norm.eps,
            rope: attention.and_then(|it| it.rope.clone()).unwrap_or(Rope {
                theta: 10_000.0,
                scaling: RopeScaling::None,
            }),
            tie_word_embeddings: spec.head.tied,
            max_position_embeddings: spec.max_position_embeddings,
            attention_bias: has_bias(LayerRole::Query),
            mlp_bias: has_bias(LayerRole::Up),
            bos_token_id: spec.bos_token_id,
            eos_token_ids: spec.eos_token_ids.clone(),
            pad_token_id: spec.pad_token_id,
            spec: spec.clone(),
        }
    }

    /// What a method sees of the model; `bytes_per_weight` is that of the run's dtype.
    pub fn outline(&self, bytes_per_weight: u32) -> ModelOutline {
        self.spec.outline(bytes_per_weight)
    }
}

impl Source {
    /// The model's shape, all blocks whole.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Names of all tensors, all blocks whole, in the order of the forward pass.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.whole.iter().map(|tensor| tensor.name.as_str())
    }

    /// Names and shapes of all tensors, all blocks whole, in the order of the forward pass.
    pub fn tensor_shapes(&self) -> impl Iterator<Item = (&str, &[i64])> {
        let tensors = self.whole.iter();
        tensors.map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))
    }

    /// Names of the linear layers of all blocks, in the order of the outline.
    pub fn layer_names(&self) -> Vec<String> {
        let weights = self.tensor_names().filter_map(|name| {
            let layer = name.strip_suffix("_proj.weight")?;
            Some(format!("{layer}_proj"))
        });
        weights.collect()
    }

    /// Whether an artifact does not have a tensor, which then reads as zeros.
    pub fn goes_without(&self, name: &str) -> bool {
        !self.has(name) && self.whole.iter().any(|tensor| tensor.name == name)
    }

    /// A tensor by its Hugging Face name, on the CPU, in memory of its own, all blocks whole.
    ///
    /// # Errors
    /// When the model has no such tensor or libtorch cannot allocate it.
    pub fn tensor(&self, name: &str) -> Result<Tensor, SourceError> {
        let whole = self.whole.iter().find(|tensor| tensor.name == name);
        let Some(whole) = whole.filter(|_| !self.has(name)) else {
            let tensor = self.read(name)?.to_tch()?;
            return match whole {
                Some(whole) => padded(tensor, &whole.shape),
                None => Ok(tensor),
            };
        };
        Ok(Tensor::f_zeros(
            &whole.shape[..],
            (Kind::Float, Device::Cpu),
        )?)
    }
}

/// `tensor` in the corner of zeros of `shape`.
fn padded(tensor: Tensor, shape: &[i64]) -> Result<Tensor, SourceError> {
    if tensor.size() == shape {
        return Ok(tensor);
    }
    let whole = Tensor::f_zeros(shape, (tensor.kind(), tensor.device()))?;
    let mut corner = whole.shallow_clone();
    for (axis, extent) in tensor.size().into_iter().enumerate() {
        corner = corner.f_narrow(axis as i64, 0, extent)?;
    }
    corner.f_copy_(&tensor)?;
    Ok(whole)
}

/// Block and half that a tensor belongs to, with the norm before that half:
/// `model.layers.3.mlp.up_proj.weight` → `(3, Mlp)`.
pub fn half_of(name: &str) -> Option<(usize, SubBlock)> {
    let (block_idx, layer) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let sub_block = match layer.split('.').next()? {
        "input_layernorm" | "self_attn" => SubBlock::Attention,
        "post_attention_layernorm" | "mlp" => SubBlock::Mlp,
        _ => return None,
    };
    Some((block_idx.parse().ok()?, sub_block))
}

/// The shape of a tensor, were the MLP `width` wide.
pub fn with_mlp_width<T: Copy>(name: &str, shape: &[T], width: T) -> Vec<T> {
    let mut shape = shape.to_vec();
    if name.contains(".gate_proj.") || name.contains(".up_proj.") {
        shape[0] = width;
    } else if name.ends_with(".down_proj.weight") {
        shape[1] = width;
    }
    shape
}

const WHOLE: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

const IN_BLOCK: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// `model.layers.3.self_attn.q_proj.weight` is `blk.3.attn_q.weight`; an unknown name stays as it
/// is.
pub fn to_gguf(name: &str) -> String {
    if let Some((_, gguf)) = WHOLE.iter().find(|(hf, _)| *hf == name) {
        return (*gguf).into();
    }
    let in_block = || {
        let (block_idx, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let (layer, kind) = rest.rsplit_once('.')?;
        let (_, gguf) = IN_BLOCK.iter().find(|(hf, _)| *hf == layer)?;
        Some(format!("blk.{block_idx}.{gguf}.{kind}"))
    };
    in_block().unwrap_or_else(|| name.into())
}
