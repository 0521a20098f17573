//! The fields of `config.json` that are about experts.

use serde::Deserialize;

/// The fields of `config.json` that are about experts.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ExpertFields {
    pub(super) num_experts: Option<i64>,
    pub(super) num_local_experts: Option<i64>,
    pub(super) num_experts_by_layer: Option<Vec<i64>>,
    pub(super) num_experts_per_tok: Option<i64>,
    pub(super) norm_topk_prob: Option<bool>,
    pub(super) moe_intermediate_size: Option<i64>,
    pub(super) shared_expert_intermediate_size: Option<i64>,
    pub(super) decoder_sparse_step: Option<i64>,
    pub(super) mlp_only_layers: Option<Vec<i64>>,
    pub(super) qkv_bias: Option<bool>,
}
