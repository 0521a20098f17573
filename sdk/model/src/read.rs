//! Tensors of a model's files as libtorch's.

use evopress_plugin::DType;
use evopress_source::Source;
use evopress_tensor::from_bytes;
use tch::{Kind, Tensor};

use crate::error::Result;

/// A tensor by its Hugging Face name, on the CPU, in memory of its own: in the stored type where
/// that is f32, f16 or bf16, decoded to f32 otherwise. Linear weights are `[out_features,
/// in_features]`.
///
/// # Errors
/// When the model has no such tensor or there is no memory for it.
pub fn read_tensor(source: &Source, name: &str) -> Result<Tensor> {
    let stored = source.read(name)?;
    let kind = kind_of(stored.dtype());
    let tensor = from_bytes(kind, stored.shape(), |bytes| stored.write_to(bytes));
    Ok(tensor?)
}

/// libtorch's name of a dtype.
pub(crate) fn kind_of(dtype: DType) -> Kind {
    match dtype {
        DType::F32 => Kind::Float,
        DType::F16 => Kind::Half,
        DType::Bf16 => Kind::BFloat16,
        DType::I64 => Kind::Int64,
        DType::U8 => Kind::Uint8,
    }
}
