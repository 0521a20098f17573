//! What of a model llama.cpp would compute in another way than the model does.

use super::form::{GgufBiases, GgufForm, GgufHead, GgufWindows};
use super::from_spec::{main_rope, query_growth};
use crate::spec::{AttentionSpec, LayerInput, LayerSpec, ModelSpec, Rope, RopeScaling};

/// `beta_fast`, `beta_slow` and `truncate` of YaRN, for which most architectures have no keys.
const USUAL_YARN: (f64, f64, bool) = (32.0, 1.0, true);
/// Relative difference up to which two scales are one.
const TOLERANCE: f64 = 1e-6;

/// What a GGUF file of the model cannot say, if anything.
pub(crate) fn foreign(form: &GgufForm, spec: &ModelSpec) -> Option<String> {
    let attentions: Vec<&AttentionSpec> = spec
        .blocks
        .iter()
        .filter_map(|it| it.attention.as_ref())
        .collect();
    of_rope(form, spec)
        .or_else(|| of_growth(spec))
        .or_else(|| of_windows(form, &attentions))
        .or_else(|| of_blocks(form, spec, &attentions))
        .or_else(|| of_scores(form, spec, &attentions))
        .or_else(|| of_biases(form, spec))
        .or_else(|| of_ends(form, spec))
        .or_else(|| of_experts(form, spec))
}

fn of_rope(form: &GgufForm, spec: &ModelSpec) -> Option<String> {
    let rope = main_rope(spec)?;
    let head_dim = spec.first_attention().map_or(0, |it| it.head_dim);
    let kind = match &rope.scaling {
        _ if rope.width != head_dim && !form.turns_parts_of_heads => "of a part of each head",
        RopeScaling::Llama3 { .. } | RopeScaling::Factors { .. } if !form.has_divisors => {
            "with a divisor for each frequency"
        }
        RopeScaling::LongRope { .. } if !form.has_long_rope => "with divisors for long sequences",
        RopeScaling::Yarn {
            beta_fast,
            beta_slow,
            is_truncated,
            ..
        } if !is_computed_yarn(form, (*beta_fast, *beta_slow, *is_truncated)) => {
            return Some("YaRN with settings other than its usual ones".into());
        }
        _ => return None,
    };
    Some(format!("a rotation {kind}"))
}

/// Whether llama.cpp computes YaRN with these `beta_fast`, `beta_slow` and `truncate`.
fn is_computed_yarn(form: &GgufForm, settings: (f64, f64, bool)) -> bool {
    settings == USUAL_YARN || (form.has_yarn_keys && settings.2)
}

/// llama.cpp takes the step of the growth from where the rotation is stretched.
fn of_growth(spec: &ModelSpec) -> Option<String> {
    let growth = query_growth(spec)?;
    let original = match main_rope(spec).map(|it| &it.scaling) {
        Some(RopeScaling::Yarn {
            original_max_position_embeddings,
            ..
        }) => *original_max_position_embeddings,
        _ => growth.step.floor(),
    };
    (growth.step != original).then(|| {
        let step = growth.step;
        format!("queries that grow every {step} tokens, not every {original}")
    })
}

fn of_windows(form: &GgufForm, attentions: &[&AttentionSpec]) -> Option<String> {
    let GgufWindows::ByBlock { .. } = form.windows else {
        return None;
    };
    let mut windows = attentions.iter().filter_map(|it| it.window);
    let first = windows.next();
    let differs = windows.any(|it| Some(it) != first);
    differs.then(|| "windows of several widths".to_owned())
}

fn of_blocks(form: &GgufForm, spec: &ModelSpec, attentions: &[&AttentionSpec]) -> Option<String> {
    let main = main_rope(spec);
    for (idx, attention) in attentions.iter().enumerate() {
        let is_unrotated = form
            .unrotated_period
            .is_some_and(|period| idx % period == period - 1);
        let expected = match (main, attention.window) {
            _ if is_unrotated => None,
            (Some(main), Some(_)) if form.windows != GgufWindows::None => {
                Some(in_windows(form, main, attention))
            }
            (main, _) => main.cloned(),
        };
        if attention.rope != expected {
            return Some(match &attention.rope {
                None => format!("block {idx} without a rotation"),
                Some(_) => format!("the rotation of block {idx}"),
            });
        }
    }
    None
}

/// How llama.cpp rotates in a window where it rotates by `main` in other blocks.
fn in_windows(form: &GgufForm, main: &Rope, attention: &AttentionSpec) -> Rope {
    let own = attention
        .rope
        .as_ref()
        .filter(|_| form.has_own_base_in_windows);
    Rope {
        theta: own.map_or(main.theta, |own| own.theta),
        scaling: match form.stretches_in_windows {
            true => main.scaling.clone(),
            false => RopeScaling::None,
        },
        width: main.width,
    }
}

fn of_scores(form: &GgufForm, spec: &ModelSpec, attentions: &[&AttentionSpec]) -> Option<String> {
    if form.has_factors {
        return None;
    }
    let usual = |attention: &&AttentionSpec| {
        let is_other = form.scores_differ_at == Some(spec.num_blocks());
        let scalar = match is_other {
            true => spec.hidden_size / attention.num_heads,
            false => attention.head_dim,
        };
        let usual = (scalar as f64).powf(-0.5);
        (attention.score_scale / usual - 1.0).abs() < TOLERANCE
    };
    let other = attentions.iter().find(|it| !usual(it))?;
    let scale = other.score_scale;
    Some(format!("attention scores that are scaled by {scale}"))
}

fn of_biases(form: &GgufForm, spec: &ModelSpec) -> Option<String> {
    let may_have = |layer: &LayerSpec| match form.biases {
        GgufBiases::None => false,
        GgufBiases::Inputs => layer.input == LayerInput::AttentionInput,
        GgufBiases::All => true,
    };
    let mut layers = spec.layers().map(|layer| layer.spec);
    let layer = layers.find(|layer| layer.has_bias && !may_have(layer))?;
    Some(format!("a bias of {}", layer.name))
}

/// What of experts the architecture computes otherwise.
fn of_experts(form: &GgufForm, spec: &ModelSpec) -> Option<String> {
    let computed = form.experts?;
    let attention = spec.first_attention();
    if form.wants_all_key_heads && attention.is_some_and(|it| it.num_kv_heads != it.num_heads) {
        return Some("fewer key heads than query heads".into());
    }
    let blocks = spec.blocks.iter().enumerate();
    let mut blocks = blocks.filter(|(_, block)| block.mlp.is_some());
    let mut first = None;
    blocks.find_map(|(idx, block)| match block.experts() {
        None => Some(format!(
            "block {idx} with a dense MLP among blocks of experts"
        )),
        Some(experts) if experts.is_renormalized != computed.is_renormalized => {
            let with = match experts.is_renormalized {
                true => "with",
                false => "without",
            };
            Some(format!("experts {with} renormalisation (`norm_topk_prob`)"))
        }
        Some(experts) if *first.get_or_insert(experts.num_experts) != experts.num_experts => {
            Some("blocks of different numbers of experts".into())
        }
        Some(_) => None,
    })
}

fn of_ends(form: &GgufForm, spec: &ModelSpec) -> Option<String> {
    let is_tied = spec.head.tied;
    match form.head {
        GgufHead::Tied if !is_tied => return Some("a head that is not the embedding".into()),
        GgufHead::Own if is_tied => return Some("a head that is the embedding".into()),
        _ => {}
    }
    let scores = spec.first_attention().and_then(|it| it.score_cap);
    (form.always_caps && (scores.is_none() || spec.head.cap.is_none()))
        .then(|| "attention scores or logits without a cap".to_owned())
}

/// What llama.cpp tells by the number of a block, or of blocks, so that none may be left out.
pub(crate) fn told_by_number(form: &GgufForm, spec: &ModelSpec) -> Option<&'static str> {
    match (form.unrotated_period, form.scores_differ_at) {
        (Some(_), _) => Some("which blocks rotate by their numbers"),
        (_, Some(number)) if number == spec.num_blocks() => {
            Some("the scale of attention scores by the number of blocks")
        }
        _ => None,
    }
}
