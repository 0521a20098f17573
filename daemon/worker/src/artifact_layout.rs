//! Where the artifacts of a run are.

use std::path::{Path, PathBuf};

use evopress::export::packed::PackedFormat;
use evopress_spec::{ArtifactFormat, Plan};

/// The artifacts of a plan under one folder, in the order of the spec.
#[derive(Debug, Clone)]
pub(crate) struct ArtifactLayout {
    folder: PathBuf,
    /// The pipeline's name, which a file is named after.
    name: String,
    formats: Vec<ArtifactFormat>,
}

impl ArtifactLayout {
    /// Those of `plan` under `folder`.
    pub(crate) fn new(folder: PathBuf, plan: &Plan) -> Self {
        let formats = plan.artifacts.iter().map(|artifact| artifact.format);
        Self {
            folder,
            name: plan.name.clone(),
            formats: formats.collect(),
        }
    }

    /// The layout moved to another folder.
    pub(crate) fn under(&self, folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            ..self.clone()
        }
    }

    /// The folder of all artifacts.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is written, in the order of the spec.
    pub(crate) fn formats(&self) -> impl Iterator<Item = ArtifactFormat> {
        self.formats.iter().copied()
    }

    /// Where an artifact is: a file in the folder, or, for the first format that is a folder, the
    /// folder itself. Further ones are folders in it, named after their format.
    pub(crate) fn path(&self, format: ArtifactFormat) -> PathBuf {
        if format == ArtifactFormat::Gguf {
            self.folder.join(format!("{}.gguf", self.name))
        } else if self.formats().find(|format| format.is_folder()) == Some(format) {
            self.folder.clone()
        } else {
            self.folder.join(format.to_string())
        }
    }

    /// The folders that a model card belongs into: those of the artifacts that are folders, or the
    /// folder of all where there is only a file.
    pub(crate) fn card_folders(&self) -> Vec<PathBuf> {
        let folders = self.formats().filter(|format| format.is_folder());
        let folders: Vec<PathBuf> = folders.map(|format| self.path(format)).collect();
        match folders.is_empty() {
            true => vec![self.folder.clone()],
            false => folders,
        }
    }
}

/// The engine's name of a format with packed weights.
pub(crate) fn packed(format: ArtifactFormat) -> Option<PackedFormat> {
    match format {
        ArtifactFormat::Huggingface | ArtifactFormat::Gguf | ArtifactFormat::NemotronNas => None,
        ArtifactFormat::CompressedTensors => Some(PackedFormat::CompressedTensors),
        ArtifactFormat::Gptq => Some(PackedFormat::Gptq),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_is_the_folder_of_all() {
        let layout = ArtifactLayout {
            folder: "/run/model".into(),
            name: "tiny".to_owned(),
            formats: vec![
                ArtifactFormat::Gguf,
                ArtifactFormat::Huggingface,
                ArtifactFormat::Gptq,
            ],
        };
        let paths: Vec<PathBuf> = layout.formats().map(|it| layout.path(it)).collect();
        assert_eq!(
            paths,
            [
                Path::new("/run/model/tiny.gguf"),
                Path::new("/run/model"),
                Path::new("/run/model/gptq")
            ]
        );
        assert_eq!(
            layout.card_folders(),
            [Path::new("/run/model"), Path::new("/run/model/gptq")]
        );
        let only_a_file = ArtifactLayout {
            formats: vec![ArtifactFormat::Gguf],
            ..layout.under("PATH".as_ref())
        };
        assert_eq!(only_a_file.card_folders(), [Path::new("PATH")]);
    }
}
