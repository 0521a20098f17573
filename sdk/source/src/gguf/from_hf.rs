//! A GGUF file's metadata from a Hugging Face folder.

use std::path::Path;

use super::Entries;
use super::tokenizer;
use crate::config::ModelConfig;
use crate::spec::RopeScaling;
use crate::{HfFiles, SourceError};

/// The metadata of a model whose tokenizer can be said in GGUF's terms.
pub(crate) fn entries(
    config: &ModelConfig,
    files: &HfFiles,
    folder: &Path,
) -> Result<Entries, SourceError> {
    let mut entries = Entries::default();
    entries.string("general.architecture", "llama");
    entries.string("general.type", "model");
    if let Some(name) = &files.name {
        entries.string("general.name", name);
    }
    if let Some(license) = &files.license {
        entries.string("general.license", license);
    }
    // All of them are checked to be small positive numbers when the model is opened.
    let mut count = |key: &str, number: i64| entries.u32(&format!("llama.{key}"), number as u32);
    count("block_count", config.num_blocks as i64);
    count("context_length", config.max_position_embeddings);
    count("embedding_length", config.hidden_size);
    count("feed_forward_length", config.intermediate_size);
    count("attention.head_count", config.num_heads);
    count("attention.head_count_kv", config.num_kv_heads);
    count("attention.key_length", config.head_dim);
    count("attention.value_length", config.head_dim);
    count("rope.dimension_count", config.head_dim);
    count("vocab_size", config.vocab_size);
    let epsilon = config.rms_norm_eps as f32;
    entries.f32("llama.attention.layer_norm_rms_epsilon", epsilon);
    entries.f32("llama.rope.freq_base", config.rope.theta as f32);
    if let RopeScaling::Linear { factor } = config.rope.scaling {
        entries.string("llama.rope.scaling.type", "linear");
        entries.f32("llama.rope.scaling.factor", factor as f32);
    }
    tokenizer::to_entries(config, files, folder, &mut entries)?;
    Ok(entries)
}
