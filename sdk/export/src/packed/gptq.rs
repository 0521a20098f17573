//! GPTQ checkpoints: for a weight `[N, K]` of `b` bits with G scales a row
//!
//! | tensor | | |
//! |---|---|---|
//! | `qweight` | int32 `[K·b/32, N]` | a row's codes, down a column, as one little-endian bit stream |
//! | `qzeros` | int32 `[G, N·b/32]` | a group's zeros, over the rows of the weight, as one bit stream |
//! | `scales` | f16 `[G, N]` | |
//! | `g_idx` | int32 `[K]` | each input's group |
//!
//! The first version of the format stores a zero less one, which 0 has no room for; the second
//! stores it as it is. The first is written where it can be, because more runtimes read it.

use std::collections::BTreeMap;

use evopress_plugin::{pack_codes, unpack_codes};
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};

use super::grid::Grid;
use super::words::{transposed, words};
use super::{Layer, Layers, Rows};
use crate::file_tensor::{FileTensor, whole};

/// Which version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// `gptq`: zeros less one.
    One,
    /// `gptq_v2`: zeros.
    Two,
}

impl Version {
    /// The first that holds the zeros of all layers.
    pub(super) fn of<'a>(
        layers: &[Layer<'_>],
        parts: impl Fn(&Layer<'_>) -> Vec<Rows<'a>>,
    ) -> Self {
        let asymmetric = layers.iter().filter(|layer| !layer.grid.symmetric);
        let mut with_zeros = asymmetric.filter(|layer| {
            let zeros = parts(layer)[2].bytes();
            unpack_codes(&zeros, layer.grid.bits, layer.groups()).contains(&0)
        });
        match with_zeros.next() {
            Some(_) => Version::Two,
            None => Version::One,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Version::One => "gptq",
            Version::Two => "gptq_v2",
        }
    }
}

/// The tensors of a layer whose packed parts are `parts`.
pub(super) fn tensors<'a>(
    layer: &Layer<'_>,
    parts: &[Rows<'a>],
    version: Version,
) -> Vec<FileTensor<'a>> {
    let (rows, columns, groups) = (layer.rows(), layer.columns(), layer.groups());
    let Grid {
        bits, symmetric, ..
    } = layer.grid;
    let num_words = |count: usize| count * usize::from(bits) / 32;
    let (codes, scales) = (parts[0].clone(), parts[1].clone());
    let zeros = parts.get(2).cloned();
    let zeros = move || {
        let mut zeros = match &zeros {
            Some(zeros) if !symmetric => unpack_codes(&zeros.bytes(), bits, groups),
            _ => vec![1 << (bits - 1); rows * groups],
        };
        if version == Version::One {
            zeros.iter_mut().for_each(|zero| *zero -= 1);
        }
        Ok(pack_codes(&transposed(&zeros, rows), bits, rows))
    };
    let tensor = |name: &str, dtype, shape, bytes| FileTensor {
        name: format!("{}.{name}", layer.module()),
        dtype,
        shape,
        bytes,
    };
    vec![
        tensor(
            "qweight",
            Dtype::I32,
            vec![num_words(columns), rows],
            whole(move || {
                let words = words(&codes.bytes(), rows);
                Ok(transposed(&words, rows).into_flattened())
            }),
        ),
        tensor(
            "qzeros",
            Dtype::I32,
            vec![groups, num_words(rows)],
            whole(zeros),
        ),
        tensor(
            "scales",
            Dtype::F16,
            vec![groups, rows],
            whole(move || {
                let scales = scales.bytes();
                Ok(transposed(scales.as_chunks::<2>().0, rows).into_flattened())
            }),
        ),
        tensor(
            "g_idx",
            Dtype::I32,
            vec![columns],
            whole(move || {
                let groups = (0..columns).map(|column| (column * groups / columns) as i32);
                Ok(groups.flat_map(i32::to_le_bytes).collect())
            }),
        ),
    ]
}

/// `quantization_config`: the grid that most weights have, and rules for the others. None where no
/// layer is packed.
pub(super) fn config(layers: &Layers<'_>, version: Version) -> Option<Value> {
    let base = most_common(&layers.packed)?;
    let mut config = json!({
        "quant_method": "gptq",
        "checkpoint_format": version.name(),
        "bits": base.bits,
        "group_size": group_size(base),
        "sym": base.symmetric,
        "desc_act": false,
        "lm_head": false,
        "pack_dtype": "int32",
        "meta": {"quantizer": [concat!("evopressd:", env!("CARGO_PKG_VERSION"))]},
    });
    let rules = rules(layers, base);
    if !rules.is_empty() {
        config["dynamic"] = Value::Object(rules);
    }
    Some(config)
}

fn most_common(layers: &[Layer<'_>]) -> Option<Grid> {
    let mut weights: BTreeMap<Grid, usize> = BTreeMap::new();
    for layer in layers {
        *weights.entry(layer.grid).or_default() += layer.rows() * layer.columns();
    }
    let most = weights.into_iter().max_by_key(|(_, count)| *count);
    most.map(|(grid, _)| grid)
}

fn group_size(grid: Grid) -> i64 {
    grid.group_size.map_or(-1, i64::from)
}

/// What a rule says, and of which layers.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    /// None where they are not packed.
    grid: Option<Grid>,
    /// Which of their block's products they belong to.
    product_idx: usize,
    /// The module within the block.
    parent: String,
    names: Vec<String>,
}

/// GPTQModel's `dynamic`: `+:REGEX` for layers of another grid, `-:REGEX` for those that are not
/// packed. Where all layers of a fused product agree, the fused name is in the rule too.
fn rules(layers: &Layers<'_>, base: Grid) -> Map<String, Value> {
    let grids = layers.grids();
    let mut rules: BTreeMap<Rule, Vec<String>> = BTreeMap::new();
    for (block_idx, (block_name, products)) in layers.products().enumerate() {
        for (product_idx, product) in products.iter().enumerate() {
            let mut by_grid: BTreeMap<Option<Grid>, Vec<String>> = BTreeMap::new();
            for (layer, module) in product.modules(&block_name) {
                let grid = grids.get(module.as_str()).copied();
                by_grid.entry(grid).or_default().push(layer.to_owned());
            }
            for (grid, mut names) in by_grid {
                if grid == Some(base) {
                    continue;
                }
                if names.len() == product.layers.len() {
                    names.extend(product.fused.map(str::to_owned));
                }
                let rule = Rule {
                    grid,
                    product_idx,
                    parent: product.parent.clone(),
                    names,
                };
                rules.entry(rule).or_default().push(block_idx.to_string());
            }
        }
    }
    let blocks_name = layers.layout.spec.blocks_name.replace('.', r"\.");
    let entry = |(rule, blocks): (Rule, Vec<String>)| {
        let pattern = format!(
            r"{blocks_name}\.(?:{})\.{}\.(?:{})$",
            blocks.join("|"),
            rule.parent,
            rule.names.join("|")
        );
        match rule.grid {
            Some(grid) => {
                let settings = json!({"bits": grid.bits, "group_size": group_size(grid), "sym": grid.symmetric});
                (format!("+:{pattern}"), settings)
            }
            None => (format!("-:{pattern}"), json!({})),
        }
    };
    rules.into_iter().map(entry).collect()
}
