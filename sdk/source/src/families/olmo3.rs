//! OLMo 3: OLMo 2 with windows in three of four blocks, whose rotation is not stretched.

use serde_json::{Map, Value};

use super::config_rope::Kind;
use super::dense::DenseModel;
use super::family::{About, Family};
use super::from_config::Config;
use super::from_gguf::GgufModel;
use super::olmo2;
use super::to_config::{write_ropes, write_windows};
use crate::error::SourceError;
use crate::gguf::{GgufForm, GgufWindows};
use crate::spec::{ModelSpec, RopeScaling};

pub(super) static FAMILY: Family = Family {
    model_type: "olmo3",
    class: "Olmo3ForCausalLM",
    about: About {
        models: "OLMo 3, 7B and 32B",
        differs: "OLMo 2 with windows in three of four blocks; YaRN in the others",
        real_weights: &[],
    },
    defaults: r#"{"rms_norm_eps": 1e-5, "sliding_window": 4096}"#,
    fields: &[
        "sliding_window",
        "layer_types",
        "attention_bias",
        "attention.sliding_window",
    ],
    form: olmo2::FORM,
    gguf: GgufForm {
        windows: WINDOWS,
        ..olmo2::GGUF
    },
    read_config,
    read_gguf: Some(read_gguf),
    write_config,
};

const PERIOD: usize = 4;
const WINDOWS: GgufWindows = GgufWindows::ByBlock {
    period: PERIOD,
    width: None,
};
/// What transformers 5 takes in windows where `rope_parameters` says nothing, whatever
/// `rope_theta` is.
const THETA: f64 = 500_000.0;

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let fields = &config.fields;
    let full = config.rope_of(Kind::Full, fields.rope_theta.unwrap_or(THETA))?;
    let windowed = config.rope_of(Kind::Windowed, THETA)?;
    if fields.rope_parameters.is_none() && full.theta != THETA {
        // transformers 4 takes it in windows too, transformers 5 does not.
        let found = full.theta.to_string();
        let supported = "500000, or rope_parameters for each kind of layer";
        return Err(config.unsupported("rope_theta", found, supported));
    }
    let is_windowed = |block_idx| (block_idx + 1) % PERIOD != 0;
    let blocks = config.blocks_by_kind(is_windowed, fields.sliding_window, |_, kind| {
        Some(match kind {
            Kind::Full => full.clone(),
            Kind::Windowed => windowed.clone(),
        })
    })?;
    let mut model = config.with_blocks(blocks)?;
    model.biases = config.biases();
    model.biases.mlp = false;
    Ok(model)
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    let windows = model.windows(WINDOWS, numbers.blocks.len())?;
    for (block, window) in numbers.blocks.iter_mut().zip(windows) {
        if let (Some(_), Some(rope)) = (window, &mut block.rope) {
            rope.scaling = RopeScaling::None;
        }
        block.window = window;
    }
    Ok(numbers)
}

fn write_config(spec: &ModelSpec, config: &mut Map<String, Value>) {
    write_windows(spec, config);
    write_ropes(spec, config);
}
