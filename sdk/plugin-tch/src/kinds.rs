//! Kinds and errors of libtorch as the plugin interface has them.

use evopress_plugin::{DType, PluginError};
use tch::{Kind, TchError};

pub(crate) fn kind_of(dtype: DType) -> Kind {
    match dtype {
        DType::F32 => Kind::Float,
        DType::F16 => Kind::Half,
        DType::Bf16 => Kind::BFloat16,
        DType::I64 => Kind::Int64,
        DType::U8 => Kind::Uint8,
    }
}

pub(crate) fn dtype_of(kind: Kind) -> Result<DType, PluginError> {
    Ok(match kind {
        Kind::Float => DType::F32,
        Kind::Half => DType::F16,
        Kind::BFloat16 => DType::Bf16,
        Kind::Int64 => DType::I64,
        Kind::Uint8 => DType::U8,
        other => {
            return Err(format!(
                "a tensor of {other:?}; allowed are Float, Half, BFloat16, Int64 and Uint8"
            )
            .into());
        }
    })
}

/// A failure of libtorch as a plugin's: the first line of its message. What follows there is a C++
/// backtrace.
pub fn to_plugin_error(error: &TchError) -> PluginError {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let plain = first.strip_prefix("Internal torch error: ");
    PluginError::new(plain.unwrap_or(first))
}
