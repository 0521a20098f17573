//! What of a run is published: the files of its model, and its report.

use std::fs;
use std::path::{Path, PathBuf};

use evopress_spec::RunDir;

use super::PublishError;

/// The files of one run.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The run's ID, by which a registry recognises it.
    pub run: String,
    /// Its files, sorted by name.
    pub files: Vec<BundleFile>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFile {
    /// Its name in the registry, with `/` between folders.
    pub name: String,
    /// Where it is now.
    pub source: PathBuf,
    /// Its size.
    pub size_bytes: u64,
}

impl Bundle {
    /// Collects the model and the report's page of a run.
    ///
    /// # Errors
    /// There is no model.
    pub fn of_run(run_dir: &RunDir) -> Result<Self, PublishError> {
        let model = run_dir.model();
        let mut files = Vec::new();
        if model.is_dir() {
            collect(&model, "", &mut files)?;
        }
        if files.is_empty() {
            return Err(PublishError::NoModel(model));
        }
        let page = run_dir.report_html();
        if page.is_file() && !files.iter().any(|file| file.name == "report.html") {
            files.push(BundleFile::at(page, "report.html".to_owned())?);
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            run: run_dir.id(),
            files,
        })
    }

    /// Size of all files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

impl BundleFile {
    fn at(source: PathBuf, name: String) -> Result<Self, PublishError> {
        let size_bytes = fs::metadata(&source)
            .map_err(PublishError::io("read", &source))?
            .len();
        Ok(Self {
            name,
            source,
            size_bytes,
        })
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<BundleFile>) -> Result<(), PublishError> {
    for entry in fs::read_dir(folder).map_err(PublishError::io("read", folder))? {
        let entry = entry.map_err(PublishError::io("read", folder))?;
        let path = entry.path();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files)?;
        } else {
            files.push(BundleFile::at(path, name)?);
        }
    }
    Ok(())
}
