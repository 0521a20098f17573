//! llama.cpp's architecture `deci`: a `llama` whose blocks may have no attention (`head_count` 0)
//! and MLPs of different widths. Models with dropped sub-blocks are written so.

use std::collections::BTreeMap;

use super::value::Value;
use crate::reduced::{Reduced, StoredBlock};

/// The architecture's name, and with a dot what its keys begin with.
pub const ARCHITECTURE: &str = "deci";

const HEADS: &str = "llama.attention.head_count";
const KV_HEADS: &str = "llama.attention.head_count_kv";
const MLP_WIDTH: &str = "llama.feed_forward_length";

/// Turns the metadata of a `deci` file into that of the `llama` that it stands for, whose blocks
/// have the most heads and the widest MLP of any.
pub(super) fn as_llama(entries: &mut BTreeMap<String, Value>) -> Result<Reduced, String> {
    let renamed = std::mem::take(entries).into_iter().map(|(key, value)| {
        match key
            .strip_prefix(ARCHITECTURE)
            .and_then(|it| it.strip_prefix('.'))
        {
            Some(rest) => (format!("llama.{rest}"), value),
            None => (key, value),
        }
    });
    entries.extend(renamed);
    entries.insert("general.architecture".into(), Value::String("llama".into()));
    let num_blocks = entries.get("llama.block_count").and_then(Value::as_i64);
    let mut by_block = |key: &str| {
        let numbers = entries.get(key).and_then(Value::to_i64s);
        let mut numbers =
            numbers.ok_or_else(|| format!("metadata {key} is not a number for each block"))?;
        if let (&[number], Some(count @ 1..4096)) = (&numbers[..], num_blocks) {
            numbers = vec![number; count as usize];
        }
        if Some(numbers.len() as i64) != num_blocks || numbers.iter().any(|number| *number < 0) {
            return Err(format!("metadata {key} is not a number for each block"));
        }
        let most = numbers.iter().copied().max().unwrap_or(0);
        entries.insert(key.to_owned(), Value::Signed(most));
        Ok(numbers)
    };
    let (heads, kv_heads) = (by_block(HEADS)?, by_block(KV_HEADS)?);
    let most = |numbers: &[i64]| numbers.iter().copied().max().unwrap_or(0);
    let all = (most(&heads), most(&kv_heads));
    for (idx, numbers) in std::iter::zip(heads.iter().copied(), kv_heads).enumerate() {
        if numbers != (0, 0) && numbers != all {
            return Err(format!(
                "block {idx} has {numbers:?} heads, others have {all:?}"
            ));
        }
    }
    let blocks = heads.iter().zip(by_block(MLP_WIDTH)?);
    let blocks = blocks.map(|(heads, mlp_width)| StoredBlock {
        attention: *heads > 0,
        mlp_width,
    });
    Ok(Reduced {
        blocks: blocks.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(heads: &[i64], kv_heads: &[i64], mlp_widths: &[i64]) -> BTreeMap<String, Value> {
        let numbers = |numbers: &[i64]| Value::Signeds(numbers.to_vec());
        let entries = [
            ("general.architecture", Value::String(ARCHITECTURE.into())),
            ("deci.block_count", Value::Unsigned(3)),
            ("deci.attention.head_count", numbers(heads)),
            ("deci.attention.head_count_kv", numbers(kv_heads)),
            ("deci.feed_forward_length", numbers(mlp_widths)),
            ("decimals", Value::Bool(true)),
        ];
        entries.map(|(key, value)| (key.to_owned(), value)).into()
    }

    #[test]
    fn blocks_that_lack_a_half_are_told() {
        let mut entries = file(&[4, 0, 4], &[2, 0, 2], &[96, 96, 32]);
        let reduced = as_llama(&mut entries).unwrap();
        let stored = |attention, mlp_width| StoredBlock {
            attention,
            mlp_width,
        };
        assert_eq!(
            reduced.blocks,
            [stored(true, 96), stored(false, 96), stored(true, 32)]
        );
        assert_eq!(entries[HEADS], Value::Signed(4));
        assert_eq!(entries[KV_HEADS], Value::Signed(2));
        assert_eq!(entries[MLP_WIDTH], Value::Signed(96));
        assert_eq!(
            entries["general.architecture"],
            Value::String("llama".into())
        );
        assert!(entries.contains_key("decimals") && entries.contains_key("llama.block_count"));
    }

    #[test]
    fn other_files_of_the_architecture_are_refused() {
        let check = |mut entries: BTreeMap<String, Value>, sentence: &str| {
            let error = as_llama(&mut entries).unwrap_err();
            assert!(error.contains(sentence), "{error}");
        };
        check(
            file(&[4, 0, 2], &[2, 0, 2], &[96; 3]),
            "block 2 has (2, 2) heads",
        );
        check(
            file(&[4, 4, 4], &[2, 0, 2], &[96; 3]),
            "block 1 has (4, 0) heads",
        );
        check(
            file(&[4, 4], &[2, 2, 2], &[96; 3]),
            "llama.attention.head_count is not a number for each block",
        );
    }
}
