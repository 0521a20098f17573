//! Units by their names: where in the model a unit is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use indexmap::IndexMap;

/// `model.layers.3.self_attn` is block 3, kind `self_attn`; a whole block has the empty kind.
pub(crate) fn split(unit: &str) -> Option<(u32, &str)> {
    let (_, rest) = unit.split_once("layers.")?;
    let (block_idx, kind) = rest.split_once('.').unwrap_or((rest, ""));
    Some((block_idx.parse().ok()?, kind))
}

/// What the experts of a kind are called, which one it is, and the layer: `mlp.experts.5.up_proj`
/// is expert 5 of `mlp.experts`, layer `up_proj`. A whole expert has the empty layer.
pub(crate) fn split_expert(kind: &str) -> Option<(&str, u32, &str)> {
    const EXPERTS: &str = "experts.";
    let end = kind.find(EXPERTS)? + EXPERTS.len();
    let (number, layer) = kind[end..].split_once('.').unwrap_or((&kind[end..], ""));
    Some((&kind[..end - 1], number.parse().ok()?, layer))
}

/// A kind that all experts have in common: `mlp.experts.up_proj`.
pub(crate) fn common_kind(kind: &str) -> Cow<'_, str> {
    match split_expert(kind) {
        Some((experts, _, "")) => experts.into(),
        Some((experts, _, layer)) => format!("{experts}.{layer}").into(),
        None => kind.into(),
    }
}

/// A kind for people: `attention`, `q_proj`, `expert up_proj`.
pub(crate) fn kind_words(kind: &str) -> Cow<'_, str> {
    match kind {
        "" => "block".into(),
        "self_attn" => "attention".into(),
        "mlp" => "MLP".into(),
        other => match other.rsplit_once('.') {
            Some((module, layer)) if module.ends_with("shared_expert") => {
                format!("shared {layer}").into()
            }
            Some((module, layer)) if module.ends_with("experts") => {
                format!("expert {layer}").into()
            }
            Some((_, layer)) => layer.into(),
            None => other.into(),
        },
    }
}

/// A genotype by kind and block, kinds in the order of the model; those of single experts, which
/// are many, by block and expert; and the units in no block.
#[derive(Debug, Default)]
pub(crate) struct ByKind<'a> {
    /// Name and level.
    pub(crate) kinds: IndexMap<&'a str, BTreeMap<u32, (&'a str, &'a str)>>,
    /// The levels of an expert's units.
    pub(crate) experts: BTreeMap<(u32, u32), Vec<&'a str>>,
    /// Name and level.
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
                    if let Some((_, expert, _)) = split_expert(kind) {
                        let levels = found.experts.entry((block_idx, expert)).or_default();
                        levels.push(level);
                    } else {
                        let kind = found.kinds.entry(kind).or_default();
                        kind.insert(block_idx, (unit, level));
                    }
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

    #[test]
    fn units_of_experts_have_kinds_in_common() {
        let check = |kind: &str, expert: Option<u32>, words: &str| {
            assert_eq!(split_expert(kind).map(|it| it.1), expert, "{kind}");
            assert_eq!(kind_words(&common_kind(kind)), words, "{kind}");
        };
        check("mlp.experts.5.up_proj", Some(5), "expert up_proj");
        check("block_sparse_moe.experts.17.w1", Some(17), "expert w1");
        check("mlp.experts.17", Some(17), "experts");
        check("mlp.experts", None, "experts");
        check("mlp.shared_expert.up_proj", None, "shared up_proj");
        check("self_attn.q_proj", None, "q_proj");
        check("self_attn", None, "attention");
        let units = ["1.mlp.experts.2.up_proj", "1.mlp.experts.2.down_proj"];
        let genotype = units.map(|unit| (format!("model.layers.{unit}"), "3bit".to_owned()));
        let genotype = IndexMap::from(genotype);
        let found = ByKind::of(&genotype);
        assert!(found.kinds.is_empty() && found.num_blocks == 2);
        assert_eq!(found.experts[&(1, 2)], ["3bit", "3bit"]);
    }
}
