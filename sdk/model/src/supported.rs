//! Which specifications the decoder computes. What it does not is refused by name, never run
//! wrongly.

use evopress_source::ModelSpec;
use evopress_source::spec::{Activation, AttentionSpec, MlpSpec, NormPlace};

use crate::error::{ModelError, Result};

/// Relative difference up to which a score scale is `1 / √head_dim`.
const SCALE_TOLERANCE: f64 = 1e-6;

/// # Errors
/// The first part of the model that the decoder does not compute.
pub(crate) fn check(spec: &ModelSpec) -> Result<()> {
    let refuse = |place: &str, what: &'static str| {
        Err(ModelError::Unsupported {
            place: place.to_owned(),
            what,
        })
    };
    if spec.embedding.scale.is_some() {
        return refuse(&spec.embedding.name, "a scaled embedding");
    }
    if spec.head.scale.is_some() {
        return refuse(&spec.head.name, "scaled logits");
    }
    if spec.head.cap.is_some() {
        return refuse(&spec.head.name, "capped logits");
    }
    for (block_idx, block) in spec.blocks.iter().enumerate() {
        let of_attention = block.attention.as_ref().and_then(not_of_attention);
        let of_mlp = block.mlp.as_ref().and_then(not_of_mlp);
        let has_place = |place| block.norm(place).is_some();
        let of_norms = [
            NormPlace::Query,
            NormPlace::Key,
            NormPlace::AfterAttention,
            NormPlace::AfterMlp,
        ]
        .into_iter()
        .any(has_place)
        .then_some("norms within a sub-block");
        let of_mlp = of_mlp.or(of_norms);
        if let Some(what) = of_attention.or(of_mlp) {
            return refuse(&spec.block_name(block_idx), what);
        }
    }
    Ok(())
}

/// What of an attention is not computed.
fn not_of_attention(spec: &AttentionSpec) -> Option<&'static str> {
    let usual_scale = 1.0 / (spec.head_dim as f64).sqrt();
    if spec.rope.is_none() {
        return Some("attention without rotary positions");
    }
    if spec.window.is_some() {
        return Some("attention within a window");
    }
    if spec.score_cap.is_some() {
        return Some("capped attention scores");
    }
    let is_usual = (spec.score_scale / usual_scale - 1.0).abs() < SCALE_TOLERANCE;
    (!is_usual).then_some("attention scores of another scale than 1 / √head_dim")
}

/// What of an MLP is not computed.
fn not_of_mlp(spec: &MlpSpec) -> Option<&'static str> {
    match spec.activation {
        Activation::Silu => spec.experts.is_some().then_some("an MLP of experts"),
        Activation::GeluTanh => Some("the activation GELU"),
    }
}

#[cfg(test)]
mod tests {
    use evopress_source::{Source, fixtures};

    use super::*;

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        let source = Source::open(&fixtures::folder().join("models/llama3")).unwrap();
        let spec = source.spec();
        check(spec).unwrap();
        let refusal = |change: fn(&mut ModelSpec)| {
            let mut spec = spec.clone();
            change(&mut spec);
            check(&spec).unwrap_err().to_string()
        };
        fn attention(spec: &mut ModelSpec) -> &mut AttentionSpec {
            spec.blocks[1].attention.as_mut().unwrap()
        }
        let of_block = |what: &str| format!("model.layers.1: the decoder does not compute {what}");
        assert_eq!(
            refusal(|spec| attention(spec).window = Some(64)),
            of_block("attention within a window")
        );
        assert_eq!(
            refusal(|spec| attention(spec).score_cap = Some(50.0)),
            of_block("capped attention scores")
        );
        assert_eq!(
            refusal(|spec| attention(spec).score_scale *= 2.0),
            of_block("attention scores of another scale than 1 / √head_dim")
        );
        assert_eq!(
            refusal(|spec| attention(spec).rope = None),
            of_block("attention without rotary positions")
        );
        assert_eq!(
            refusal(|spec| spec.head.cap = Some(30.0)),
            "lm_head: the decoder does not compute capped logits"
        );
        assert_eq!(
            refusal(|spec| spec.embedding.scale = Some(2.0)),
            "model.embed_tokens: the decoder does not compute a scaled embedding"
        );
    }
}
