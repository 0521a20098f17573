//! The folder of the artifacts: written aside, then renamed, so that it is either whole or not there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use evopress::export;
use evopress::export::packed::PackedFormat;
use evopress::genotype::Genotype;
use evopress_spec::events::Stage;
use evopress_spec::{ArtifactFormat, Plan, WrittenArtifact, digest_bytes, digest_path};

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
        let path = path(&temporary, &run.plan, format);
        if format.is_folder() {
            std::fs::create_dir_all(&path).with_context(context)?;
        }
        let databases = &databases.open;
        let kind = run.kind;
        match (format, packed(format)) {
            (_, Some(packed)) => export::packed::write(
                source, space, databases, genotype, kind, packed, &path, progress,
            )?,
            (ArtifactFormat::Gguf, _) => {
                export::gguf::write(source, space, databases, genotype, kind, &path, progress)?
            }
            (ArtifactFormat::NemotronNas, _) => export::nemotron_nas::write(
                source, space, databases, genotype, kind, &path, progress,
            )?,
            _ => export::huggingface(source, space, databases, genotype, kind, &path, progress)?,
        };
        if format.is_folder() {
            sync(&path)?;
        }
    }
    sync(&temporary)?;
    std::fs::rename(&temporary, &target).with_context(context)?;
    std::fs::File::open(run_dir.path())
        .and_then(|folder| folder.sync_all())
        .with_context(context)
}

/// Everything in a folder is on disk, and so is the folder.
fn sync(folder: &Path) -> Result<()> {
    let context = || folder.display().to_string();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        std::fs::File::open(entry?.path())
            .and_then(|file| file.sync_all())
            .with_context(context)?;
    }
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(context)
}

/// The formats of a run's artifacts, in the order of the spec.
pub(crate) fn formats(run: &Run) -> impl Iterator<Item = ArtifactFormat> {
    run.plan.artifacts.iter().map(|artifact| artifact.format)
}

/// The engine's name of a format with packed weights.
pub(crate) fn packed(format: ArtifactFormat) -> Option<PackedFormat> {
    match format {
        ArtifactFormat::Huggingface | ArtifactFormat::Gguf | ArtifactFormat::NemotronNas => None,
        ArtifactFormat::CompressedTensors => Some(PackedFormat::CompressedTensors),
        ArtifactFormat::Gptq => Some(PackedFormat::Gptq),
    }
}

/// Where an artifact is in the run's `model` folder: a file in it, or, for the first format of the plan that is a folder, the folder
/// itself; further ones are folders in it, named after their format.
pub(crate) fn path(folder: &Path, plan: &Plan, format: ArtifactFormat) -> PathBuf {
    let mut formats = plan.artifacts.iter().map(|artifact| artifact.format);
    if format == ArtifactFormat::Gguf {
        folder.join(format!("{}.gguf", plan.name))
    } else if formats.find(|format| format.is_folder()) == Some(format) {
        folder.to_owned()
    } else {
        folder.join(format.to_string())
    }
}

/// The folders of a run's artifacts; the `model` folder where there is only a file in it.
pub(crate) fn folders(run: &Run) -> Vec<PathBuf> {
    let model = run.dir.model();
    let mut folders: Vec<PathBuf> = formats(run)
        .filter(|format| format.is_folder())
        .map(|format| path(&model, &run.plan, format))
        .collect();
    if folders.is_empty() {
        folders.push(model);
    }
    folders
}

/// Size and digest of every artifact. That of a folder is SHA-256 over the sorted lines `SHA-256  name` of the files in it but the GGUF
/// file; folders in it are other artifacts.
pub(crate) fn describe(run: &Run) -> Result<Vec<WrittenArtifact>> {
    let folder = run.dir.model();
    for folder in folders(run) {
        remove_leftovers(&folder)?;
    }
    formats(run)
        .map(|format| {
            let path = path(&folder, &run.plan, format);
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
    let model = run.dir.model();
    let first = formats(run).next().unwrap_or_default();
    let folder = match first.is_folder() {
        true => path(&model, &run.plan, first),
        false => model,
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
