//! How many experts the blocks of an artifact have: one number for all, as formats and runtimes
//! want it, or one for each block, for which the folder brings its own code.

use std::path::Path;

use evopress_search::genotype::SearchSpace;
use serde_json::{Map, Value, json};

use crate::error::{ExportError, Result};

/// In `config.json`: how many experts each block has, where they differ.
const BY_LAYER: &str = "num_experts_by_layer";

/// The module of transformers' classes for such models, and its text.
const CODE_MODULE: &str = "modeling_experts_by_layer";
const CODE: &str = include_str!("modeling_experts_by_layer.py");

/// Keys of `config.json` that say how many experts a block has, whatever the family.
const CONFIG_KEYS: [&str; 2] = ["num_experts", "num_local_experts"];

/// How many experts the blocks of an artifact have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Counts {
    /// None has any.
    None,
    /// All blocks with experts have so many.
    Same(u32),
    /// By block; 0 where its MLP is dense.
    ByBlock(Vec<u32>),
}

impl Counts {
    /// Of blocks with so many experts each; 0 where the MLP is dense.
    pub(crate) fn of(by_block: Vec<u32>) -> Self {
        let mut counts = by_block.iter().filter(|&&count| count != 0);
        match counts.next() {
            None => Self::None,
            Some(&first) if counts.all(|&count| count == first) => Self::Same(first),
            Some(_) => Self::ByBlock(by_block),
        }
    }

    /// The number that a format has for all blocks; none where there are no experts.
    ///
    /// # Errors
    /// When blocks differ.
    pub(crate) fn one(&self, format: &str) -> Result<Option<u32>> {
        match self {
            Self::None => Ok(None),
            Self::Same(count) => Ok(Some(*count)),
            Self::ByBlock(_) => Err(refused(format)),
        }
    }
}

/// Says in `config.json` how many experts the blocks have. Where they differ, transformers needs
/// the code that [`write_code`] puts beside it.
pub(crate) fn adapt(config: &mut Map<String, Value>, counts: &Counts) {
    let num_experts = match counts {
        Counts::None => return,
        Counts::Same(count) => Some(count),
        Counts::ByBlock(by_block) => by_block.iter().max(),
    };
    let named: Vec<&str> = CONFIG_KEYS
        .into_iter()
        .filter(|key| config.contains_key(*key))
        .collect();
    let keys = match named.is_empty() {
        true => CONFIG_KEYS.to_vec(),
        false => named,
    };
    for key in keys {
        config.insert(key.into(), json!(num_experts));
    }
    config.shift_remove(BY_LAYER);
    let class = config.get("architectures").and_then(|it| it.get(0));
    let class = class.and_then(Value::as_str).unwrap_or_default();
    if let Counts::ByBlock(by_block) = counts {
        let classes = json!({"AutoModelForCausalLM": format!("{CODE_MODULE}.{class}")});
        config.insert(BY_LAYER.into(), json!(by_block));
        config.insert("auto_map".into(), classes);
    }
}

/// Writes what transformers needs where blocks have different numbers of experts.
pub(crate) fn write_code(folder: &Path, counts: &Counts) -> Result<()> {
    if !matches!(counts, Counts::ByBlock(_)) {
        return Ok(());
    }
    let file = folder.join(format!("{CODE_MODULE}.py"));
    std::fs::write(&file, CODE).map_err(ExportError::io(&file))
}

/// Whether all results of a search leave equally many experts in each block, as most formats want
/// it.
///
/// # Errors
/// When they may leave different numbers.
pub(crate) fn check(space: &SearchSpace, format: &str) -> Result<()> {
    match space.drops_experts() && space.measure() != "drop" {
        true => Err(refused(format)),
        false => Ok(()),
    }
}

fn refused(format: &str) -> ExportError {
    ExportError::Format(format!(
        "format `{format}` has one number of experts for all blocks, and a budget in bytes leaves them different ones; `huggingface` has those, and a budget `drop` leaves equally many"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_said_by_block_where_they_differ() {
        let mut config = Map::new();
        config.insert("architectures".into(), json!(["OlmoeForCausalLM"]));
        config.insert("num_experts".into(), json!(8));
        adapt(&mut config, &Counts::ByBlock(vec![0, 7, 5]));
        assert_eq!(config["num_experts"], 7);
        assert_eq!(config[BY_LAYER], json!([0, 7, 5]));
        let class = "modeling_experts_by_layer.OlmoeForCausalLM";
        assert_eq!(config["auto_map"]["AutoModelForCausalLM"], class);
        // Such a folder is the source of another run, which leaves one block alone.
        adapt(&mut config, &Counts::Same(5));
        assert_eq!(config["num_experts"], 5);
        assert!(!config.contains_key(BY_LAYER));
    }
}
