//! Random models in bf16, the same everywhere, with the tokenizer of the fixture `tiny`.

use std::fs;
use std::path::Path;

use rand::SeedableRng;
use rand::distr::{Distribution, Uniform};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::places::fixture;

pub(crate) const VOCAB_SIZE: usize = 384;

/// A Llama's extents.
struct Shape {
    num_blocks: usize,
    hidden: usize,
    mlp: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    has_biases: bool,
}

/// Writes a model whose rows take K-quants into `folder`: 3 blocks, hidden size 256, which 256
/// divides, an MLP of 96, which 32 divides and 256 does not, 4 heads with 1 key and value head.
pub fn write_wide_model(folder: &Path) {
    let shape = Shape {
        num_blocks: 3,
        hidden: 256,
        mlp: 96,
        heads: 4,
        kv_heads: 1,
        head_dim: 64,
        has_biases: false,
    };
    write(folder, &shape, |_| 1.0);
}

/// Writes a model of 8 blocks into `folder`, hidden size 64, an MLP of 256, 4 heads with 2 key and
/// value heads. The halves of blocks named in `idle` (`model.layers.3.mlp`) hardly add anything.
pub fn write_deep_model(folder: &Path, has_biases: bool, idle: &[&str]) {
    let shape = Shape {
        num_blocks: 8,
        hidden: 64,
        mlp: 256,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        has_biases,
    };
    write(folder, &shape, |name| {
        let is_output = name.contains(".o_proj.") || name.contains(".down_proj.");
        let is_idle = idle
            .iter()
            .any(|half| name.starts_with(&format!("{half}.")));
        if is_output && is_idle { 1e-3 } else { 1.0 }
    });
}

/// Numbers of the tensor `name` are scaled by `scale(name)`.
fn write(folder: &Path, shape: &Shape, scale: impl Fn(&str) -> f32) {
    let &Shape {
        num_blocks,
        hidden,
        mlp,
        heads,
        kv_heads,
        head_dim,
        has_biases,
    } = shape;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu",
        "vocab_size": VOCAB_SIZE, "hidden_size": hidden, "intermediate_size": mlp, "num_hidden_layers": num_blocks,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "bos_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": false,
        "attention_bias": has_biases, "mlp_bias": has_biases,
    });
    let mut tensors = Tensors::new(scale);
    tensors.push("model.embed_tokens.weight", &[VOCAB_SIZE, hidden]);
    for block in 0..num_blocks {
        let mut push = |layer: &str, shape: &[usize]| {
            tensors.push(&format!("model.layers.{block}.{layer}.weight"), shape);
            if has_biases && shape.len() == 2 {
                tensors.push(&format!("model.layers.{block}.{layer}.bias"), &shape[..1]);
            }
        };
        push("input_layernorm", &[hidden]);
        push("self_attn.q_proj", &[heads * head_dim, hidden]);
        push("self_attn.k_proj", &[kv_heads * head_dim, hidden]);
        push("self_attn.v_proj", &[kv_heads * head_dim, hidden]);
        push("self_attn.o_proj", &[hidden, heads * head_dim]);
        push("post_attention_layernorm", &[hidden]);
        push("mlp.gate_proj", &[mlp, hidden]);
        push("mlp.up_proj", &[mlp, hidden]);
        push("mlp.down_proj", &[hidden, mlp]);
    }
    tensors.push("model.norm.weight", &[hidden]);
    tensors.push("lm_head.weight", &[VOCAB_SIZE, hidden]);
    write_files(folder, &config, &tensors);
}

/// Random tensors in bf16, each scaled by what `scale` says of its name.
pub(crate) struct Tensors<F> {
    scale: F,
    rng: ChaCha8Rng,
    /// Name, shape and bytes.
    all: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl<F: Fn(&str) -> f32> Tensors<F> {
    pub(crate) fn new(scale: F) -> Self {
        Self {
            scale,
            rng: ChaCha8Rng::seed_from_u64(11),
            all: Vec::new(),
        }
    }

    /// Adds the weight of a norm, a bias or a matrix.
    pub(crate) fn push(&mut self, name: &str, shape: &[usize]) {
        let (low, high) = match shape {
            [_] if name.ends_with(".bias") => (-0.3, 0.3),
            [_] => (0.5, 1.5),
            // A variance of 1.2² / columns.
            [_, columns] => {
                let end = 1.2 * (3.0 / *columns as f32).sqrt();
                (-end, end)
            }
            _ => unreachable!("vectors and matrices"),
        };
        let range = Uniform::new(low, high).unwrap();
        let count = shape.iter().product();
        let factor = (self.scale)(name);
        let bytes = (0..count).flat_map(|_| {
            let number: f32 = factor * range.sample(&mut self.rng);
            // The upper half of an f32 is a bf16.
            ((number.to_bits() >> 16) as u16).to_le_bytes()
        });
        let bytes = bytes.collect();
        self.all.push((name.to_owned(), shape.to_vec(), bytes));
    }
}

/// Writes a model's folder, with the tokenizer of the fixture `tiny`.
pub(crate) fn write_files<F>(folder: &Path, config: &Value, tensors: &Tensors<F>) {
    fs::create_dir_all(folder).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(fixture("tiny").join(name), folder.join(name)).unwrap();
    }
    fs::write(folder.join("config.json"), format!("{config:#}")).unwrap();
    let views = tensors.all.iter().map(|(name, shape, bytes)| {
        (
            name,
            TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap(),
        )
    });
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
}
