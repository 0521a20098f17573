//! A plugin's library in a folder of its own.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Fitness, Info, Method, PluginKind,
    host::{Listed, LoadError, OptionMistake, PluginDir},
};

/// Why a library cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Cargo could not build it.
    #[error("cargo cannot build {package}:\n{stderr}")]
    Cargo {
        /// The package.
        package: String,
        /// What cargo said.
        stderr: String,
    },
    /// The package has no library of crate type `cdylib`.
    #[error("{package} has no library with crate-type = [\"cdylib\"]")]
    NoLibrary {
        /// The package.
        package: String,
    },
    /// A file or process of the system.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// It does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A plugin that has been built and loaded from a folder that holds nothing else.
pub struct Library {
    plugins: PluginDir,
    listed: Listed,
    info: Info,
    kind: PluginKind,
    _folder: TempDir,
}

impl Library {
    /// Builds this workspace with cargo and loads a package of it.
    ///
    /// # Errors
    /// When it does not build or load.
    pub fn build(package: &str) -> Result<Self, BuildError> {
        Library::open(&Self::build_file(package)?)
    }

    /// Builds this workspace with cargo and says where the shared library of a package is.
    ///
    /// # Errors
    /// When it does not build.
    pub fn build_file(package: &str) -> Result<PathBuf, BuildError> {
        // `cargo test` builds libraries that a test could link, but not what it loads at run time.
        // The whole workspace is asked for, since one package alone may use other features of what
        // it shares with the rest, and all of that would be built once more.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let output = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--message-format=json-render-diagnostics",
                "--workspace",
            ])
            .output()
            .map_err(|source| BuildError::Io {
                what: "running cargo".to_owned(),
                source,
            })?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(BuildError::Cargo {
                package: package.to_owned(),
                stderr,
            });
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let artifacts = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        artifacts
            .filter(|message| is_library_of(message, package))
            .filter_map(|message| shared_library(&message))
            .next_back()
            .ok_or_else(|| BuildError::NoLibrary {
                package: package.to_owned(),
            })
    }

    /// Loads a copy of a shared library.
    ///
    /// # Errors
    /// When it cannot be copied or loaded.
    pub fn open(path: &Path) -> Result<Self, BuildError> {
        let io = |what: String| move |source| BuildError::Io { what, source };
        let folder = TempDir::new().map_err(io("making a folder".to_owned()))?;
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let name = stem
            .trim_start_matches("lib")
            .trim_start_matches("evopress_");
        let copy = folder.path().join(format!("libevopress_{name}.so"));
        fs::copy(path, &copy).map_err(io(format!("copying {}", path.display())))?;
        let plugins = PluginDir::open(folder.path())?;
        let listed = plugins.list().pop().ok_or_else(|| BuildError::NoLibrary {
            package: name.to_owned(),
        })?;
        let loaded = listed.plugin.clone()?;
        Ok(Library {
            plugins,
            listed,
            info: loaded.info,
            kind: loaded.kind,
            _folder: folder,
        })
    }

    /// What the plugin says of itself.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// What it does.
    pub fn kind(&self) -> PluginKind {
        self.kind
    }

    /// The file and its digest.
    pub fn listed(&self) -> &Listed {
        &self.listed
    }

    /// Makes the method.
    ///
    /// # Errors
    /// When it is a fitness or does not take these options.
    pub fn method(&self, options: &Value) -> Result<Box<dyn Method>, LoadError> {
        self.plugins.method(&self.info.name, options)
    }

    /// Makes the fitness.
    ///
    /// # Errors
    /// When it is a method or does not take these options.
    pub fn fitness(&self, options: &Value) -> Result<Box<dyn Fitness>, LoadError> {
        self.plugins.fitness(&self.info.name, options)
    }

    /// What the plugin's schema says against these options.
    ///
    /// # Errors
    /// When the plugin is gone.
    pub fn check_options(&self, options: &Value) -> Result<Vec<OptionMistake>, LoadError> {
        self.plugins
            .check_options(&self.info.name, self.kind, options)
    }

    /// Rules of both kinds: the schema closes the options, and what breaks it is refused with a
    /// message.
    pub(super) fn check_options_refused(
        &self,
        findings: &mut super::Findings,
        bad_options: &[Value],
    ) {
        let unknown = serde_json::json!({"no-such-option": 1});
        for options in std::iter::once(&unknown).chain(bad_options) {
            let refusal = match self.kind {
                PluginKind::Method => self.method(options).err(),
                PluginKind::Fitness => self.fitness(options).err(),
            };
            match refusal {
                None if options == &unknown => findings.add(
                    "the schema allows options that do not exist; close it with \"additionalProperties\": false",
                ),
                None => findings.add(format!("the options {options} are accepted")),
                Some(LoadError::Panicked { message, .. }) => {
                    findings.add(format!("the options {options} make the plugin panic: {message}"));
                }
                Some(error) => findings.require(!error.to_string().is_empty(), || {
                    format!("the options {options} are refused without a message")
                }),
            }
        }
        findings.require(!self.info.description.trim().is_empty(), || {
            "the plugin has no description".to_owned()
        });
        findings.require(!self.info.version.trim().is_empty(), || {
            "the plugin has no version".to_owned()
        });
    }
}

fn is_library_of(message: &Value, package: &str) -> bool {
    let kinds = message["target"]["crate_types"].as_array();
    let is_cdylib = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"));
    // A package id is `path+file:///…/folder#name@version`, or `…/name#version` where folder and
    // package share a name.
    let id = message["package_id"].as_str().unwrap_or_default();
    let (path, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    let name = match fragment.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or_default(),
    };
    message["reason"] == "compiler-artifact" && is_cdylib && name == package
}

fn shared_library(message: &Value) -> Option<PathBuf> {
    let files = message["filenames"].as_array()?;
    files
        .iter()
        .filter_map(Value::as_str)
        .find(|file| file.ends_with(".so"))
        .map(PathBuf::from)
}
