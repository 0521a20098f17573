//! One safetensors file, written tensor after tensor and part after part: the library of the format
//! wants each tensor whole in memory, and an embedding is the largest of a model.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{ExportError, Result};
use crate::file_tensor::FileTensor;

/// Writes `tensors` to a new file at `path`, in the order that the library has: by dtype, then by
/// name. `written` is told the bytes of each part.
pub(super) fn write(
    path: &Path,
    tensors: &[&FileTensor<'_>],
    mut written: impl FnMut(usize),
) -> Result<()> {
    let mut tensors = tensors.to_vec();
    tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then(a.name.cmp(&b.name)));
    let failed = |error: std::io::Error| ExportError::io(path)(error);
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    let header = header(&tensors);
    let length = header.len() as u64;
    file.write_all(&length.to_le_bytes()).map_err(failed)?;
    file.write_all(header.as_bytes()).map_err(failed)?;
    for tensor in tensors {
        let mut left = tensor.num_bytes();
        (tensor.bytes)(&mut |part| {
            file.write_all(part).map_err(failed)?;
            left = left.saturating_sub(part.len());
            written(part.len());
            Ok(())
        })?;
        assert_eq!(left, 0, "{} is as long as its shape says", tensor.name);
    }
    let file = file
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

/// The JSON of the header, padded to whole words.
fn header(tensors: &[&FileTensor<'_>]) -> String {
    let mut fields = Map::new();
    fields.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.num_bytes();
        let field =
            json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end]});
        fields.insert(tensor.name.clone(), field);
        start = end;
    }
    let mut header = Value::Object(fields).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    header
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    /// Byte for byte what the library writes.
    #[test]
    fn files_are_the_librarys() {
        let numbers: &[u8] = &(0..48).collect::<Vec<u8>>();
        let shapes = [
            ("b.weight", Dtype::BF16, vec![3, 4], 24),
            ("a.scales", Dtype::F16, vec![5], 10),
            ("c.zeros", Dtype::I32, vec![2, 3], 24),
            ("a.weight", Dtype::BF16, vec![1], 2),
        ];
        let tensors: Vec<FileTensor<'_>> = shapes
            .iter()
            .map(|(name, dtype, shape, length)| FileTensor {
                name: (*name).into(),
                dtype: *dtype,
                shape: shape.clone(),
                bytes: Box::new(move |sink| {
                    let (first, rest) = numbers[..*length].split_at(length / 2);
                    sink(first)?;
                    sink(rest)
                }),
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut total = 0;
        write(&path, &tensors.iter().collect::<Vec<_>>(), |bytes| {
            total += bytes;
        })
        .unwrap();
        assert_eq!(total, 60);
        let views = shapes.iter().map(|(name, dtype, shape, length)| {
            let view = TensorView::new(*dtype, shape.clone(), &numbers[..*length]);
            (*name, view.unwrap())
        });
        let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
        let expected = safetensors::serialize(views, metadata).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }
}
