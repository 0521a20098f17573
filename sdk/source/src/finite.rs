//! Whether all numbers of a model's tensors are numbers: of NaN and infinities nothing is computed.

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::thread;
use std::time::Instant;

use evopress_plugin::{DType, GgmlType};

use crate::error::SourceError;
use crate::gguf::{self, GgufFile};
use crate::numbers::{Numbers, TensorInFile};
use crate::source::{Files, Source, gguf_name};
use crate::spec::TensorSpec;

/// The name of what [`Source::check_numbers`] does, for records of what has passed it.
pub const NUMBERS_CHECK: &str = "finite numbers 1";

impl Source {
    /// Scans all numbers of the model's tensors, and the scales of those that are quantized. It
    /// reads all of the files, or as much as it can until a moment. Returns whether it has seen
    /// all.
    ///
    /// # Errors
    /// The first tensor with a number that is NaN or infinite, and the first such number.
    pub fn check_numbers(&self, until: Option<Instant>) -> Result<bool, SourceError> {
        let tensors = self.tensors_in_files()?;
        let num_threads = thread::available_parallelism().map_or(1, usize::from);
        let in_a_part = tensors.len().div_ceil(num_threads).max(1);
        thread::scope(|scope| {
            let parts = tensors.chunks(in_a_part);
            let running = parts.map(|part| scope.spawn(move || self.scan_part(part, until)));
            let running: Vec<_> = running.collect();
            let mut has_seen_all = true;
            for part in running {
                has_seen_all &= part
                    .join()
                    .unwrap_or_else(|payload| resume_unwind(payload))?;
            }
            Ok(has_seen_all)
        })
    }

    /// The tensors of the files that hold floats of the model, each once.
    fn tensors_in_files(&self) -> Result<Vec<TensorInFile<'_>>, SourceError> {
        let mut names = HashSet::new();
        let mut tensors = Vec::new();
        for tensor in &self.tensors {
            match &self.files {
                Files::Folder(folder) => {
                    for name in folder.names_of(tensor) {
                        if let Some(found) = folder.in_file(&name)
                            && names.insert(name)
                        {
                            tensors.push(found);
                        }
                    }
                }
                Files::Gguf(gguf) => {
                    let found = self.in_gguf_file(gguf, tensor)?;
                    if names.insert(found.name.clone()) {
                        tensors.push(found);
                    }
                }
            }
        }
        Ok(tensors)
    }

    /// The tensor of a GGUF file that a tensor is, or lies in.
    fn in_gguf_file<'a>(
        &self,
        gguf: &'a GgufFile,
        expected: &TensorSpec,
    ) -> Result<TensorInFile<'a>, SourceError> {
        let name = gguf_name(&self.spec, expected);
        let (shape, (ggml_type, bytes)) = match gguf::stored(&self.spec, expected) {
            Some(stored) => {
                let bytes = gguf.bytes(&name, &expected.name, &stored.shape)?;
                (stored.shape.clone(), bytes)
            }
            None => (expected.shape.clone(), self.gguf_bytes(gguf, expected)?),
        };
        Ok(TensorInFile {
            file: gguf.file_of(&name),
            name,
            shape,
            numbers: match ggml_type {
                GgmlType::F32 => Numbers::Floats(DType::F32, bytes),
                GgmlType::F16 => Numbers::Floats(DType::F16, bytes),
                GgmlType::Bf16 => Numbers::Floats(DType::Bf16, bytes),
                _ => Numbers::Blocks(ggml_type, bytes),
            },
        })
    }

    /// Scans some tensors until a moment. Returns whether it has seen all.
    fn scan_part(
        &self,
        tensors: &[TensorInFile<'_>],
        until: Option<Instant>,
    ) -> Result<bool, SourceError> {
        for tensor in tensors {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(false);
            }
            if let Some(mistake) = tensor.mistake() {
                return Err(mistake);
            }
            self.release();
        }
        Ok(true)
    }
}
