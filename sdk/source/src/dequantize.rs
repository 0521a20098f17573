//! De-quantization of whole tensors on several threads; the blocks' formats are [`GgmlType`]'s.

use evopress_plugin::GgmlType;

use crate::on_threads::on_threads;

/// Below this many weights a second thread costs more than it saves.
const MIN_WEIGHTS_PER_THREAD: usize = 1 << 16;
/// Weights that are decoded at a time: they stay in the processor's cache until they are copied.
const WEIGHTS_AT_A_TIME: usize = 1 << 12;
const F32_BYTES: usize = size_of::<f32>();

/// Decodes `blocks` to `out`: little-endian f32, as many as the blocks hold.
///
/// # Panics
/// When `out` has another length than the blocks' weights need.
pub(crate) fn dequantize(encoding: GgmlType, blocks: &[u8], out: &mut [u8]) {
    let (block_len, block_bytes) = (encoding.block_len(), encoding.block_bytes());
    let num_weights = out.len() / F32_BYTES;
    assert_eq!(
        num_weights / block_len * block_bytes,
        blocks.len(),
        "the blocks of a tensor fill it"
    );
    let min_bytes = MIN_WEIGHTS_PER_THREAD * F32_BYTES;
    on_threads(out, block_len * F32_BYTES, min_bytes, |block, out| {
        let num_blocks = out.len() / F32_BYTES / block_len;
        let blocks = &blocks[block * block_bytes..][..num_blocks * block_bytes];
        dequantize_part(encoding, blocks, out);
    });
}

fn dequantize_part(encoding: GgmlType, blocks: &[u8], out: &mut [u8]) {
    let (block_len, block_bytes) = (encoding.block_len(), encoding.block_bytes());
    let at_a_time = (WEIGHTS_AT_A_TIME / block_len).max(1);
    let mut weights = vec![0.0; at_a_time * block_len];
    let parts = out
        .chunks_mut(at_a_time * block_len * F32_BYTES)
        .zip(blocks.chunks(at_a_time * block_bytes));
    for (out, blocks) in parts {
        let weights = &mut weights[..out.len() / F32_BYTES];
        encoding.dequantize(blocks, weights);
        let (words, _) = out.as_chunks_mut::<F32_BYTES>();
        for (word, weight) in words.iter_mut().zip(weights) {
            *word = weight.to_le_bytes();
        }
    }
}
