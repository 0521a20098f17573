//! The folder of the artifacts: written aside, then renamed, so that it is either whole or not there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use evopress::export;
use evopress::genotype::Genotype;
use evopress_spec::events::Stage;
use evopress_spec::{ArtifactFormat, WrittenArtifact, digest_bytes, digest_path};

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
    for format in formats(run) {
        let progress = |done: u64, total: u64| {
            recorder.progress(Stage::Stitch, done >> 20, total >> 20, "MiB");
        };
        match format {
            ArtifactFormat::Huggingface => export::huggingface(
                source,
                space,
                &databases.open,
                genotype,
                run.kind,
                &temporary,
                progress,
            )?,
            ArtifactFormat::Gguf => export::gguf::write(
                source,
                space,
                &databases.open,
                genotype,
                run.kind,
                &path(&temporary, &run.plan.name, format),
                progress,
            )?,
        };
    }
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

/// The formats of a run's artifacts, in the order of the spec.
pub(crate) fn formats(run: &Run) -> impl Iterator<Item = ArtifactFormat> {
    run.plan.artifacts.iter().map(|artifact| artifact.format)
}

/// Where an artifact is in the run's `model` folder: the folder itself, or a file in it.
pub(crate) fn path(folder: &Path, name: &str, format: ArtifactFormat) -> PathBuf {
    match format {
        ArtifactFormat::Huggingface => folder.to_path_buf(),
        ArtifactFormat::Gguf => folder.join(format!("{name}.gguf")),
    }
}

/// Size and digest of every artifact. That of a folder is SHA-256 over the sorted lines `SHA-256  name` of its files but the GGUF file.
pub(crate) fn describe(run: &Run) -> Result<Vec<WrittenArtifact>> {
    let folder = run.dir.model();
    remove_leftovers(&folder)?;
    formats(run)
        .map(|format| {
            let path = path(&folder, &run.plan.name, format);
            let (bytes, digest) = match format {
                ArtifactFormat::Huggingface => describe_folder(&folder)?,
                ArtifactFormat::Gguf => (path.metadata()?.len(), digest_path(&path)?),
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
        if is_gguf(&path) {
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

/// Bytes of the weights files of the first artifact.
pub(crate) fn weight_bytes(run: &Run) -> Result<u64> {
    let folder = run.dir.model();
    let is_file = formats(run).next() == Some(ArtifactFormat::Gguf);
    let mut bytes = 0;
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let is_weights = match is_file {
            true => is_gguf(&path),
            false => path.extension().is_some_and(|it| it == "safetensors"),
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
