//! Linear layers on the device that they were made for: packed where the CPU has bf16 units, libtorch's elsewhere.

use std::f32::consts::LOG2_E;

use half::bf16;
use tch::{Kind, Tensor};

use super::packed::{PackedWeight, Piece, TILE};
use super::simd::{self, Element, VECTOR, simd_fn};
use super::{has_packed_products, slice, slice_mut};
use crate::error::Result;

/// `x ↦ x Wᵀ + b` with `W [N, K]` and, maybe, `b [N]`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

#[derive(Debug)]
enum Weight {
    Plain(Tensor),
    Packed(PackedWeight),
}

impl Linear {
    /// Takes a weight in the dtype of the run, and a bias in any.
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let is_packed = has_packed_products(weight.kind(), weight.device(), weight.size()[1]);
        let bias_kind = if is_packed {
            Kind::Float
        } else {
            weight.kind()
        };
        Ok(Self {
            bias: bias.map(|bias| bias.f_to_kind(bias_kind)).transpose()?,
            weight: if is_packed {
                Weight::Packed(PackedWeight::new(&weight)?)
            } else {
                Weight::Plain(weight)
            },
        })
    }

    /// Another handle to the same layer, for another thread.
    pub(crate) fn share(&self) -> Self {
        Self {
            weight: match &self.weight {
                Weight::Plain(weight) => Weight::Plain(weight.shallow_clone()),
                Weight::Packed(weight) => Weight::Packed(weight.share()),
            },
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
        }
    }

    /// `x Wᵀ + b` of `x [T, K]`, `[T, N]` in the dtype of `x`.
    pub(crate) fn apply(&self, input: &Tensor) -> Result<Tensor> {
        let weight = match &self.weight {
            Weight::Plain(weight) => return Ok(input.f_linear(weight, self.bias.as_ref())?),
            Weight::Packed(weight) => weight,
        };
        let width = weight.num_rows();
        let mut out = Tensor::f_empty(
            [input.size()[0], width as i64],
            (Kind::BFloat16, input.device()),
        )?;
        let (result, bias) = (slice_mut::<bf16>(&mut out), self.bias());
        weight.for_each_piece(slice(input), |piece| {
            let bias = &bias[piece.first.min(bias.len())..];
            let rows = &mut result[piece.tokens.start * width..];
            store(
                piece.values,
                piece.tokens.len(),
                piece.width,
                bias,
                &mut rows[piece.first..],
                width,
            );
        })?;
        Ok(out)
    }

    /// `residual += x Wᵀ + b` of `x [T, K]`, in the f32 of `residual [T, N]`.
    pub(crate) fn add_to(&self, residual: &mut Tensor, input: &Tensor) -> Result<()> {
        match &self.weight {
            Weight::Plain(weight) => {
                let _ = residual.f_add_(&input.f_linear(weight, self.bias.as_ref())?)?;
            }
            Weight::Packed(weight) => {
                if let Some(bias) = &self.bias {
                    let _ = residual.f_add_(bias)?;
                }
                weight.product(slice(input), slice_mut(residual), true);
            }
        }
        Ok(())
    }

    fn bias(&self) -> &[f32] {
        self.bias.as_ref().map_or(&[], slice)
    }
}

/// `x ↦ silu(x Gᵀ) · (x Uᵀ)`: the gate and the up projection of an MLP as one product.
#[derive(Debug)]
pub(crate) struct GatedLinear(Linear);

impl GatedLinear {
    /// Takes both weights `[I, K]`, and both biases or none.
    pub(crate) fn new(weights: &[Tensor; 2], biases: Option<&[Tensor; 2]>) -> Result<Self> {
        let [gate, up] = weights;
        let is_packed = has_packed_products(gate.kind(), gate.device(), gate.size()[1]);
        let join = |[gate, up]: [&Tensor; 2]| -> Result<Tensor> {
            if !is_packed {
                return Ok(Tensor::f_cat(&[gate, up], 0)?);
            }
            // Half a tile of gates, then the ups that belong to them: a piece has both.
            let (gates, ups) = (gate.f_split(HALF as i64, 0)?, up.f_split(HALF as i64, 0)?);
            let halves: Vec<&Tensor> = gates.iter().zip(&ups).flat_map(|(g, u)| [g, u]).collect();
            Ok(Tensor::f_cat(&halves, 0)?)
        };
        let bias = match biases {
            Some([gate, up]) => Some(join([gate, up])?),
            None => None,
        };
        Ok(Self(Linear::new(join([gate, up])?, bias)?))
    }

    /// Another handle to the same layer, for another thread.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.share())
    }

    /// `silu(x Gᵀ) · (x Uᵀ)` of `x [T, K]`, `[T, I]` in the dtype of `x`.
    pub(crate) fn apply(&self, input: &Tensor) -> Result<Tensor> {
        let Weight::Packed(weight) = &self.0.weight else {
            let halves = self.0.apply(input)?.f_chunk(2, -1)?;
            return Ok(halves[0].f_silu()?.f_mul(&halves[1])?);
        };
        let width = weight.num_rows() / 2;
        let mut out = Tensor::f_empty(
            [input.size()[0], width as i64],
            (Kind::BFloat16, input.device()),
        )?;
        let (result, bias) = (slice_mut::<bf16>(&mut out), self.0.bias());
        weight.for_each_piece(slice(input), |piece| {
            let Piece {
                tokens,
                first,
                width: columns,
                values,
            } = piece;
            let bias = &bias[first.min(bias.len())..];
            let rows = &mut result[tokens.start * width..];
            swiglu(
                values,
                tokens.len(),
                columns / 2,
                bias,
                &mut rows[first / 2..],
                width,
            );
        })?;
        Ok(out)
    }
}

const HALF: usize = TILE / 2;

simd_fn! {
    /// `out = values + bias` for rows of `width` numbers, `TILE` apart in `values` and `stride` apart in `out`.
    fn store(values: &[f32], rows: usize, width: usize, bias: &[f32], out: &mut [bf16], stride: usize) {
        let bias = padded(&bias[..width.min(bias.len())]);
        for (row, values) in values.chunks_exact(TILE).take(rows).enumerate() {
            let (chunks, rest) = out[row * stride..][..width].as_chunks_mut::<VECTOR>();
            let done = chunks.len() * VECTOR;
            for ((chunk, values), bias) in chunks.iter_mut().zip(values.as_chunks::<VECTOR>().0).zip(&bias) {
                for i in 0..VECTOR {
                    chunk[i] = <bf16 as Element>::store(values[i] + bias[i]);
                }
            }
            for ((result, &value), &bias) in rest.iter_mut().zip(&values[done..]).zip(&bias.as_flattened()[done..]) {
                *result = <bf16 as Element>::store(value + bias);
            }
        }
    }
}

simd_fn! {
    /// `out = silu(gate) · up` for rows of `width` gates and `width` ups, `TILE` apart in `values` and `stride` apart in `out`.
    fn swiglu(values: &[f32], rows: usize, width: usize, bias: &[f32], out: &mut [bf16], stride: usize) {
        let (gate_bias, up_bias) = bias.split_at(width.min(bias.len()));
        let (gate_bias, up_bias) = (padded(gate_bias), padded(&up_bias[..gate_bias.len()]));
        for (row, values) in values.chunks_exact(TILE).take(rows).enumerate() {
            let (gates, ups) = values[..2 * width].split_at(width);
            let (chunks, rest) = out[row * stride..][..width].as_chunks_mut::<VECTOR>();
            let (gate_chunks, gate_rest) = gates.as_chunks::<VECTOR>();
            let (up_chunks, up_rest) = ups.as_chunks::<VECTOR>();
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
    use tch::Device;

    use super::*;

    /// Against the same layers in f32, which are libtorch's.
    #[test]
    fn packed_layers_agree_with_plain_ones() {
        for (num_tokens, num_rows, depth) in [(1, 1, 2), (130, 100, 64), (5, 48, 32)] {
            let random = |rows: i64, columns: i64| {
                let size = if columns == 0 {
                    vec![rows]
                } else {
                    vec![rows, columns]
                };
                // Rounded, so that both dtypes hold the same numbers.
                Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16)
            };
            let (input, weights) = (
                random(num_tokens, depth),
                [random(num_rows, depth), random(num_rows, depth)],
            );
            for biases in [None, Some([random(num_rows, 0), random(num_rows, 0)])] {
                let made = |kind: Kind| {
                    let cast = |pair: &[Tensor; 2]| pair.each_ref().map(|t| t.to_kind(kind));
                    let (weights, biases) = (cast(&weights), biases.as_ref().map(cast));
                    let bias = biases.as_ref().map(|biases| biases[0].shallow_clone());
                    let linear = Linear::new(weights[0].shallow_clone(), bias).unwrap();
                    let gated = GatedLinear::new(&weights, biases.as_ref()).unwrap();
                    let input = input.to_kind(kind);
                    let mut residual =
                        Tensor::ones([num_tokens, num_rows], (Kind::Float, Device::Cpu));
                    linear.add_to(&mut residual, &input).unwrap();
                    [
                        linear.apply(&input).unwrap(),
                        gated.apply(&input).unwrap(),
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
