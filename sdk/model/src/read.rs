//! Tensors of a model's files as libtorch's.

use evopress_plugin::DType;
use evopress_source::{Source, StoredTensor};
use evopress_tensor::{Weight, from_bytes};
use tch::{Device, Kind, Tensor};

use crate::error::{ModelError, Result};

/// What is read of tensors that take less stays in memory with the file's other pages.
const LARGE_BYTES: usize = 1 << 20;

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
    release_after(&stored, source);
    Ok(tensor?)
}

/// A tensor by its Hugging Face name, part after part: rows of a matrix that can be read by rows,
/// else all at once. Each is as [`read_tensor`] would give it.
///
/// # Errors
/// When the model has no such tensor.
pub fn read_parts<'a>(source: &'a Source, name: &str) -> Result<Parts<'a>> {
    Ok(Parts {
        stored: source.read(name)?,
        source,
        next_row: 0,
    })
}

/// The parts of a tensor.
pub struct Parts<'a> {
    source: &'a Source,
    stored: StoredTensor<'a>,
    next_row: i64,
}

impl Parts<'_> {
    /// Shape of the whole tensor.
    pub fn size(&self) -> &[i64] {
        self.stored.shape()
    }

    /// How many there are.
    pub fn num_parts(&self) -> usize {
        let num_rows = self.num_rows();
        (num_rows as usize).div_ceil(self.rows_at_once().max(1) as usize)
    }

    fn num_rows(&self) -> i64 {
        self.size().first().copied().unwrap_or(1)
    }

    fn rows_at_once(&self) -> i64 {
        const NUMBERS: i64 = 1 << 22;
        match self.stored.has_rows() {
            true => (NUMBERS / self.size()[1].max(1)).max(1),
            false => self.num_rows(),
        }
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Tensor>;

    fn next(&mut self) -> Option<Result<Tensor>> {
        let first = self.next_row;
        let count = self.rows_at_once().min(self.num_rows() - first);
        if count <= 0 {
            return None;
        }
        if first > 0 {
            release_after(&self.stored, self.source);
        }
        self.next_row += count;
        let kind = kind_of(self.stored.dtype());
        let part = match self.stored.has_rows() {
            true => from_bytes(kind, &[count, self.size()[1]], |bytes| {
                self.stored.write_rows_from(first as usize, bytes);
            }),
            false => from_bytes(kind, self.size(), |bytes| self.stored.write_to(bytes)),
        };
        Some(part.map_err(ModelError::from))
    }
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        release_after(&self.stored, self.source);
    }
}

/// Nobody reads a large tensor of the file again soon.
fn release_after(stored: &StoredTensor<'_>, source: &Source) {
    if stored.size_bytes() >= LARGE_BYTES {
        source.release();
    }
}

/// A linear weight `[N, K]` for products of a run in `kind` on `device`.
///
/// # Errors
/// As [`read_tensor`].
pub(crate) fn read_weight(
    source: &Source,
    name: &str,
    kind: Kind,
    device: Device,
) -> Result<Weight> {
    let stored = source.read(name)?;
    let &[num_rows, depth] = stored.shape() else {
        return Ok(Weight::new(read_tensor(source, name)?.f_to_kind(kind)?)?);
    };
    if !stored.has_rows() {
        let whole = read_tensor(source, name)?.f_to_kind(kind)?;
        return Ok(Weight::new(whole.f_to_device(device)?.f_contiguous()?)?);
    }
    Weight::of_parts([num_rows, depth], kind, device, |first, count| {
        let size = [count, depth];
        let rows = from_bytes(kind_of(stored.dtype()), &size, |bytes| {
            stored.write_rows_from(first as usize, bytes);
        })?;
        release_after(&stored, source);
        Ok(rows.f_to_kind(kind)?)
    })
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
