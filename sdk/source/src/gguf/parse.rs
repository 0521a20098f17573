//! The header of a GGUF file, versions 2 and 3: metadata and the list of tensors.
//!
//! Nothing is allocated from a length that was not first compared with what is left of the file.

use std::collections::BTreeMap;
use std::ops::Range;

use evopress_core::text::lfs_pointer;
use evopress_plugin::GgmlType;

use super::value::Value;

pub(super) const MAGIC: &[u8; 4] = b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
/// A tensor entry: name length, number of extents, type and offset at least.
const MIN_TENSOR_BYTES: usize = 8 + 4 + 4 + 8;
/// A metadata entry: key length, type and one byte of value at least.
const MIN_ENTRY_BYTES: usize = 8 + 4 + 1;

/// What precedes the tensors' data.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, Value>,
    /// Where in the file each value is, its type included, in the file's order.
    pub(super) values: Vec<(String, Range<usize>)>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    /// Where in the file the tensors' offsets count from.
    pub(super) data_start: u64,
}

#[derive(Debug)]
pub(super) struct TensorInfo {
    /// Row-major: the reverse of the file's order.
    pub(super) shape: Vec<i64>,
    pub(super) type_id: u32,
    pub(super) offset: u64,
}

impl TensorInfo {
    /// Where the tensor begins and ends, counted from the first one; none where its type is not
    /// known.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        let encoding = GgmlType::from_id(self.type_id)?;
        let numbers = self.shape.iter().product::<i64>() as u64;
        let blocks = numbers / encoding.block_len() as u64;
        let size_bytes = blocks.checked_mul(encoding.block_bytes() as u64)?;
        Some((self.offset, self.offset.checked_add(size_bytes)?))
    }
}

/// Reads the header; the error is a sentence without the file's name.
pub(super) fn parse(bytes: &[u8]) -> Result<Header, String> {
    if let Some(sentence) = lfs_pointer(bytes) {
        return Err(sentence.to_owned());
    }
    let mut cursor = Cursor { bytes, position: 0 };
    let magic = cursor.take(4, "the magic number")?;
    if magic != MAGIC {
        return Err(format!(
            "not a GGUF file: begins with {:?}, expected \"GGUF\"",
            String::from_utf8_lossy(magic)
        ));
    }
    let version = cursor.u32("the version")?;
    if !(2..=3).contains(&version) {
        let hint = if (2..=3).contains(&version.swap_bytes()) {
            " (a big-endian file)"
        } else {
            ""
        };
        return Err(format!(
            "GGUF version {version}{hint} is not supported, only 2 and 3 are"
        ));
    }
    let num_tensors = cursor.count("tensors", MIN_TENSOR_BYTES)?;
    let num_entries = cursor.count("metadata entries", MIN_ENTRY_BYTES)?;
    let mut metadata = BTreeMap::new();
    let mut values = Vec::new();
    for _ in 0..num_entries {
        let key = cursor.string("a metadata key")?;
        let start = cursor.position;
        let type_id = cursor.u32("a metadata type")?;
        let value = cursor.value(type_id, &key)?;
        values.push((key.clone(), start..cursor.position));
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("metadata {key} occurs twice"));
        }
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..num_tensors {
        let name = cursor.string("a tensor name")?;
        let info = cursor.tensor_info(&name)?;
        if tensors.insert(name.clone(), info).is_some() {
            return Err(format!("tensor {name} occurs twice"));
        }
    }
    let alignment = alignment(&metadata)?;
    Ok(Header {
        data_start: (cursor.position as u64).next_multiple_of(alignment),
        metadata,
        values,
        tensors,
    })
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, String> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    match value.as_i64() {
        Some(number @ 1..=65536) if number.count_ones() == 1 => Ok(number as u64),
        _ => Err(format!(
            "general.alignment is {}, expected a power of two up to 65536",
            value.describe()
        )),
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], String> {
        if length > self.remaining() {
            return Err(format!(
                "truncated header: {what} needs {length} bytes at byte {}, the file has {}",
                self.position,
                self.bytes.len()
            ));
        }
        let taken = &self.bytes[self.position..self.position + length];
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A number of things of which each takes at least `min_bytes`.
    fn count(&mut self, what: &str, min_bytes: usize) -> Result<usize, String> {
        let count = self.u64(&format!("the number of {what}"))?;
        let most = self.remaining() / min_bytes;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(format!(
                "truncated or damaged header: {count} {what} at byte {}, the rest of the file has room for {most}",
                self.position - 8
            )),
        }
    }

    fn string(&mut self, what: &str) -> Result<String, String> {
        let length = self.count(&format!("bytes of {what}"), 1)?;
        let start = self.position;
        let bytes = self.take(length, what)?;
        String::from_utf8(bytes.to_vec())
            .map_err(|cause| format!("{what} at byte {start} is not UTF-8: {cause}"))
    }

    fn value(&mut self, type_id: u32, key: &str) -> Result<Value, String> {
        if type_id == 9 {
            let element = self.u32(key)?;
            return self.array_value(element, key);
        }
        Ok(match type_id {
            0 | 2 | 4 | 10 => Value::Unsigned(self.unsigned(type_id, key)?),
            1 | 3 | 5 | 11 => Value::Signed(self.signed(type_id, key)?),
            6 | 12 => Value::Float(self.float(type_id, key)?),
            7 => Value::Bool(self.bool(key)?),
            8 => Value::String(self.string(key)?),
            _ => {
                return Err(format!(
                    "metadata {key} has type {type_id}, expected 0 to 12"
                ));
            }
        })
    }

    fn array_value(&mut self, element: u32, key: &str) -> Result<Value, String> {
        let min_bytes = match element {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            _ => {
                return Err(format!(
                    "metadata {key} is an array of type {element}, expected numbers, booleans or strings"
                ));
            }
        };
        let count = self.count(&format!("elements of {key}"), min_bytes)?;
        Ok(match element {
            0 | 2 | 4 | 10 => {
                Value::Unsigneds(self.collect(count, |cursor| cursor.unsigned(element, key))?)
            }
            1 | 3 | 5 | 11 => {
                Value::Signeds(self.collect(count, |cursor| cursor.signed(element, key))?)
            }
            6 | 12 => Value::Floats(self.collect(count, |cursor| cursor.float(element, key))?),
            7 => Value::Bools(self.collect(count, |cursor| cursor.bool(key))?),
            _ => Value::Strings(self.collect(count, |cursor| cursor.string(key))?),
        })
    }

    fn collect<T>(
        &mut self,
        count: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        (0..count).map(|_| read(self)).collect()
    }

    fn unsigned(&mut self, type_id: u32, what: &str) -> Result<u64, String> {
        Ok(match type_id {
            0 => u64::from(self.array::<1>(what)?[0]),
            2 => u64::from(u16::from_le_bytes(self.array(what)?)),
            4 => u64::from(self.u32(what)?),
            _ => self.u64(what)?,
        })
    }

    fn signed(&mut self, type_id: u32, what: &str) -> Result<i64, String> {
        Ok(match type_id {
            1 => i64::from(i8::from_le_bytes(self.array(what)?)),
            3 => i64::from(i16::from_le_bytes(self.array(what)?)),
            5 => i64::from(i32::from_le_bytes(self.array(what)?)),
            _ => i64::from_le_bytes(self.array(what)?),
        })
    }

    fn float(&mut self, type_id: u32, what: &str) -> Result<f64, String> {
        Ok(match type_id {
            6 => short_decimal(f32::from_le_bytes(self.array(what)?)),
            _ => f64::from_le_bytes(self.array(what)?),
        })
    }

    fn bool(&mut self, what: &str) -> Result<bool, String> {
        match self.array::<1>(what)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!(
                "metadata {what} is the boolean {other}, expected 0 or 1"
            )),
        }
    }

    fn tensor_info(&mut self, name: &str) -> Result<TensorInfo, String> {
        let rank = self.u32(name)?;
        if !(1..=4).contains(&rank) {
            return Err(format!("tensor {name} has {rank} extents, expected 1 to 4"));
        }
        let mut shape = Vec::new();
        let mut numel = 1_i64;
        for _ in 0..rank {
            let extent = self.u64(name)?;
            let product = i64::try_from(extent)
                .ok()
                .filter(|&extent| extent > 0)
                .and_then(|extent| numel.checked_mul(extent));
            numel = product.ok_or_else(|| format!("tensor {name} has an extent of {extent}"))?;
            shape.push(extent as i64);
        }
        shape.reverse();
        Ok(TensorInfo {
            shape,
            type_id: self.u32(name)?,
            offset: self.u64(name)?,
        })
    }
}

/// The f64 nearest to the shortest decimal of an f32: 1e-5 stays 1e-5 and does not become
/// 9.999999747378752e-6.
fn short_decimal(number: f32) -> f64 {
    format!("{number:e}").parse().unwrap_or(f64::from(number))
}
