//! What is on disk: size and digest of the artifacts that were written.

use std::path::Path;

use anyhow::{Context, Result};
use evopress_core::{digest_bytes, digest_path};
use evopress_spec::WrittenArtifact;

use crate::artifact_layout::ArtifactLayout;

/// Size and digest of every artifact. The digest of a folder is SHA-256 over the sorted lines
/// `SHA-256  name` of the files in it but the GGUF file; folders in it are other artifacts.
pub(super) fn describe(layout: &ArtifactLayout) -> Result<Vec<WrittenArtifact>> {
    for folder in layout.card_folders() {
        remove_leftovers(&folder)?;
    }
    layout
        .formats()
        .map(|format| {
            let path = layout.path(format);
            let (bytes, digest) = match format.is_folder() {
                true => describe_folder(&path)?,
                false => (path.metadata()?.len(), digest_path(&path)?),
            };
            Ok(WrittenArtifact {
                path: path.display().to_string(),
                format: format.to_string(),
                bytes,
                digest,
            })
        })
        .collect()
}

fn describe_folder(folder: &Path) -> Result<(u64, String)> {
    let mut lines = Vec::new();
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if is_gguf(&path) || path.is_dir() {
            continue;
        }
        bytes += path.metadata()?.len();
        lines.push(format!("{}  {}\n", digest_path(&path)?, name(&path)));
    }
    lines.sort_by(|a, b| a[64..].cmp(&b[64..]));
    Ok((bytes, digest_bytes(lines.concat().as_bytes())))
}

fn is_gguf(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "gguf")
}

/// A worker that was killed while it wrote the model card has left a temporary file, which is no
/// part of the artifact.
fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if name(&path).starts_with('.') && name(&path).ends_with(".tmp") {
            std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Bytes of the weights files of the first artifact.
pub(super) fn weight_bytes(layout: &ArtifactLayout) -> Result<u64> {
    let first = layout.formats().next().unwrap_or_default();
    let folder = match first.is_folder() {
        true => layout.path(first),
        false => layout.folder().to_owned(),
    };
    let mut bytes = 0;
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let is_weights = match first.is_folder() {
            true => path.extension().is_some_and(|it| it == "safetensors"),
            false => is_gguf(&path),
        };
        if is_weights {
            bytes += path.metadata()?.len();
        }
    }
    Ok(bytes)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
