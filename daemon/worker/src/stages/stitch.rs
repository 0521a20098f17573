//! The artifacts of the winner: written aside, then renamed, so that they are either whole or not
//! there.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use evopress::export;
use evopress::genotype::{Genotype, SearchSpace};
use evopress::levels::Database;
use evopress::source::Source;
use evopress_spec::{ArtifactFormat, Stage};
use tch::Kind;

use crate::artifact_layout::{ArtifactLayout, packed};
use crate::recorder::Recorder;

/// A genotype, what its levels are read from, and where the model that it stands for is written.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) source: &'a Source,
    pub(crate) space: &'a SearchSpace,
    /// One for each method, in their order.
    pub(crate) databases: &'a [Arc<Database>],
    pub(crate) genotype: &'a Genotype,
    /// The number format of weights that are not packed.
    pub(crate) kind: Kind,
    pub(crate) layout: &'a ArtifactLayout,
    pub(crate) recorder: &'a Recorder,
}

/// Writes every artifact unless an earlier attempt has.
pub(crate) fn run(inputs: &Inputs<'_>) -> Result<()> {
    let target = inputs.layout.folder();
    let is_there = target.exists();
    inputs.recorder.stage(Stage::Stitch, is_there, || {
        if is_there {
            return Ok(());
        }
        let aside = inputs.layout.under(&target.with_extension("tmp"));
        write_all(inputs, &aside)?;
        std::fs::rename(aside.folder(), target)
            .with_context(|| aside.folder().display().to_string())?;
        sync_folder(target.parent().unwrap_or(target))
    })
}

/// Writes every artifact into the folder of `layout`, which begins empty.
fn write_all(inputs: &Inputs<'_>, layout: &ArtifactLayout) -> Result<()> {
    let folder = layout.folder();
    let context = || folder.display().to_string();
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(context)?;
    }
    std::fs::create_dir_all(folder).with_context(context)?;
    for format in layout.formats() {
        let path = layout.path(format);
        if format.is_folder() {
            std::fs::create_dir_all(&path).with_context(context)?;
        }
        write(inputs, format, &path)?;
        if format.is_folder() {
            sync(&path)?;
        }
    }
    sync(folder)
}

/// Writes one artifact.
fn write(inputs: &Inputs<'_>, format: ArtifactFormat, path: &Path) -> Result<()> {
    let Inputs {
        source,
        space,
        databases,
        genotype,
        kind,
        ..
    } = *inputs;
    let recorder = inputs.recorder;
    let progress = |done: u64, total: u64| {
        recorder.progress(Stage::Stitch, done >> 20, total >> 20, "MiB");
    };
    match (format, packed(format)) {
        (_, Some(packed)) => export::packed::write(
            source, space, databases, genotype, kind, packed, path, progress,
        )?,
        (ArtifactFormat::Gguf, _) => {
            export::gguf::write(source, space, databases, genotype, kind, path, progress)?
        }
        (ArtifactFormat::NemotronNas, _) => {
            export::nemotron_nas::write(source, space, databases, genotype, kind, path, progress)?
        }
        _ => export::huggingface(source, space, databases, genotype, kind, path, progress)?,
    };
    Ok(())
}

/// Makes the files of a folder durable, and the folder.
fn sync(folder: &Path) -> Result<()> {
    let context = || folder.display().to_string();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        std::fs::File::open(entry?.path())
            .and_then(|file| file.sync_all())
            .with_context(context)?;
    }
    sync_folder(folder)
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> Result<()> {
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| folder.display().to_string())
}
