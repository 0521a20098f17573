//! A GGUF file's metadata of a model that comes from a Hugging Face folder.

use std::path::Path;

use tokenizers::Tokenizer;

use super::entries::Entries;
use super::metadata::Metadata;
use super::{parse, tokenizer};
use crate::error::SourceError;
use crate::hf_files::HfFiles;
use crate::spec::{ModelSpec, RopeScaling};

/// The metadata of a whole model whose tokenizer can be said in GGUF's terms. The folder is for
/// messages.
pub(crate) fn entries(
    architecture: &str,
    spec: &ModelSpec,
    files: &HfFiles,
    folder: &Path,
) -> Result<Entries, SourceError> {
    let mut entries = Entries::default();
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
    // All of them are checked to be small positive numbers when the model is opened.
    let counts = [
        ("block_count", Some(spec.num_blocks() as i64)),
        ("context_length", Some(spec.max_position_embeddings)),
        ("embedding_length", Some(spec.hidden_size)),
        ("feed_forward_length", mlp.map(|it| it.intermediate_size)),
        ("attention.head_count", attention.map(|it| it.num_heads)),
        (
            "attention.head_count_kv",
            attention.map(|it| it.num_kv_heads),
        ),
        ("attention.key_length", attention.map(|it| it.head_dim)),
        ("attention.value_length", attention.map(|it| it.head_dim)),
        ("rope.dimension_count", attention.map(|it| it.head_dim)),
        ("vocab_size", Some(spec.vocab_size)),
    ];
    for (name, count) in counts {
        if let Some(count) = count {
            entries.u32(&key(name), count as u32);
        }
    }
    let epsilon = spec.final_norm.eps as f32;
    entries.f32(&key("attention.layer_norm_rms_epsilon"), epsilon);
    if let Some(rope) = attention.and_then(|attention| attention.rope.as_ref()) {
        entries.f32(&key("rope.freq_base"), rope.theta as f32);
        if let RopeScaling::Linear { factor } = rope.scaling {
            entries.string(&key("rope.scaling.type"), "linear");
            entries.f32(&key("rope.scaling.factor"), factor as f32);
        }
    }
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
