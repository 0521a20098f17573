//! The part of a run that is published: the files of its model, its report, and its measurements.

use std::fs;
use std::path::{Path, PathBuf};

use evopress_core::{digest_bytes, digest_path};
use evopress_spec::RunDir;

use serde_json::{Value, json};

use super::{Facts, PublishError};

/// The name of [`Bundle::manifest`] in a registry.
pub(crate) const MANIFEST: &str = "manifest.json";

/// The files of one run.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The run's ID, by which a registry recognises it.
    pub run: String,
    /// Its files, sorted by name.
    pub files: Vec<BundleFile>,
    /// What it has measured.
    pub facts: Facts,
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
    /// Its SHA-256, hex.
    pub sha256: String,
}

impl Bundle {
    /// Collects the model and the report's page of a run, and reads all of it for its digests.
    ///
    /// # Errors
    /// There is no model, or it cannot be read.
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
            facts: Facts::of_run(run_dir),
        })
    }

    /// Size of all files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// One digest of all files: SHA-256 over lines of digest, two spaces and name, hex.
    #[must_use]
    pub fn digest(&self) -> String {
        let lines: String = self
            .files
            .iter()
            .map(|file| format!("{}  {}\n", file.sha256, file.name))
            .collect();
        digest_bytes(lines.as_bytes())
    }

    /// The manifest that is stored beside the files where a registry has no digests of its own:
    /// `{"run", "files": [{"path", "size_bytes", "sha256"}]}`.
    ///
    /// # Errors
    /// It cannot be put in JSON.
    pub(crate) fn manifest(&self) -> Result<Vec<u8>, PublishError> {
        let files: Vec<Value> = self
            .files
            .iter()
            .map(|file| json!({"path": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256}))
            .collect();
        let manifest = json!({"run": self.run, "files": files});
        serde_json::to_vec_pretty(&manifest).map_err(|error| PublishError::RunFile {
            file: MANIFEST,
            error,
        })
    }
}

impl BundleFile {
    fn at(source: PathBuf, name: String) -> Result<Self, PublishError> {
        let size_bytes = fs::metadata(&source)
            .map_err(PublishError::io("read", &source))?
            .len();
        let sha256 = digest_path(&source).map_err(PublishError::io("read", &source))?;
        Ok(Self {
            name,
            source,
            size_bytes,
            sha256,
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
