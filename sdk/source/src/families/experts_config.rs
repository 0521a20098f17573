//! How `config.json` and GGUF metadata say experts.

use serde_json::{Map, Value, json};

use super::experts::{ExpertNumbers, ExpertsForm};
use super::from_config::Config;
use super::from_gguf::GgufModel;
use crate::error::SourceError;
use crate::gguf::names;
use crate::spec::{BlockSpec, ExpertsSpec, ModelSpec};

impl Config<'_> {
    /// The numbers of a family's experts; none where no block has any.
    pub(super) fn experts(&self, form: &ExpertsForm) -> Result<Option<ExpertNumbers>, SourceError> {
        let fields = &self.experts;
        let num_experts = match (fields.num_experts, fields.num_local_experts) {
            (Some(one), Some(other)) if one != other => {
                return Err(self.malformed(format!(
                    "num_experts is {one}, but num_local_experts is {other}"
                )));
            }
            (one, other) => one.or(other),
        };
        let need = |value: Option<i64>, name: &str| {
            value.ok_or_else(|| self.malformed(format!("missing field `{name}`")))
        };
        let num_experts = need(num_experts, "num_experts")?;
        let width = match form.has_one_width {
            true => self.fields.intermediate_size,
            false => need(fields.moe_intermediate_size, "moe_intermediate_size")?,
        };
        let blocks = self.blocks_of_experts(num_experts)?;
        let shared = fields.shared_expert_intermediate_size;
        let numbers = ExpertNumbers {
            num_active: need(fields.num_experts_per_tok, "num_experts_per_tok")?,
            is_renormalized: form.is_renormalized || fields.norm_topk_prob.unwrap_or(false),
            width,
            shared_width: match form.has_shared {
                true => Some(need(shared, "shared_expert_intermediate_size")?),
                false => None,
            },
            blocks,
        };
        let has_some = numbers.blocks.iter().any(|&count| count != 0);
        Ok(has_some.then_some(numbers))
    }

    /// By block: how many experts it has.
    fn blocks_of_experts(&self, num_experts: i64) -> Result<Vec<i64>, SourceError> {
        let dense = self.experts.mlp_only_layers.as_deref().unwrap_or_default();
        let step = self.experts.decoder_sparse_step.unwrap_or(1);
        if step < 1 {
            return Err(self.malformed(format!(
                "decoder_sparse_step is {step}, expected a positive number"
            )));
        }
        let blocks = 0..self.num_blocks()? as i64;
        let by_layer = self.experts.num_experts_by_layer.as_deref();
        let count = |idx: i64| match (idx + 1) % step == 0 && !dense.contains(&idx) {
            true => by_layer.map_or(num_experts, |counts| counts[idx as usize]),
            false => 0,
        };
        Ok(blocks.map(count).collect())
    }
}

impl GgufModel<'_> {
    /// The numbers of a family's experts.
    pub(super) fn experts(
        &self,
        form: &ExpertsForm,
        num_blocks: usize,
    ) -> Result<Option<ExpertNumbers>, SourceError> {
        let metadata = self.metadata;
        let number = |name: &str| metadata.optional_i64(&self.key(name));
        let need = |name: &str| metadata.need(&self.key(name), number(name)?);
        let has_router = |idx| (self.has_tensor)(&names::in_block(idx, names::ROUTER, "weight"));
        let blocks: Vec<bool> = (0..num_blocks).map(has_router).collect();
        if !blocks.contains(&true) {
            return Err(metadata.malformed(format!(
                "metadata {} says that there are experts, but no block has a router ({})",
                self.key("expert_count"),
                names::ROUTER
            )));
        }
        let num_experts = need("expert_count")?;
        let width = match number("expert_feed_forward_length")? {
            Some(width) => width,
            None => need("feed_forward_length")?,
        };
        Ok(Some(ExpertNumbers {
            num_active: need("expert_used_count")?,
            is_renormalized: self.form.experts.is_some_and(|it| it.is_renormalized),
            width,
            shared_width: match form.has_shared {
                true => Some(need("expert_shared_feed_forward_length")?),
                false => None,
            },
            blocks: blocks
                .into_iter()
                .map(|has| if has { num_experts } else { 0 })
                .collect(),
        }))
    }
}

/// Writes the fields that are about experts: those of every family, and for families whose experts
/// are of another width than a dense MLP, the widths and which blocks are dense.
pub(super) fn write(spec: &ModelSpec, form: &ExpertsForm, config: &mut Map<String, Value>) {
    let with_experts = |block: &&BlockSpec| block.experts().is_some();
    let Some(block) = spec.blocks.iter().find(with_experts) else {
        return;
    };
    let (Some(experts), Some(mlp)) = (block.experts(), &block.mlp) else {
        return;
    };
    write_common(experts, form, config);
    if form.has_one_width {
        return;
    }
    let is_dense = |block: &BlockSpec| block.mlp.is_some() && block.experts().is_none();
    let blocks = spec.blocks.iter().enumerate();
    let dense: Vec<usize> = blocks
        .filter(|(_, block)| is_dense(block))
        .map(|(idx, _)| idx)
        .collect();
    let dense_mlp = dense.first().and_then(|&idx| spec.blocks[idx].mlp.as_ref());
    let dense_width = dense_mlp.map_or(mlp.intermediate_size, |it| it.intermediate_size);
    config.insert("intermediate_size".into(), json!(dense_width));
    config.insert("moe_intermediate_size".into(), json!(mlp.intermediate_size));
    config.insert("decoder_sparse_step".into(), json!(1));
    config.insert("mlp_only_layers".into(), json!(dense));
    if let Some(shared) = &experts.shared {
        let width = json!(shared.intermediate_size);
        config.insert("shared_expert_intermediate_size".into(), width);
    }
}

fn write_common(experts: &ExpertsSpec, form: &ExpertsForm, config: &mut Map<String, Value>) {
    let (name, other) = match form.router.starts_with("mlp") {
        true => ("num_experts", "num_local_experts"),
        false => ("num_local_experts", "num_experts"),
    };
    config.shift_remove(other);
    config.insert(name.into(), json!(experts.num_experts));
    config.insert("num_experts_per_tok".into(), json!(experts.num_active));
    if !form.is_renormalized {
        config.insert("norm_topk_prob".into(), json!(experts.is_renormalized));
    }
}
