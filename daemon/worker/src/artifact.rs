//! The artifact's folder: written aside, then renamed, so that it is either whole or not there.

use std::path::Path;

use anyhow::{Context, Result};
use evopress::export;
use evopress::genotype::Genotype;
use evopress_spec::events::Stage;
use evopress_spec::{RunDir, WrittenArtifact, digest_bytes, digest_path};

use crate::database::Databases;
use crate::run::Run;

/// Writes the model unless an earlier attempt has.
pub(crate) fn write(run: &Run, databases: &Databases, genotype: &Genotype) -> Result<()> {
    let Run {
        dir: run_dir,
        source,
        space,
        recorder,
        ..
    } = run;
    let target = run_dir.model();
    if target.exists() {
        return Ok(());
    }
    let temporary = run_dir.path().join("model.tmp");
    let context = || temporary.display().to_string();
    if temporary.exists() {
        std::fs::remove_dir_all(&temporary).with_context(context)?;
    }
    std::fs::create_dir_all(&temporary).with_context(context)?;
    export::huggingface(
        source,
        space,
        &databases.open,
        genotype,
        run.kind,
        &temporary,
        |done, total| {
            recorder.progress(Stage::Stitch, done >> 20, total >> 20, "MiB");
        },
    )?;
    for entry in std::fs::read_dir(&temporary).with_context(context)? {
        std::fs::File::open(entry?.path())
            .and_then(|file| file.sync_all())
            .with_context(context)?;
    }
    std::fs::rename(&temporary, &target).with_context(context)?;
    std::fs::File::open(run_dir.path())
        .and_then(|folder| folder.sync_all())
        .with_context(context)
}

/// Size and digest of the whole folder: SHA-256 over the sorted lines `SHA-256  name`.
pub(crate) fn describe(run_dir: &RunDir) -> Result<WrittenArtifact> {
    let folder = run_dir.model();
    remove_leftovers(&folder)?;
    let mut lines = Vec::new();
    let mut bytes = 0;
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        bytes += path.metadata()?.len();
        lines.push(format!("{}  {}\n", digest_path(&path)?, name(&path)));
    }
    lines.sort_by(|a, b| a[64..].cmp(&b[64..]));
    Ok(WrittenArtifact {
        path: folder.display().to_string(),
        format: "huggingface".into(),
        bytes,
        digest: digest_bytes(lines.concat().as_bytes()),
    })
}

/// A worker that was killed while it wrote the model card has left a temporary file, which is no part of the artifact.
fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if name(&path).starts_with('.') && name(&path).ends_with(".tmp") {
            std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Bytes of the weights files.
pub(crate) fn weight_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
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
