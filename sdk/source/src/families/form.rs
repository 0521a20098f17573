//! What the blocks of a family are made of, apart from numbers.

use super::experts::ExpertsForm;
use crate::spec::{Activation, NormPlace};

/// What the blocks of a family are made of.
#[derive(Debug)]
pub(crate) struct Form {
    /// The norms of a block.
    pub(crate) norms: &'static [NormForm],
    /// Whether files hold the weights of norms less 1.
    pub(crate) has_offset_norms: bool,
    /// What is applied to the gate projection.
    pub(crate) activation: Activation,
    /// The field of config.json that says it.
    pub(crate) activation_field: &'static str,
    /// Whether q, k and v are one tensor in files, and gate and up another.
    pub(crate) is_stacked: bool,
    /// What MLPs of experts are made of, in families that have some.
    pub(crate) experts: Option<&'static ExpertsForm>,
}

/// A norm of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormForm {
    /// Hugging Face's name within the block.
    pub(crate) name: &'static str,
    pub(crate) place: NormPlace,
    pub(crate) width: NormWidth,
}

/// How wide a norm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormWidth {
    /// As the residual stream.
    Hidden,
    /// As a head.
    Head,
    /// As all query heads, or all key heads, together.
    AllHeads,
}

impl Form {
    /// Llama's: a norm before attention and one before the MLP.
    pub(crate) const LLAMA: Self = Self {
        norms: &[INPUT, BEFORE_MLP],
        has_offset_norms: false,
        activation: Activation::Silu,
        activation_field: "hidden_act",
        is_stacked: false,
        experts: None,
    };
}

const fn norm(name: &'static str, place: NormPlace, width: NormWidth) -> NormForm {
    NormForm { name, place, width }
}

/// Before attention.
pub(super) const INPUT: NormForm = norm(
    "input_layernorm",
    NormPlace::BeforeAttention,
    NormWidth::Hidden,
);
/// Before the MLP, by the name that it has where attention's output has no norm.
pub(super) const BEFORE_MLP: NormForm = norm(
    "post_attention_layernorm",
    NormPlace::BeforeMlp,
    NormWidth::Hidden,
);
/// After attention.
pub(super) const AFTER_ATTENTION: NormForm = norm(
    "post_attention_layernorm",
    NormPlace::AfterAttention,
    NormWidth::Hidden,
);
/// After the MLP.
pub(super) const AFTER_MLP: NormForm = norm(
    "post_feedforward_layernorm",
    NormPlace::AfterMlp,
    NormWidth::Hidden,
);
/// Over each query head.
pub(super) const QUERY_HEAD: NormForm = norm("self_attn.q_norm", NormPlace::Query, NormWidth::Head);
/// Over each key head.
pub(super) const KEY_HEAD: NormForm = norm("self_attn.k_norm", NormPlace::Key, NormWidth::Head);
/// Over all query heads together.
pub(super) const ALL_QUERIES: NormForm =
    norm("self_attn.q_norm", NormPlace::Query, NormWidth::AllHeads);
/// Over all key heads together.
pub(super) const ALL_KEYS: NormForm = norm("self_attn.k_norm", NormPlace::Key, NormWidth::AllHeads);
/// Before the MLP, by the name that it has where attention's output has a norm of its own.
pub(super) const BEFORE_MLP_OF_FOUR: NormForm = norm(
    "pre_feedforward_layernorm",
    NormPlace::BeforeMlp,
    NormWidth::Hidden,
);
