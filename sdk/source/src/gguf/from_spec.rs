//! A GGUF file's metadata of a model that comes from a Hugging Face folder.

use std::path::Path;

use tokenizers::Tokenizer;

use super::entries::Entries;
use super::form::{GgufForm, GgufWindows};
use super::metadata::Metadata;
use super::names::{ROPE_FACTORS, ROPE_FACTORS_LONG, ROPE_FACTORS_SHORT, TEMPERATURE_SCALE};
use super::{parse, tokenizer};
use crate::error::SourceError;
use crate::hf_files::HfFiles;
use crate::spec::{AttentionSpec, ModelSpec, QueryGrowth, Rope, RopeScaling};

const ORIGINAL_CONTEXT: &str = "rope.scaling.original_context_length";

/// The metadata of a whole model whose tokenizer can be said in GGUF's terms. The folder is for
/// messages.
pub(crate) fn entries(
    form: &GgufForm,
    spec: &ModelSpec,
    files: &HfFiles,
    folder: &Path,
) -> Result<Entries, SourceError> {
    let mut entries = Entries::default();
    let architecture = form.architecture;
    entries.string("general.architecture", architecture);
    entries.string("general.type", "model");
    if let Some(name) = &files.name {
        entries.string("general.name", name);
    }
    if let Some(license) = &files.license {
        entries.string("general.license", license);
    }
    let (attention, mlp) = (spec.first_attention(), spec.first_mlp());
    let key = |name: &str| format!("{architecture}.{name}");
    let rope = main_rope(spec);
    // All of them are checked to be small positive numbers when the model is opened.
    let counts = [
        ("block_count", Some(spec.num_blocks() as i64)),
        ("context_length", Some(context(form, spec))),
        ("embedding_length", Some(spec.hidden_size)),
        ("feed_forward_length", mlp.map(|it| it.intermediate_size)),
        ("attention.head_count", attention.map(|it| it.num_heads)),
        (
            "attention.head_count_kv",
            attention.map(|it| it.num_kv_heads),
        ),
        ("attention.key_length", attention.map(|it| it.head_dim)),
        ("attention.value_length", attention.map(|it| it.head_dim)),
        ("rope.dimension_count", rope.map(|it| it.width)),
        ("vocab_size", Some(spec.vocab_size)),
    ];
    for (name, count) in counts.into_iter().chain(experts(spec)) {
        if let Some(count) = count {
            entries.u32(&key(name), count as u32);
        }
    }
    let epsilon = spec.final_norm.eps as f32;
    entries.f32(&key("attention.layer_norm_rms_epsilon"), epsilon);
    if let Some(rope) = rope {
        rotation(form, rope, &key, &mut entries);
    }
    if let (true, Some(growth)) = (form.grows_queries, query_growth(spec)) {
        entries.f32(&key(TEMPERATURE_SCALE), growth.weight as f32);
        let is_yarn = rope.is_some_and(|it| matches!(it.scaling, RopeScaling::Yarn { .. }));
        if !is_yarn {
            entries.u32(&key(ORIGINAL_CONTEXT), growth.step as u32);
        }
    }
    windows(form, spec, &mut entries);
    factors(form, spec, &key, &mut entries);
    tokenizer::to_entries(spec, files, folder, &mut entries)?;
    Ok(entries)
}

/// The tokenizer of a file with these entries. The path is for messages.
pub(crate) fn tokenizer_of(entries: &Entries, path: &Path) -> Result<Tokenizer, SourceError> {
    let mut file = parse::MAGIC.to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    file.extend((entries.len() as u64).to_le_bytes());
    file.extend(entries.to_bytes());
    let header = parse::parse(&file).map_err(|what| SourceError::malformed(path, what))?;
    tokenizer::build(&Metadata {
        file: path,
        entries: &header.metadata,
    })
}

/// What there is to say about experts.
fn experts(spec: &ModelSpec) -> Vec<(&'static str, Option<i64>)> {
    let mlps = spec.blocks.iter().filter_map(|it| it.mlp.as_ref());
    let mut with_experts = mlps.filter_map(|mlp| Some((mlp, mlp.experts.as_ref()?)));
    let Some((mlp, experts)) = with_experts.next() else {
        return Vec::new();
    };
    let shared = experts.shared.as_ref().map(|it| it.intermediate_size);
    vec![
        ("expert_count", Some(i64::from(experts.num_experts))),
        ("expert_used_count", Some(i64::from(experts.num_active))),
        ("expert_feed_forward_length", Some(mlp.intermediate_size)),
        ("expert_shared_feed_forward_length", shared),
    ]
}

/// The longest sequence that llama.cpp computes right: where it knows no windows, that of one.
fn context(form: &GgufForm, spec: &ModelSpec) -> i64 {
    let longest = spec.max_position_embeddings;
    match form.windows {
        GgufWindows::None => attentions(spec)
            .filter_map(|it| it.window)
            .fold(longest, i64::min),
        GgufWindows::ByBlock { .. } => longest,
    }
}

fn attentions(spec: &ModelSpec) -> impl Iterator<Item = &AttentionSpec> {
    spec.blocks.iter().filter_map(|it| it.attention.as_ref())
}

/// How queries grow, in all blocks alike.
pub(super) fn query_growth(spec: &ModelSpec) -> Option<QueryGrowth> {
    attentions(spec).find_map(|it| it.query_growth)
}

/// The rotation of the blocks without a window, or of all where none is without.
pub(super) fn main_rope(spec: &ModelSpec) -> Option<&Rope> {
    let full = attentions(spec).filter(|it| it.window.is_none());
    full.chain(attentions(spec)).find_map(|it| it.rope.as_ref())
}

fn rotation(form: &GgufForm, rope: &Rope, key: &impl Fn(&str) -> String, entries: &mut Entries) {
    entries.f32(&key("rope.freq_base"), rope.theta as f32);
    let mut number = |name: &str, value: f64| {
        entries.f32(&key(&format!("rope.scaling.{name}")), value as f32);
    };
    let (kind, original) = match &rope.scaling {
        RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Factors { .. } => return,
        RopeScaling::Linear { factor } => {
            number("factor", *factor);
            ("linear", None)
        }
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            attention_factor,
            ..
        } => {
            number("factor", *factor);
            if form.has_yarn_keys {
                number("yarn_beta_fast", *beta_fast);
                number("yarn_beta_slow", *beta_slow);
                // As llama.cpp's converter has it: llama.cpp's own factor is 1 then.
                number("yarn_log_multiplier", 1.0);
                number("attn_factor", *attention_factor);
            } else {
                // llama.cpp multiplies by this logarithm on its own.
                number("attn_factor", attention_factor / (1.0 + 0.1 * factor.ln()));
            }
            ("yarn", Some(*original_max_position_embeddings))
        }
        RopeScaling::LongRope {
            original_max_position_embeddings,
            attention_factor,
            ..
        } => {
            number("attn_factor", *attention_factor);
            ("longrope", Some(*original_max_position_embeddings))
        }
    };
    entries.string(&key("rope.scaling.type"), kind);
    if let Some(original) = original {
        entries.u32(&key(ORIGINAL_CONTEXT), original as u32);
    }
}

/// Which blocks have a window, and how they rotate.
pub(crate) fn windows(form: &GgufForm, spec: &ModelSpec, entries: &mut Entries) {
    let GgufWindows::ByBlock { .. } = form.windows else {
        return;
    };
    let key = |name: &str| format!("{}.{name}", form.architecture);
    let Some(windowed) = attentions(spec).find(|it| it.window.is_some()) else {
        return;
    };
    let window = windowed.window.unwrap_or_default();
    entries.u32(&key("attention.sliding_window"), window as u32);
    let blocks = spec.blocks.iter().map(|it| it.attention.as_ref());
    let flags = blocks.map(|it| it.is_some_and(|it| it.window.is_some()));
    let flags: Vec<bool> = flags.collect();
    entries.bools(&key("attention.sliding_window_pattern"), &flags);
    if let (true, Some(rope)) = (form.has_own_base_in_windows, &windowed.rope) {
        entries.f32(&key("rope.freq_base_swa"), rope.theta as f32);
    }
}

/// Factors and caps.
fn factors(
    form: &GgufForm,
    spec: &ModelSpec,
    key: &impl Fn(&str) -> String,
    entries: &mut Entries,
) {
    let attention = spec.first_attention();
    let residual = spec.blocks.first().and_then(|it| it.residual_scale);
    let mut numbers = vec![
        (
            "attn_logit_softcapping",
            attention.and_then(|it| it.score_cap),
        ),
        ("final_logit_softcapping", spec.head.cap),
    ];
    if form.has_factors {
        numbers.extend([
            ("attention.scale", attention.map(|it| it.score_scale)),
            ("embedding_scale", spec.embedding.scale),
            ("residual_scale", residual),
            // Logits are divided by it.
            ("logit_scale", spec.head.scale.map(|scale| 1.0 / scale)),
        ]);
    }
    for (name, number) in numbers {
        if let Some(number) = number {
            entries.f32(&key(name), number as f32);
        }
    }
}

/// The tensors with divisors of the rotary frequencies that a file of a model has, by name.
pub fn rope_factors(spec: &ModelSpec) -> Vec<(&'static str, Vec<f64>)> {
    let Some(rope) = main_rope(spec) else {
        return Vec::new();
    };
    match &rope.scaling {
        RopeScaling::Llama3 { .. } | RopeScaling::Factors { .. } => {
            vec![(ROPE_FACTORS, rope.divisors(1))]
        }
        RopeScaling::LongRope {
            short_factors,
            long_factors,
            ..
        } => vec![
            (ROPE_FACTORS_LONG, long_factors.clone()),
            (ROPE_FACTORS_SHORT, short_factors.clone()),
        ],
        _ => Vec::new(),
    }
}
