//! De-quantization of whole tensors on several threads; the blocks' formats are [`GgmlType`]'s.

use std::thread;

use evopress_plugin::GgmlType;
use tch::{Device, Kind, TchError, Tensor};

/// For messages.
pub(super) const SUPPORTED: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS";

/// Below this many weights a second thread costs more than it saves.
const MIN_WEIGHTS_PER_THREAD: usize = 1 << 16;

/// Name of a type by ggml's number, as far as we know it.
pub(super) fn type_name(type_id: u32) -> String {
    if let Some(known) = GgmlType::from_id(type_id) {
        return known.name().into();
    }
    let name = match type_id {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        _ => return format!("number {type_id}"),
    };
    name.into()
}

/// The tensor of `shape` that `bytes` encode; `bytes` has exactly its blocks.
pub(super) fn decode(encoding: GgmlType, bytes: &[u8], shape: &[i64]) -> Result<Tensor, TchError> {
    let plain = match encoding {
        GgmlType::F32 => Some(Kind::Float),
        GgmlType::F16 => Some(Kind::Half),
        GgmlType::Bf16 => Some(Kind::BFloat16),
        _ => None,
    };
    if let Some(kind) = plain {
        return Tensor::f_from_data_size(bytes, shape, kind);
    }
    let tensor = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
    // SAFETY: a fresh contiguous f32 tensor on the CPU, alive to the end of this function and known to nobody else; every
    // bit pattern is an f32.
    let weights =
        unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), tensor.numel()) };
    decode_into(encoding, bytes, weights);
    Ok(tensor)
}

fn decode_into(encoding: GgmlType, bytes: &[u8], weights: &mut [f32]) {
    let (block_len, block_bytes) = (encoding.block_len(), encoding.block_bytes());
    assert_eq!(
        weights.len() / block_len * block_bytes,
        bytes.len(),
        "the blocks of a tensor fill it"
    );
    let available = thread::available_parallelism().map_or(1, usize::from);
    let num_threads = available.min(weights.len() / MIN_WEIGHTS_PER_THREAD).max(1);
    let blocks_per_thread = (weights.len() / block_len).div_ceil(num_threads).max(1);
    thread::scope(|scope| {
        let parts = weights
            .chunks_mut(blocks_per_thread * block_len)
            .zip(bytes.chunks(blocks_per_thread * block_bytes));
        let mut work = parts.map(|(weights, bytes)| move || encoding.dequantize(bytes, weights));
        let own = work.next();
        work.for_each(|part| drop(scope.spawn(part)));
        if let Some(mut part) = own {
            part();
        }
    });
}
