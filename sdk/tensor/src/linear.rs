//! Linear layers on the device that they were made for: packed where the CPU has bf16 products,
//! libtorch's elsewhere.
//!
//! A layer's weight comes from outside with every call, because a candidate may have another one
//! than the dense model.

use std::f32::consts::LOG2_E;

use half::bf16;
use tch::{Device, Kind, Tensor};

use crate::buffer::{Buffer, exclusive, slice};
use crate::dispatch::{has_wide_sums, packed_backend};
use crate::error::{Result, TensorError};
use crate::gemm::Backend;
use crate::packed::{self, PackedWeight, Piece, TILE};
use crate::simd::{self, Element, VECTOR, simd_fn};

/// A weight `W [N, K]` as the products want it.
#[derive(Debug)]
pub enum Weight {
    /// libtorch's layout, in the dtype of the run.
    Plain(Tensor),
    /// Tiles for the CPU's micro-kernels.
    Packed(PackedWeight),
}

impl Weight {
    /// A weight in the dtype of the run, packed where that is faster on its device.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(weight: Tensor) -> Result<Self> {
        let backend = packed_backend(weight.kind(), weight.device(), weight.size()[1]);
        Self::for_backend(weight, backend)
    }

    /// A weight of `size` `[N, K]` for a run in `kind` on `device`, which comes in parts: `part`
    /// gives so many rows from a first one on, in `kind` on the CPU. What is packed is never there
    /// as a whole in another form.
    ///
    /// # Errors
    /// Those of `part`; when there is no memory for it.
    pub fn of_parts<E: From<TensorError>>(
        size: [i64; 2],
        kind: Kind,
        device: Device,
        mut part: impl FnMut(i64, i64) -> Result<Tensor, E>,
    ) -> Result<Self, E> {
        if let Some(backend) = packed_backend(kind, device, size[1]) {
            return Ok(Self::Packed(PackedWeight::of_parts(size, backend, part)?));
        }
        let whole = part(0, size[0])?;
        let whole = || -> Result<Tensor> { Ok(whole.f_to_device(device)?.f_contiguous()?) };
        Ok(Self::Plain(whole()?))
    }

    /// A weight for products on `backend`, or for libtorch's own operators where there is none.
    fn for_backend(weight: Tensor, backend: Option<Backend>) -> Result<Self> {
        Ok(match backend {
            Some(backend) => Self::Packed(PackedWeight::new(&weight.f_contiguous()?, backend)?),
            None => Self::Plain(weight),
        })
    }

    /// Another handle to the same weight.
    #[must_use]
    pub fn share(&self) -> Self {
        match self {
            Self::Plain(weight) => Self::Plain(weight.shallow_clone()),
            Self::Packed(weight) => Self::Packed(weight.share()),
        }
    }

    /// Bytes that it takes.
    pub fn num_bytes(&self) -> u64 {
        match self {
            Self::Plain(weight) => (weight.numel() * weight.kind().elt_size_in_bytes()) as u64,
            Self::Packed(weight) => weight.num_bytes(),
        }
    }
}

/// A bias as the products want it for weights of this kind, device and depth: in f32 beside packed
/// weights, else in `kind`.
///
/// # Errors
/// When there is no memory for it.
pub fn bias(bias: &Tensor, kind: Kind, device: Device, depth: i64) -> Result<Tensor> {
    let is_packed = packed_backend(kind, device, depth).is_some();
    Ok(bias.f_to_kind(if is_packed { Kind::Float } else { kind })?)
}

/// `x Wᵀ + b` of `x [T, K]` for weights side by side (q, k and v): `[T, ΣN]`, f32 on the CPU and in
/// the dtype of `x` on a GPU. `bias` is `[ΣN]`.
///
/// # Errors
/// When libtorch refuses an operation.
pub fn project(weights: &[Weight], bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
    let num_tokens = input.size()[0];
    let packed: Vec<&PackedWeight> = weights.iter().filter_map(as_packed).collect();
    let mut out = if packed.len() == weights.len() {
        let width: usize = packed.iter().map(|weight| weight.num_rows()).sum();
        let mut out = Buffer::<f32>::new(&[num_tokens, width as i64])?;
        let mut offset = 0;
        for weight in packed {
            weight.product_into(slice(input), &mut out[offset..], width);
            offset += weight.num_rows();
        }
        out.into_tensor()
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
///
/// # Errors
/// When libtorch refuses an operation.
///
/// # Panics
/// Where the weight is packed and `residual` shares its memory with another tensor: it is changed
/// in place.
pub fn add_projection(
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
            weight.product(slice(input), exclusive(residual), true);
        }
    }
    Ok(())
}

/// What the gate of an MLP goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    GeluTanh,
}

impl Activation {
    /// The activation of `x` in libtorch's own operators, which autograd can follow.
    ///
    /// # Errors
    /// When libtorch refuses the operation.
    pub fn plain(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Silu => x.f_silu()?,
            Self::GeluTanh => x.f_gelu("tanh")?,
        })
    }
}

/// `activation(x Gᵀ + b) · (x Uᵀ + c)` of `x [T, K]`: the gate and the up projection of an MLP,
/// `[T, I]` in the dtype of `x`.
///
/// # Errors
/// When libtorch refuses an operation.
pub fn gated(
    [gate, up]: [&Weight; 2],
    biases: Option<&[Tensor; 2]>,
    activation: Activation,
    input: &Tensor,
) -> Result<Tensor> {
    let (Weight::Packed(gate), Weight::Packed(up)) = (gate, up) else {
        let half = |weight: &Weight, idx: usize| -> Result<Tensor> {
            let bias = biases.map(|biases| &biases[idx]);
            let weight = as_plain(weight).expect("both weights are of one kind");
            Ok(input.f_linear(weight, bias)?)
        };
        return Ok(activation.plain(&half(gate, 0)?)?.f_mul(&half(up, 1)?)?);
    };
    let width = gate.num_rows();
    let mut out = Buffer::<bf16>::new(&[input.size()[0], width as i64])?;
    let biases = biases.map_or([&[][..]; 2], |biases| biases.each_ref().map(slice::<f32>));
    packed::for_each_pair([gate, up], slice(input), |piece, ups| {
        let Piece {
            tokens,
            first,
            width: columns,
            values,
        } = piece;
        let biases = biases.map(|bias| &bias[first.min(bias.len())..]);
        let rows = &mut out[tokens.start * width + first..];
        let halves = [values, ups];
        match activation {
            Activation::Silu => {
                gated_product(Silu, halves, tokens.len(), columns, biases, rows, width);
            }
            Activation::GeluTanh => {
                gated_product(GeluTanh, halves, tokens.len(), columns, biases, rows, width);
            }
        }
    })?;
    Ok(out.into_tensor())
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
    /// `out = activation(gate + b) · (up + c)` for rows of `width` numbers, `TILE` apart in both
    /// and `stride` apart in `out`.
    fn gated_product<A: Gate>(activation: A, halves: [&[f32]; 2], rows: usize, width: usize, biases: [&[f32]; 2], out: &mut [bf16], stride: usize) {
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
                    chunk[i] = product(activation, gates[i] + gate_bias[i], ups[i] + up_bias[i]);
                }
            }
            for i in 0..rest.len() {
                rest[i] = product(activation, gate_rest[i] + gate_bias[done][i], up_rest[i] + up_bias[done][i]);
            }
        }
    }
}

/// An activation function as a kernel is compiled for it.
trait Gate: Copy {
    fn of(self, x: f32) -> f32;
}

#[derive(Clone, Copy)]
struct Silu;

#[derive(Clone, Copy)]
struct GeluTanh;

impl Gate for Silu {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        x / (1.0 + simd::exp2(-LOG2_E * x))
    }
}

impl Gate for GeluTanh {
    /// `(1 + tanh u) / 2` is the logistic function of `2u`.
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        const FACTOR: f32 = 2.0 * 0.797_884_6; // 2 √(2/π)
        let twice = FACTOR * x * (0.044_715 * x).mul_add(x, 1.0);
        x / (1.0 + simd::exp2(-LOG2_E * twice))
    }
}

#[inline(always)]
fn product<A: Gate>(activation: A, gate: f32, up: f32) -> bf16 {
    <bf16 as Element>::store(activation.of(gate) * up)
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

    /// Packed layers on every back end against the layers in f32, which are libtorch's.
    #[test]
    fn packed_layers_agree_with_plain_ones() {
        for backend in Backend::available() {
            for (num_tokens, num_rows, depth) in [(1, 1, 2), (130, 100, 64), (5, 48, 32)] {
                for has_bias in [false, true] {
                    for activation in [Activation::Silu, Activation::GeluTanh] {
                        check(backend, [num_tokens, num_rows, depth], has_bias, activation);
                    }
                }
            }
        }
    }

    fn check(backend: Backend, size: [i64; 3], has_bias: bool, activation: Activation) {
        let [num_tokens, num_rows, depth] = size;
        let random = |size: &[i64]| {
            // Rounded, so that both dtypes hold the same numbers.
            Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16)
        };
        let input = random(&[num_tokens, depth]);
        let weights = [random(&[num_rows, depth]), random(&[num_rows, depth])];
        let joined = Tensor::cat(&[random(&[num_rows]), random(&[num_rows])], 0);
        // Biases are f32 beside packed weights, and so they are here in the run that is all f32.
        let joined = joined.to_kind(Kind::Float);
        let biases = [0, 1].map(|idx| joined.narrow(0, idx * num_rows, num_rows));
        let made = |kind: Kind, backend: Option<Backend>| {
            let biases = has_bias.then_some(&biases);
            let weights = weights
                .each_ref()
                .map(|weight| Weight::for_backend(weight.to_kind(kind), backend).unwrap());
            let input = input.to_kind(kind);
            let mut residual = Tensor::ones([num_tokens, num_rows], (Kind::Float, Device::Cpu));
            let first = biases.map(|biases| &biases[0]);
            add_projection(&mut residual, &weights[0], first, &input).unwrap();
            [
                project(&weights, has_bias.then_some(&joined), &input).unwrap(),
                gated([&weights[0], &weights[1]], biases, activation, &input).unwrap(),
                residual,
            ]
        };
        let expected = made(Kind::Float, None);
        for (found, expected) in made(Kind::BFloat16, Some(backend)).iter().zip(expected) {
            let error = (found - &expected).abs() / (expected.abs() + 1.0);
            let error = error.max().double_value(&[]);
            assert!(
                error < 8e-3,
                "{backend:?}, {num_tokens}×{num_rows}×{depth}: {error}"
            );
        }
    }
}
