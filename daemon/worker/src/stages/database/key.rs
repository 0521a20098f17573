//! The key of a level database: SHA-256 of all that shapes it, as canonical JSON.
//!
//! Every field is written here by name. A key changes only when what it stands for changes, or when
//! [`VERSION`] does.

use anyhow::{Result, bail};
use evopress::genotype::LayerVariants;
use evopress_core::digest_bytes;
use evopress_plugin::{Encoding, ModelOutline, Statistics};
use evopress_spec::{Database, Dtype};
use serde_json::{Value, json};

use super::inputs::Inputs;
use crate::setup::UsedMethod;
use crate::texts;

/// Version of what is built. A change of the files or of the arithmetic needs another one.
const VERSION: u32 = 2;

/// All that shapes a database.
struct Parts<'a> {
    /// SHA-256 of each of the model's files.
    model: Vec<&'a str>,
    dtype: Dtype,
    /// What the method sees; none for a method that needs no text.
    text: Option<Text<'a>>,
    plugin: &'a str,
    plugin_sha256: &'a str,
    options: &'a Value,
    /// A method may choose its levels around the target.
    layers: &'a [LayerVariants],
    outline: &'a ModelOutline,
}

struct Text<'a> {
    sha256: &'a str,
    settings: &'a Database,
    /// The token that each sequence begins with.
    bos: Option<u32>,
}

/// All that shapes the database of `method`, as JSON with sorted fields.
///
/// # Errors
/// A level with an encoding that has no name here.
pub(super) fn inputs(
    inputs: &Inputs<'_>,
    method: &UsedMethod,
    layers: &[LayerVariants],
) -> Result<Value> {
    let needs_text = method.method.statistics() != Statistics::None;
    let model = inputs.digests.model.iter();
    let parts = Parts {
        model: model.map(|file| file.sha256.as_str()).collect(),
        dtype: inputs.dtype,
        text: match needs_text {
            true => Some(Text {
                sha256: &inputs.digests.database.sha256,
                settings: inputs.text,
                bos: texts::bos_of(inputs.text.bos, inputs.source)?,
            }),
            false => None,
        },
        plugin: &method.name,
        plugin_sha256: &method.sha256,
        options: &method.options,
        layers,
        outline: inputs.space.outline(),
    };
    parts.to_json()
}

impl Parts<'_> {
    fn to_json(&self) -> Result<Value> {
        let text = self.text.as_ref().map(|text| {
            let mut json = json!({
                "sha256": text.sha256,
                "tokens": text.settings.tokens,
                "sequence_length": text.settings.sequence_length,
                "first_token_share": text.settings.first_token_share,
            });
            // Without it, a database has the key that it had before there was a BOS.
            if let Some(bos) = text.bos {
                json["bos"] = bos.into();
            }
            json
        });
        let levels = levels(self.layers, self.outline)?;
        let mut json = json!({
            "version": VERSION,
            "model": self.model,
            "dtype": self.dtype.to_string(),
            "text": text,
            "plugin": self.plugin,
            "plugin_sha256": self.plugin_sha256,
            "options": self.options,
            // Large models have many thousand levels: their digest keeps the manifest short.
            "levels": digest(&levels),
        });
        json.sort_all_objects();
        Ok(json)
    }
}

/// SHA-256 of JSON whose fields are sorted, hex.
pub(super) fn digest(sorted: &Value) -> String {
    digest_bytes(sorted.to_string().as_bytes())
}

/// The compressed layers of a method: for each its name, its variants in their order, and the
/// variant with which calibration continues.
fn levels(layers: &[LayerVariants], outline: &ModelOutline) -> Result<Value> {
    let mut described = Vec::with_capacity(layers.len());
    for layer in layers {
        let mut variants = Vec::with_capacity(layer.variants.len());
        for variant in &layer.variants {
            let encoding = encoding(&variant.encoding)?;
            variants.push(json!({"name": variant.name, "encoding": encoding}));
        }
        described.push(json!({
            "layer": outline.layers[layer.layer_idx as usize].name,
            "variants": variants,
            "calibration": layer.calibration,
        }));
    }
    let mut levels = Value::Array(described);
    levels.sort_all_objects();
    Ok(levels)
}

fn encoding(encoding: &Encoding) -> Result<Value> {
    Ok(match encoding {
        Encoding::Quantized {
            bits,
            group_size,
            symmetric,
        } => json!({"quantized": {
            "bits": bits,
            "group_size": group_size,
            "symmetric": symmetric,
        }}),
        Encoding::Sparse { num_values, dtype } => json!({"sparse": {
            "num_values": num_values,
            "dtype": dtype.to_string(),
        }}),
        Encoding::Ggml { ggml_type } => json!({"ggml": {"type": ggml_type.to_string()}}),
        other => bail!("the encoding {other:?} has no name in the key of a level database"),
    })
}

#[cfg(test)]
mod tests {
    use evopress_plugin::{DType, GgmlType, LayerOutline, SubBlock, Variant};
    use evopress_spec::Bos;

    use super::*;

    fn outline() -> ModelOutline {
        let layer = |name: &str| LayerOutline {
            name: name.to_owned(),
            block_idx: 0,
            sub_block: SubBlock::Mlp,
            input_idx: 0,
            expert_idx: None,
            has_bias: false,
            out_features: 512,
            in_features: 256,
        };
        ModelOutline {
            num_blocks: 1,
            layers: vec![
                layer("model.layers.0.mlp.up_proj"),
                layer("model.layers.0.mlp.down_proj"),
            ],
            bytes_per_weight: 2,
        }
    }

    fn layers() -> Vec<LayerVariants> {
        let variant = |name: &str, encoding| Variant {
            name: name.to_owned(),
            encoding,
        };
        let quantized = Encoding::Quantized {
            bits: 3,
            group_size: 128,
            symmetric: false,
        };
        let sparse = Encoding::Sparse {
            num_values: 65_536,
            dtype: DType::Bf16,
        };
        let ggml = Encoding::Ggml {
            ggml_type: GgmlType::from_name("Q4_K").unwrap(),
        };
        vec![
            LayerVariants {
                layer_idx: 0,
                variants: vec![variant("3bit", quantized), variant("q4_k", ggml)],
                calibration: Some(1),
            },
            LayerVariants {
                layer_idx: 1,
                variants: vec![variant("0.5", sparse)],
                calibration: None,
            },
        ]
    }

    #[test]
    fn levels_are_written_field_by_field() {
        let levels = levels(&layers(), &outline()).unwrap();
        assert_eq!(
            levels.to_string(),
            concat!(
                r#"[{"calibration":1,"layer":"model.layers.0.mlp.up_proj","variants":["#,
                r#"{"encoding":{"quantized":{"bits":3,"group_size":128,"symmetric":false}},"name":"3bit"},"#,
                r#"{"encoding":{"ggml":{"type":"Q4_K"}},"name":"q4_k"}]},"#,
                r#"{"calibration":null,"layer":"model.layers.0.mlp.down_proj","variants":["#,
                r#"{"encoding":{"sparse":{"dtype":"bf16","num_values":65536}},"name":"0.5"}]}]"#,
            )
        );
    }

    /// A database may have taken hours: without need, its key must stay what it is.
    #[test]
    fn the_key_of_fixed_inputs_is_fixed() {
        let text = Database {
            source: "/texts/database.txt".into(),
            tokens: 32_768,
            sequence_length: 512,
            first_token_share: 0.25,
            bos: Bos::Auto,
        };
        let key_with = |text: Option<&Database>, options: &Value, bos: Option<u32>| {
            let (layers, outline) = (layers(), outline());
            let parts = Parts {
                model: vec!["aa", "bb"],
                dtype: Dtype::Bf16,
                text: text.map(|settings| Text {
                    sha256: "cc",
                    settings,
                    bos,
                }),
                plugin: "gptq",
                plugin_sha256: "dd",
                options,
                layers: &layers,
                outline: &outline,
            };
            digest(&parts.to_json().unwrap())
        };
        let key = |text: Option<&Database>, options: &Value| key_with(text, options, None);
        let options = json!({"bits": [2, 3, 4], "group_size": 128});
        let golden = "1fea8b011d4ef453717dfd1e4cb3baf9ec5c781c2ad947aa385432d4d4fb26cf";
        assert_eq!(key(Some(&text), &options), golden);
        let reordered = json!({"group_size": 128, "bits": [2, 3, 4]});
        assert_eq!(key(Some(&text), &reordered), golden, "fields have no order");
        let moved = Database {
            source: "/elsewhere/database.txt".into(),
            ..text.clone()
        };
        assert_eq!(key(Some(&moved), &options), golden, "a path is not content");
        let more = Database {
            tokens: 65_536,
            ..text.clone()
        };
        assert_ne!(key(Some(&more), &options), golden);
        assert_ne!(key(None, &options), golden);
        assert_ne!(key_with(Some(&text), &options, Some(2)), golden);
    }
}
