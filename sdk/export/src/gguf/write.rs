//! The bytes of a GGUF file, version 3: header, metadata, the list of tensors, then their data,
//! each at a multiple of 32 bytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::tensors::Tensors;
use crate::error::{ExportError, Result};
use evopress_source::gguf::{Entries, push_string};

const VERSION: u32 = 3;
const ALIGNMENT: u64 = 32;

pub(super) fn write(
    entries: &Entries,
    tensors: &Tensors<'_>,
    file: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.tmp"));
    let failed = || ExportError::io(&temporary);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&temporary).map_err(failed())?);
    let head = head(entries, tensors);
    out.write_all(&head).map_err(failed())?;
    let total = tensors.size_bytes();
    let mut done = 0;
    for tensor in tensors.iter() {
        let bytes = tensors.bytes(tensor)?;
        if bytes.len() as u64 != tensor.size_bytes() {
            return Err(ExportError::Damaged {
                path: file.to_path_buf(),
                reason: format!(
                    "tensor {} of type {} has {} bytes, expected {}",
                    tensor.name,
                    tensor.ggml_type,
                    bytes.len(),
                    tensor.size_bytes()
                ),
            });
        }
        out.write_all(&bytes).map_err(failed())?;
        let padding = bytes.len().next_multiple_of(ALIGNMENT as usize) - bytes.len();
        out.write_all(&vec![0; padding]).map_err(failed())?;
        done += bytes.len() as u64;
        progress(done, total);
    }
    let written = out
        .into_inner()
        .map_err(|error| failed()(error.into_error()))?;
    written.sync_all().map_err(failed())?;
    std::fs::rename(&temporary, file).map_err(ExportError::io(file))?;
    let folder_file = File::open(folder).map_err(ExportError::io(folder))?;
    folder_file.sync_all().map_err(ExportError::io(folder))
}

/// All that precedes the data.
fn head(entries: &Entries, tensors: &Tensors<'_>) -> Vec<u8> {
    let mut head = b"GGUF".to_vec();
    head.extend(VERSION.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((entries.len() as u64).to_le_bytes());
    head.extend(entries.to_bytes());
    let mut offset = 0_u64;
    for tensor in tensors.iter() {
        push_string(&mut head, &tensor.name);
        let extents = tensor.extents();
        head.extend((extents.len() as u32).to_le_bytes());
        // The fastest extent first.
        for extent in extents.iter().rev() {
            head.extend((*extent as u64).to_le_bytes());
        }
        head.extend(tensor.ggml_type.id().to_le_bytes());
        head.extend(offset.to_le_bytes());
        offset = (offset + tensor.size_bytes()).next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
    head
}
