//! Linear layers on the device that they were made for: packed where the CPU has bf16 products, libtorch's elsewhere.
//!
//! A layer's weight comes from outside with every call, because a candidate may have another one than the dense model.

use std::f32::consts::LOG2_E;

use half::bf16;
use tch::{Device, Kind, Tensor};

use super::packed::{self, PackedWeight, Piece, TILE};
use super::simd::{self, Element, VECTOR, simd_fn};
use super::{has_packed_products, has_wide_sums, slice, slice_mut};
use crate::error::Result;

/// A weight `W [N, K]` as the products want it.
#[derive(Debug)]
pub(crate) enum Weight {
    /// libtorch's layout, in the dtype of the run.
    Plain(Tensor),
    /// Tiles for the CPU's micro-kernels.
    Packed(PackedWeight),
}

impl Weight {
    /// Takes a weight in the dtype of the run.
    pub(crate) fn new(weight: Tensor) -> Result<Self> {
        let is_packed = has_packed_products(weight.kind(), weight.device(), weight.size()[1]);
        Ok(if is_packed {
            Self::Packed(PackedWeight::new(&weight.f_contiguous()?)?)
        } else {
            Self::Plain(weight)
        })
    }

    /// Another handle to the same weight.
    pub(crate) fn share(&self) -> Self {
        match self {
            Self::Plain(weight) => Self::Plain(weight.shallow_clone()),
            Self::Packed(weight) => Self::Packed(weight.share()),
        }
    }

    /// Bytes that it takes.
    pub(crate) fn num_bytes(&self) -> u64 {
        match self {
            Self::Plain(weight) => (weight.numel() * weight.kind().elt_size_in_bytes()) as u64,
            Self::Packed(weight) => weight.num_bytes(),
        }
    }
}

/// A bias as the products want it for weights of this kind, device and depth.
pub(crate) fn bias(bias: &Tensor, kind: Kind, device: Device, depth: i64) -> Result<Tensor> {
    let is_packed = has_packed_products(kind, device, depth);
    Ok(bias.f_to_kind(if is_packed { Kind::Float } else { kind })?)
}

/// `x Wᵀ + b` of `x [T, K]` for weights side by side (q, k and v): `[T, ΣN]`, f32 on the CPU and in the dtype of `x` on a GPU. `bias` is
/// `[ΣN]`.
pub(crate) fn project(weights: &[Weight], bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
    let num_tokens = input.size()[0];
    let packed: Vec<&PackedWeight> = weights.iter().filter_map(as_packed).collect();
    let mut out = if packed.len() == weights.len() {
        let width: usize = packed.iter().map(|weight| weight.num_rows()).sum();
        let size = [num_tokens, width as i64];
        let mut out = Tensor::f_empty(size, (Kind::Float, input.device()))?;
        let result = slice_mut::<f32>(&mut out);
        let mut offset = 0;
        for weight in packed {
            weight.product_into(slice(input), &mut result[offset..], width);
            offset += weight.num_rows();
        }
        out
    } else {
        let plain = weights.iter().filter_map(as_plain);
        let parts: Vec<Tensor> = plain
            .map(|weight| input.f_linear(weight, None::<&Tensor>))
            .collect::<Result<_, _>>()?;
        let out = match parts.len() {
            1 => parts[0].shallow_clone(),
            _ => Tensor::f_cat(&parts, -1)?,
        };
        match out.device() {
            Device::Cpu => out.f_to_kind(Kind::Float)?,
            _ => out,
        }
    };
    if let Some(bias) = bias {
        let _ = out.f_add_(bias)?;
    }
    Ok(out)
}

/// `residual += x Wᵀ + b` of `x [T, K]`, in the f32 of `residual [T, N]`.
pub(crate) fn add_projection(
    residual: &mut Tensor,
    weight: &Weight,
    bias: Option<&Tensor>,
    input: &Tensor,
) -> Result<()> {
    match weight {
        Weight::Plain(weight) if has_wide_sums(weight.kind(), weight.device()) => {
            if let Some(bias) = bias {
                let _ = residual.f_add_(bias)?;
            }
            let transposed = weight.f_transpose(0, 1)?;
            *residual = residual.f_addmm_dtype(input, &transposed, Kind::Float)?;
        }
        Weight::Plain(weight) => {
            let _ = residual.f_add_(&input.f_linear(weight, bias)?)?;
        }
        Weight::Packed(weight) => {
            if let Some(bias) = bias {
                let _ = residual.f_add_(bias)?;
            }
            weight.product(slice(input), slice_mut(residual), true);
        }
    }
    Ok(())
}

/// `silu(x Gᵀ + b) · (x Uᵀ + c)` of `x [T, K]`: the gate and the up projection of an MLP, `[T, I]` in the dtype of `x`.
pub(crate) fn gated(
    [gate, up]: [&Weight; 2],
    biases: Option<&[Tensor; 2]>,
    input: &Tensor,
) -> Result<Tensor> {
    let (Weight::Packed(gate), Weight::Packed(up)) = (gate, up) else {
        let half = |weight: &Weight, idx: usize| -> Result<Tensor> {
            let bias = biases.map(|biases| &biases[idx]);
            let weight = as_plain(weight).expect("both weights are of one kind");
            Ok(input.f_linear(weight, bias)?)
        };
        return Ok(half(gate, 0)?.f_silu()?.f_mul(&half(up, 1)?)?);
    };
    let width = gate.num_rows();
    let size = [input.size()[0], width as i64];
    let mut out = Tensor::f_empty(size, (Kind::BFloat16, input.device()))?;
    let result = slice_mut::<bf16>(&mut out);
    let biases = biases.map_or([&[][..]; 2], |biases| biases.each_ref().map(slice::<f32>));
    packed::for_each_pair([gate, up], slice(input), |piece, ups| {
        let Piece {
            tokens,
            first,
            width: columns,
            values,
        } = piece;
        let biases = biases.map(|bias| &bias[first.min(bias.len())..]);
        let rows = &mut result[tokens.start * width + first..];
        swiglu([values, ups], tokens.len(), columns, biases, rows, width);
    })?;
    Ok(out)
}

fn as_packed(weight: &Weight) -> Option<&PackedWeight> {
    match weight {
        Weight::Plain(_) => None,
        Weight::Packed(weight) => Some(weight),
    }
}

fn as_plain(weight: &Weight) -> Option<&Tensor> {
    match weight {
        Weight::Plain(weight) => Some(weight),
        Weight::Packed(_) => None,
    }
}

simd_fn! {
    /// `out = silu(gate + b) · (up + c)` for rows of `width` numbers, `TILE` apart in both and `stride` apart in `out`.
    fn swiglu(halves: [&[f32]; 2], rows: usize, width: usize, biases: [&[f32]; 2], out: &mut [bf16], stride: usize) {
        let [gate_bias, up_bias] = biases.map(|bias| padded(&bias[..width.min(bias.len())]));
        let [gates, ups] = halves.map(|half| half.chunks_exact(TILE));
        for (row, (gates, ups)) in gates.zip(ups).take(rows).enumerate() {
            let (chunks, rest) = out[row * stride..][..width].as_chunks_mut::<VECTOR>();
            let (gate_chunks, gate_rest) = gates[..width].as_chunks::<VECTOR>();
            let (up_chunks, up_rest) = ups[..width].as_chunks::<VECTOR>();
            let done = chunks.len();
            let inputs = gate_chunks.iter().zip(&gate_bias).zip(up_chunks.iter().zip(&up_bias));
            for (chunk, ((gates, gate_bias), (ups, up_bias))) in chunks.iter_mut().zip(inputs) {
                for i in 0..VECTOR {
                    chunk[i] = silu_product(gates[i] + gate_bias[i], ups[i] + up_bias[i]);
                }
            }
            for i in 0..rest.len() {
                rest[i] = silu_product(gate_rest[i] + gate_bias[done][i], up_rest[i] + up_bias[done][i]);
            }
        }
    }
}

#[inline(always)]
fn silu_product(gate: f32, up: f32) -> bf16 {
    <bf16 as Element>::store(gate / (1.0 + simd::exp2(-LOG2_E * gate)) * up)
}

/// A tile's biases, zeros where there are none.
fn padded(bias: &[f32]) -> [[f32; VECTOR]; TILE / VECTOR] {
    let mut padded = [[0.0; VECTOR]; TILE / VECTOR];
    padded.as_flattened_mut()[..bias.len()].copy_from_slice(bias);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the same layers in f32, which are libtorch's.
    #[test]
    fn packed_layers_agree_with_plain_ones() {
        for (num_tokens, num_rows, depth) in [(1, 1, 2), (130, 100, 64), (5, 48, 32)] {
            let random = |size: &[i64]| {
                // Rounded, so that both dtypes hold the same numbers.
                Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16)
            };
            let input = random(&[num_tokens, depth]);
            let weights = [random(&[num_rows, depth]), random(&[num_rows, depth])];
            let joined = Tensor::cat(&[random(&[num_rows]), random(&[num_rows])], 0);
            for has_bias in [false, true] {
                let made = |kind: Kind| {
                    let prepare = |it: &Tensor| bias(it, kind, Device::Cpu, depth).unwrap();
                    let biases =
                        [0, 1].map(|idx| prepare(&joined.narrow(0, idx * num_rows, num_rows)));
                    let biases = has_bias.then_some(&biases);
                    let both = has_bias.then(|| prepare(&joined));
                    let weights = weights
                        .each_ref()
                        .map(|weight| Weight::new(weight.to_kind(kind)).unwrap());
                    let input = input.to_kind(kind);
                    let mut residual =
                        Tensor::ones([num_tokens, num_rows], (Kind::Float, Device::Cpu));
                    let first = biases.map(|biases| &biases[0]);
                    add_projection(&mut residual, &weights[0], first, &input).unwrap();
                    [
                        project(&weights, both.as_ref(), &input).unwrap(),
                        gated([&weights[0], &weights[1]], biases, &input).unwrap(),
                        residual,
                    ]
                };
                for (found, expected) in made(Kind::BFloat16).iter().zip(made(Kind::Float)) {
                    let error = (found - &expected).abs() / (expected.abs() + 1.0);
                    let error = error.max().double_value(&[]);
                    assert!(error < 8e-3, "{num_tokens}×{num_rows}×{depth}: {error}");
                }
            }
        }
    }
}
