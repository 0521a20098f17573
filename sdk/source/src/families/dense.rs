//! Models of attention and a gated MLP: from the numbers of a configuration to a specification.

use std::path::Path;

use super::experts::ExpertNumbers;
use super::form::{Form, NormForm, NormWidth};
use crate::error::SourceError;
use crate::spec::{
    AttentionSpec, BlockSpec, EmbeddingSpec, HeadSpec, LayerRole, LayerSpec, MlpSpec, ModelSpec,
    NormPlace, NormSpec, QueryGrowth, Rope, Stacked,
};

const MAX_EXTENT: i64 = 1 << 24;
const MAX_BLOCKS: i64 = 1 << 12;

/// The numbers that a configuration has of such a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DenseModel {
    /// What differs between blocks, one entry a block.
    pub(super) blocks: Vec<BlockNumbers>,
    /// Width of the residual stream.
    pub(super) hidden_size: i64,
    /// Width of the MLP.
    pub(super) intermediate_size: i64,
    /// Query heads.
    pub(super) num_heads: i64,
    /// Key and value heads; divides `num_heads`.
    pub(super) num_kv_heads: i64,
    /// Width of a head, even; not always `hidden_size / num_heads`.
    pub(super) head_dim: i64,
    /// Rows of the embedding.
    pub(super) vocab_size: i64,
    /// Added to the mean square in every norm.
    pub(super) rms_norm_eps: f64,
    /// What products of queries and keys are multiplied with.
    pub(super) score_scale: f64,
    /// See [`AttentionSpec::query_growth`].
    pub(super) query_growth: Option<QueryGrowth>,
    /// See [`AttentionSpec::score_cap`].
    pub(super) score_cap: Option<f64>,
    /// See [`EmbeddingSpec::scale`].
    pub(super) embedding_scale: Option<f64>,
    /// See [`BlockSpec::residual_scale`].
    pub(super) residual_scale: Option<f64>,
    /// See [`HeadSpec::scale`].
    pub(super) logit_scale: Option<f64>,
    /// See [`HeadSpec::cap`].
    pub(super) logit_cap: Option<f64>,
    /// Whether the head is the embedding.
    pub(super) tie_word_embeddings: bool,
    /// Longest sequence that the model was made for, in tokens.
    pub(super) max_position_embeddings: i64,
    pub(super) biases: Biases,
    /// The experts of blocks that have some in the place of a dense MLP.
    pub(super) experts: Option<ExpertNumbers>,
    pub(super) bos_token_id: Option<u32>,
    pub(super) eos_token_ids: Vec<u32>,
    pub(super) pad_token_id: Option<u32>,
}

/// What differs between the blocks of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BlockNumbers {
    /// How queries and keys are rotated; none where they are not.
    pub(super) rope: Option<Rope>,
    /// How many of the latest tokens a query sees; none for all.
    pub(super) window: Option<i64>,
}

/// Which layers add a bias.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Biases {
    /// q, k and v.
    pub(super) inputs: bool,
    /// o.
    pub(super) output: bool,
    /// gate, up and down.
    pub(super) mlp: bool,
}

/// A number of blocks, if any model has so many.
pub(super) fn num_blocks(number: i64, file: &Path) -> Result<usize, SourceError> {
    match number {
        1..=MAX_BLOCKS => Ok(number as usize),
        _ => Err(SourceError::malformed(
            file,
            format!("number of blocks is {number}, allowed: 1 to {MAX_BLOCKS}"),
        )),
    }
}

impl DenseModel {
    /// The specification, if the numbers are such as models have: what follows may multiply them
    /// without care. `is_said` knows the fields of `config.json` that have a value; others have
    /// theirs by default.
    pub(super) fn into_spec(
        self,
        architecture: &str,
        form: &Form,
        file: &Path,
        is_said: &dyn Fn(&str) -> bool,
    ) -> Result<ModelSpec, SourceError> {
        match self.mistake(is_said) {
            None => Ok(self.spec(architecture, form)),
            Some(what) => Err(SourceError::malformed(file, what)),
        }
    }

    fn mistake(&self, is_said: &dyn Fn(&str) -> bool) -> Option<String> {
        let by_default = |field: &str| if is_said(field) { "" } else { " by default" };
        let extents = [
            ("hidden size", self.hidden_size, MAX_EXTENT),
            ("intermediate size", self.intermediate_size, MAX_EXTENT),
            ("number of heads", self.num_heads, MAX_EXTENT),
            ("number of key/value heads", self.num_kv_heads, MAX_EXTENT),
            ("head dimension", self.head_dim, MAX_EXTENT),
            (
                "width of all heads",
                self.num_heads.saturating_mul(self.head_dim),
                MAX_EXTENT,
            ),
            ("vocabulary size", self.vocab_size, MAX_EXTENT),
            (
                "context length",
                self.max_position_embeddings,
                i64::from(u32::MAX),
            ),
        ];
        for (name, value, max) in extents {
            if !(1..=max).contains(&value) {
                return Some(format!("{name} is {value}, allowed: 1 to {max}"));
            }
        }
        if self.num_heads % self.num_kv_heads != 0 {
            return Some(format!(
                "{} heads cannot share {} key/value heads{}: the one must divide the other",
                self.num_heads,
                self.num_kv_heads,
                by_default("num_key_value_heads")
            ));
        }
        if self.head_dim % 2 != 0 {
            return Some(format!(
                "head dimension is {}{}, expected an even number",
                self.head_dim,
                by_default("head_dim")
            ));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Some(format!(
                "norm epsilon is {}, expected a small positive number",
                self.rms_norm_eps
            ));
        }
        let of_experts = self.experts.as_ref();
        of_experts
            .and_then(|experts| experts.mistake(MAX_EXTENT, &by_default))
            .or_else(|| self.wrong_factor())
            .or_else(|| self.blocks.iter().find_map(|it| self.wrong_block(it)))
    }

    fn wrong_factor(&self) -> Option<String> {
        let factors = [
            ("the scale of attention scores", Some(self.score_scale)),
            ("the cap of attention scores", self.score_cap),
            (
                "the growth of queries",
                self.query_growth.map(|it| it.weight),
            ),
            ("the step of queries", self.query_growth.map(|it| it.step)),
            ("the scale of the embedding", self.embedding_scale),
            ("the scale of the residual", self.residual_scale),
            ("the scale of logits", self.logit_scale),
            ("the cap of logits", self.logit_cap),
        ];
        let is_wrong = |value: f64| !(value.is_finite() && value > 0.0);
        let mut wrong = factors
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.filter(|&it| is_wrong(it))?)));
        let (name, value) = wrong.next()?;
        Some(format!("{name} is {value}, expected a positive number"))
    }

    fn wrong_block(&self, block: &BlockNumbers) -> Option<String> {
        let of_window = block.window.filter(|&window| window < 1);
        let of_window = of_window
            .map(|window| format!("the attention window is {window}, expected a positive number"));
        of_window.or_else(|| block.rope.as_ref()?.mistake(self.head_dim))
    }

    fn spec(self, architecture: &str, form: &Form) -> ModelSpec {
        ModelSpec {
            architecture: architecture.to_owned(),
            hidden_size: self.hidden_size,
            vocab_size: self.vocab_size,
            max_position_embeddings: self.max_position_embeddings,
            embedding: EmbeddingSpec {
                name: "model.embed_tokens".into(),
                scale: self.embedding_scale,
            },
            blocks_name: "model.layers".into(),
            blocks: self.all_blocks(form),
            final_norm: NormSpec {
                name: "model.norm".into(),
                place: NormPlace::Final,
                width: self.hidden_size,
                eps: self.rms_norm_eps,
                is_offset: form.has_offset_norms,
            },
            head: HeadSpec {
                name: "lm_head".into(),
                tied: self.tie_word_embeddings,
                scale: self.logit_scale,
                cap: self.logit_cap,
            },
            bos_token_id: self.bos_token_id,
            eos_token_ids: self.eos_token_ids,
            pad_token_id: self.pad_token_id,
        }
    }

    fn all_blocks(&self, form: &Form) -> Vec<BlockSpec> {
        let blocks = self.blocks.iter().enumerate();
        let blocks = blocks.map(|(block_idx, numbers)| {
            let mut block = self.block(numbers, form);
            if let (Some(experts), Some(form)) = (&self.experts, form.experts)
                && experts.blocks[block_idx] != 0
            {
                let counts = (experts.blocks[block_idx], self.hidden_size);
                experts.replace_mlp(&mut block, form, counts);
            }
            block
        });
        blocks.collect()
    }

    fn block(&self, numbers: &BlockNumbers, form: &Form) -> BlockSpec {
        use LayerRole::{Down, Gate, Key, Output, Query, Up, Value};
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let queries = self.num_heads * self.head_dim;
        let keys = self.num_kv_heads * self.head_dim;
        let Biases {
            inputs,
            output,
            mlp,
        } = self.biases;
        let mut layers = vec![
            LayerSpec::new("self_attn.q_proj", Query, [queries, hidden], inputs),
            LayerSpec::new("self_attn.k_proj", Key, [keys, hidden], inputs),
            LayerSpec::new("self_attn.v_proj", Value, [keys, hidden], inputs),
            LayerSpec::new("self_attn.o_proj", Output, [hidden, queries], output),
            LayerSpec::new("mlp.gate_proj", Gate, [inner, hidden], mlp),
            LayerSpec::new("mlp.up_proj", Up, [inner, hidden], mlp),
            LayerSpec::new("mlp.down_proj", Down, [hidden, inner], mlp),
        ];
        if form.is_stacked {
            stack(&mut layers[..3], "self_attn.qkv_proj");
            stack(&mut layers[4..6], "mlp.gate_up_proj");
        }
        let norms = form.norms.iter();
        BlockSpec {
            layers,
            norms: norms
                .map(|it| self.norm(it, form.has_offset_norms))
                .collect(),
            attention: Some(AttentionSpec {
                num_heads: self.num_heads,
                num_kv_heads: self.num_kv_heads,
                head_dim: self.head_dim,
                rope: numbers.rope.clone(),
                window: numbers.window,
                score_cap: self.score_cap,
                score_scale: self.score_scale,
                query_growth: self.query_growth,
            }),
            mlp: Some(MlpSpec {
                intermediate_size: inner,
                activation: form.activation,
                experts: None,
            }),
            residual_scale: self.residual_scale,
        }
    }

    fn norm(&self, form: &NormForm, is_offset: bool) -> NormSpec {
        let heads = match form.place {
            NormPlace::Key => self.num_kv_heads,
            _ => self.num_heads,
        };
        NormSpec {
            name: form.name.into(),
            place: form.place,
            width: match form.width {
                NormWidth::Hidden => self.hidden_size,
                NormWidth::Head => self.head_dim,
                NormWidth::AllHeads => heads * self.head_dim,
            },
            eps: self.rms_norm_eps,
            is_offset,
        }
    }
}

/// Puts layers one below the other into one tensor.
fn stack(layers: &mut [LayerSpec], name: &str) {
    let rows = layers.iter().map(|layer| layer.out_features).sum();
    let mut first_row = 0;
    for layer in layers {
        layer.stacked = Some(Stacked {
            name: name.into(),
            rows: vec![rows],
            first_row,
        });
        first_row += layer.out_features;
    }
}
