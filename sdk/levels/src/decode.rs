//! From packed bytes to a weight in the run's dtype: row by row on the CPU, by tensor operations on
//! a GPU.

use evopress_plugin::{DType, Decoder, Encoding, PackedWeight};
use evopress_tensor::from_rows;
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::file::LayerFile;

/// The weight `[N, K]` of a variant.
pub(crate) fn weight(
    file: &LayerFile,
    variant_idx: usize,
    kind: Kind,
    device: Device,
) -> Result<Tensor> {
    match device {
        Device::Cpu => by_row(file, variant_idx, kind),
        // Blocks have one decoder, which is the CPU's.
        _ if matches!(file.variant(variant_idx).encoding, Encoding::Ggml { .. }) => {
            Ok(by_row(file, variant_idx, kind)?.f_to_device(device)?)
        }
        _ => by_tensor(file, variant_idx, device)?
            .f_to_kind(kind)
            .map_err(Into::into),
    }
}

/// The weight `[N, K]` of parts that are not in a file yet, in f32 on the CPU.
pub(crate) fn packed(
    weight: &PackedWeight,
    encoding: &Encoding,
    (rows, columns): (usize, usize),
) -> Result<Tensor> {
    let parts = weight.parts.iter().map(|part| part.bytes()).collect();
    let decoder = Decoder::new(encoding, rows, columns, parts)?;
    let decoded = from_rows((rows, columns), Kind::Float, |row, out| {
        decoder.row(row, out)
    });
    Ok(decoded?)
}

fn by_row(file: &LayerFile, variant_idx: usize, kind: Kind) -> Result<Tensor> {
    let decoder = file.decoder(variant_idx)?;
    Ok(from_rows(file.shape(), kind, |row, out| {
        decoder.row(row, out);
    })?)
}

/// The weight in f32 by libtorch's operators: only packed bytes travel to the device.
fn by_tensor(file: &LayerFile, variant_idx: usize, device: Device) -> Result<Tensor> {
    let (rows, columns) = file.shape();
    let (rows, columns) = (rows as i64, columns as i64);
    let parts = file.parts(variant_idx);
    let bytes = |part: &[u8]| -> Result<Tensor> {
        Ok(Tensor::f_from_slice(part)?
            .f_view([rows, -1])?
            .f_to_device(device)?)
    };
    match file.variant(variant_idx).encoding {
        Encoding::Quantized {
            bits,
            group_size,
            symmetric,
        } => {
            let groups = columns / i64::from(group_size);
            let codes = unpack(&bytes(parts[0])?, bits, columns)?;
            let scales = floats(parts[1], DType::F16, device)?.f_view([rows, groups, 1])?;
            let codes = codes.f_view([rows, groups, group_size.into()])?;
            let shifted = match symmetric {
                true => codes.f_sub_scalar(i64::from(1_u16 << (bits - 1)))?,
                false => {
                    let zeros = unpack(&bytes(parts[2])?, bits, groups)?;
                    codes.f_sub(&zeros.f_view([rows, groups, 1])?)?
                }
            };
            Ok(shifted
                .f_to_kind(Kind::Float)?
                .f_mul(&scales)?
                .f_view([rows, columns])?)
        }
        Encoding::Sparse { dtype, .. } => {
            let is_kept = unpack(&bytes(parts[0])?, 1, columns)?.f_to_kind(Kind::Bool)?;
            let values = floats(parts[1], dtype, device)?;
            let zeros = Tensor::f_zeros([rows, columns], (Kind::Float, device))?;
            Ok(zeros.f_masked_scatter(&is_kept, &values)?)
        }
        ref other => unreachable!("`Encoding::check` let {other:?} pass, which is not known here"),
    }
}

/// Little-endian floats as f32.
fn floats(bytes: &[u8], dtype: DType, device: Device) -> Result<Tensor> {
    let kind = match dtype {
        DType::F16 => Kind::Half,
        DType::Bf16 => Kind::BFloat16,
        _ => Kind::Float,
    };
    let size = [(bytes.len() / kind.elt_size_in_bytes()) as i64];
    let tensor = Tensor::f_from_data_size(bytes, &size, kind)?;
    Ok(tensor.f_to_device(device)?.f_to_kind(Kind::Float)?)
}

/// Rows of `count` numbers of `bits` bits out of rows of bytes, as int32.
fn unpack(bytes: &Tensor, bits: u8, count: i64) -> Result<Tensor> {
    let bits = i64::from(bits);
    let options = (Kind::Int64, bytes.device());
    let first = Tensor::f_arange(count, options)?.f_mul_scalar(bits)?;
    let index = first.f_floor_divide_scalar(8)?;
    let shift = first.f_remainder(8)?.f_to_kind(Kind::Int)?;
    // A number may reach into the next byte; behind the last one there is none.
    let last = bytes.size()[1] - 1;
    let byte = |index: &Tensor| bytes.f_index_select(1, index)?.f_to_kind(Kind::Int);
    let low = byte(&index)?;
    let high = byte(&index.f_add_scalar(1)?.f_clamp_max(last)?)?;
    let window = low.f_add(&high.f_mul_scalar(256)?)?;
    Ok(window
        .f_bitwise_right_shift(&shift)?
        .f_bitwise_and(i64::from((1_u16 << bits) - 1))?)
}

#[cfg(test)]
mod tests {
    use evopress_plugin::{OwnedTensor, Variant, pack_codes, pack_sparse};

    use half::bf16;

    use super::*;
    use crate::file::{self, Measured};

    fn both_ways(encoding: Encoding, parts: Vec<OwnedTensor>, shape: (usize, usize)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layer.safetensors");
        let variants = [Variant {
            name: "variant".into(),
            encoding,
        }];
        let (rows, columns) = (shape.0 as u64, shape.1 as u64);
        let weights = [PackedWeight { parts }];
        let bytes = file::serialize((rows, columns), &variants, &weights, &Measured::default());
        std::fs::write(&path, bytes.unwrap()).unwrap();
        let file = LayerFile::open(&path, shape, &variants).unwrap();
        let rows = by_row(&file, 0, Kind::Float).unwrap();
        let tensors = by_tensor(&file, 0, Device::Cpu).unwrap();
        assert_eq!(rows.size(), [shape.0 as i64, shape.1 as i64]);
        assert!(rows.abs().max().double_value(&[]) > 0.0);
        assert_eq!((&rows - &tensors).abs().max().double_value(&[]), 0.0);
        let rounded = by_row(&file, 0, Kind::BFloat16).unwrap();
        assert_eq!(rounded, rows.to_kind(Kind::BFloat16));
    }

    #[test]
    fn rows_and_tensors_decode_the_same() {
        let (rows, columns) = (6_usize, 24_usize);
        for bits in [2, 3, 4, 5, 8_u8] {
            for symmetric in [false, true] {
                let codes: Vec<u8> = (0..rows * columns)
                    .map(|i| (i * 5 % (1 << bits)) as u8)
                    .collect();
                let groups = 3;
                let zeros: Vec<u8> = codes[..rows * groups].to_vec();
                let scales: Vec<half::f16> = (0..rows * groups)
                    .map(|i| half::f16::from_f32(0.01 * (i + 1) as f32))
                    .collect();
                let packed = pack_codes(&codes, bits, columns);
                let packed_zeros = pack_codes(&zeros, bits, groups);
                let (r, bytes) = (rows as i64, |v: &Vec<u8>| (v.len() / rows) as i64);
                let mut parts = vec![
                    OwnedTensor::from_vec(packed.clone(), &[r, bytes(&packed)]).unwrap(),
                    OwnedTensor::from_vec(scales, &[r, groups as i64]).unwrap(),
                ];
                if !symmetric {
                    let shape = [r, bytes(&packed_zeros)];
                    parts.push(OwnedTensor::from_vec(packed_zeros, &shape).unwrap());
                }
                let encoding = Encoding::Quantized {
                    bits,
                    group_size: (columns / groups) as u32,
                    symmetric,
                };
                both_ways(encoding, parts, (rows, columns));
            }
        }
        let weights: Vec<bf16> = (0..rows * columns)
            .map(|i| bf16::from_f32(i as f32 - 50.0))
            .collect();
        let is_kept: Vec<bool> = (0..rows * columns).map(|i| i % 3 == 1).collect();
        let (mask, values) = pack_sparse(&weights, &is_kept, columns, 48).unwrap();
        let parts = vec![
            OwnedTensor::from_vec(mask, &[rows as i64, 3]).unwrap(),
            OwnedTensor::from_vec(values, &[48]).unwrap(),
        ];
        let encoding = Encoding::Sparse {
            num_values: 48,
            dtype: DType::Bf16,
        };
        both_ways(encoding, parts, (rows, columns));
    }
}
