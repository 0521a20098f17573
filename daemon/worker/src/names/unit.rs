//! Units by their names: where in the model a unit is.

use std::collections::BTreeMap;

use indexmap::IndexMap;

/// `model.layers.3.self_attn` is block 3, kind `self_attn`; a whole block has the empty kind.
pub(crate) fn split(unit: &str) -> Option<(u32, &str)> {
    let (_, rest) = unit.split_once("layers.")?;
    let (block_idx, kind) = rest.split_once('.').unwrap_or((rest, ""));
    Some((block_idx.parse().ok()?, kind))
}

/// A kind for people: `attention`, `q_proj`.
pub(crate) fn kind_words(kind: &str) -> &str {
    match kind {
        "" => "block",
        "self_attn" => "attention",
        "mlp" => "MLP",
        other => other.rsplit('.').next().unwrap_or(other),
    }
}

/// A genotype by kind and block, kinds in the order of the model, and the units in no block.
#[derive(Debug, Default)]
pub(crate) struct ByKind<'a> {
    pub(crate) kinds: IndexMap<&'a str, BTreeMap<u32, (&'a str, &'a str)>>,
    pub(crate) elsewhere: Vec<(&'a str, &'a str)>,
    pub(crate) num_blocks: u32,
}

impl<'a> ByKind<'a> {
    pub(crate) fn of(genotype: &'a IndexMap<String, String>) -> Self {
        let mut found = Self::default();
        for (unit, level) in genotype {
            match split(unit) {
                Some((block_idx, kind)) => {
                    found.num_blocks = found.num_blocks.max(block_idx.saturating_add(1));
                    let kind = found.kinds.entry(kind).or_default();
                    kind.insert(block_idx, (unit, level));
                }
                None => found.elsewhere.push((unit, level)),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_in_a_block_or_elsewhere() {
        assert_eq!(split("model.layers.3.self_attn"), Some((3, "self_attn")));
        assert_eq!(split("model.layers.12"), Some((12, "")));
        assert_eq!(split("model.layers.x.mlp"), None);
        let units = ["lm_head", "model.layers.0.mlp", "model.layers.2.mlp"];
        let genotype = units.map(|unit| (unit.to_owned(), "keep".to_owned()));
        let genotype = IndexMap::from(genotype);
        let found = ByKind::of(&genotype);
        assert_eq!(found.num_blocks, 3);
        assert_eq!(found.elsewhere, [("lm_head", "keep")]);
        assert_eq!(found.kinds["mlp"][&2], ("model.layers.2.mlp", "keep"));
    }
}
