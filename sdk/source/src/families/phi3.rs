//! Phi-3, 3.5, 4 and 4-mini: Llama with q, k and v in one tensor and gate and up in another,
//! frequencies by two sets of divisors, and in some a window or heads that turn in part.

use serde_json::{Map, Value, json};

use super::dense::{BlockNumbers, DenseModel};
use super::family::{About, Family};
use super::form::Form;
use super::from_config::Config;
use super::from_gguf::GgufModel;
use super::to_config::whole;
use crate::error::SourceError;
use crate::gguf::GgufForm;
use crate::spec::ModelSpec;

pub(super) static FAMILY: Family = Family {
    model_type: "phi3",
    class: "Phi3ForCausalLM",
    about: About {
        models: "Phi-3, Phi-3.5, Phi-4, Phi-4-mini",
        differs: "q, k and v are one tensor in files, gate and up another; LongRoPE; windows; heads that turn in part",
        real_weights: &[],
    },
    defaults: r#"{"rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "original_max_position_embeddings": 4096}"#,
    fields: &["sliding_window", "attention.sliding_window"],
    form: Form {
        is_stacked: true,
        ..Form::LLAMA
    },
    gguf: GgufForm {
        has_long_rope: true,
        turns_parts_of_heads: true,
        ..GgufForm::plain("phi3")
    },
    read_config,
    read_gguf: Some(read_gguf),
    write_config,
};

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let blocks = BlockNumbers {
        rope: Some(config.partial_rope()?),
        window: config.fields.sliding_window,
    };
    config.with_blocks(vec![blocks; config.num_blocks()?])
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    // llama.cpp goes without it, the model does not.
    let window = model.key("attention.sliding_window");
    let window = model.metadata.optional_i64(&window)?;
    for block in &mut numbers.blocks {
        block.window = window.filter(|&window| window != 0);
    }
    Ok(numbers)
}

fn write_config(spec: &ModelSpec, config: &mut Map<String, Value>) {
    let attention = spec.first_attention();
    config.insert(
        "sliding_window".into(),
        json!(attention.and_then(|it| it.window)),
    );
    let rope = attention.and_then(|it| it.rope.as_ref().zip(Some(it.head_dim)));
    if let Some((rope, head_dim)) = rope {
        let partial = share(rope.width, head_dim);
        config.insert("partial_rotary_factor".into(), json!(partial));
        // The field goes before the one among the settings of the rotation.
        let original = rope.original_context();
        let original = original.unwrap_or(spec.max_position_embeddings as f64);
        config.insert("original_max_position_embeddings".into(), whole(original));
    }
}

/// The share of a head that turns, such that the share of `head_dim`, rounded down, is `width`.
fn share(width: i64, head_dim: i64) -> f64 {
    let exact = width as f64 / head_dim as f64;
    match (head_dim as f64 * exact) as i64 == width {
        true => exact,
        false => (width as f64 + 0.5) / head_dim as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_head_is_read_as_it_was() {
        for head_dim in 1..300 {
            for width in 1..=head_dim {
                let read = (head_dim as f64 * share(width, head_dim)) as i64;
                assert_eq!(read, width, "of {head_dim}");
            }
        }
    }
}
