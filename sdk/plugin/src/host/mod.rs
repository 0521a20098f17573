//! The host's side: the plugins of a folder, listed, loaded, and made with checked options.
//!
//! Only files named `libevopress_*.so` in the given folder are plugins. A file is read once: its
//! digest and what was loaded from it stay the same for the life of the [`PluginDir`], and nothing
//! is ever unloaded: a changed file is for the next process. Loading runs foreign code, so it
//! belongs into a worker process.

mod elf;
mod error;
mod library;
mod options;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

pub use error::{LoadError, UnknownPlugin};
pub use options::{OptionMistake, check_options};

use crate::{
    Fitness, Info, Method, PluginKind,
    abi::{HostFitness, HostMethod, InstanceTwin},
};
use library::{Fingerprint, Library};

const PREFIX: &str = "libevopress_";
const SUFFIX: &str = ".so";

/// A folder of plugins.
pub struct PluginDir {
    path: PathBuf,
    files: Mutex<BTreeMap<PathBuf, Arc<File>>>,
}

/// A plugin file, and what became of it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The file's path.
    pub file: PathBuf,
    /// SHA-256 of its bytes in hexadecimal; empty when it cannot be read.
    pub sha256: String,
    /// What the plugin says of itself, or why it could not be loaded.
    pub plugin: Result<Loaded, LoadError>,
}

/// A plugin that can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What it says of itself.
    pub info: Info,
    /// What it does.
    pub kind: PluginKind,
}

struct File {
    path: PathBuf,
    fingerprint: Option<Fingerprint>,
    library: Result<Library, LoadError>,
}

impl PluginDir {
    /// The plugins of the folder at `path`. Nothing is loaded yet.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, LoadError> {
        let path = path.into();
        plugin_files(&path)?;
        Ok(PluginDir {
            path,
            files: Mutex::default(),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Loads every plugin file of the folder, in the order of their names, and says what it is or
    /// why it cannot be used.
    pub fn list(&self) -> Vec<Listed> {
        self.files().iter().map(|file| file.listed()).collect()
    }

    /// The plugin of this name and kind, with its file and digest.
    ///
    /// # Errors
    /// When there is none, or it cannot be loaded.
    pub fn find(&self, name: &str, kind: PluginKind) -> Result<Listed, LoadError> {
        self.file(name, kind).map(|file| file.listed())
    }

    /// Checks options against the plugin's schema without making it; empty when they are right.
    ///
    /// # Errors
    /// When there is no such plugin, or it cannot be loaded.
    pub fn check_options(
        &self,
        name: &str,
        kind: PluginKind,
        options: &Value,
    ) -> Result<Vec<OptionMistake>, LoadError> {
        let file = self.file(name, kind)?;
        Ok(check_options(&file.library()?.schema, options))
    }

    /// Makes a method.
    ///
    /// # Errors
    /// When there is no such method, it cannot be loaded, or it does not take these options.
    pub fn method(&self, name: &str, options: &Value) -> Result<Box<dyn Method>, LoadError> {
        let file = self.file(name, PluginKind::Method)?;
        let library = file.library()?;
        match library.create(&checked(library, options)?)? {
            InstanceTwin::Method(twin) => {
                let made = HostMethod::new(twin, name);
                Ok(Box::new(made.map_err(|fault| {
                    library.explain_fault(&fault, "naming its measure")
                })?))
            }
            InstanceTwin::Fitness(_) => Err(library.contradicts(PluginKind::Fitness)),
        }
    }

    /// Makes a fitness.
    ///
    /// # Errors
    /// When there is no such fitness, it cannot be loaded, or it does not take these options.
    pub fn fitness(&self, name: &str, options: &Value) -> Result<Box<dyn Fitness>, LoadError> {
        let file = self.file(name, PluginKind::Fitness)?;
        let library = file.library()?;
        match library.create(&checked(library, options)?)? {
            InstanceTwin::Fitness(twin) => {
                let made = HostFitness::new(twin, name);
                Ok(Box::new(made.map_err(|fault| {
                    library.explain_fault(&fault, "saying whether it needs a target")
                })?))
            }
            InstanceTwin::Method(_) => Err(library.contradicts(PluginKind::Method)),
        }
    }

    /// The file whose plugin has this name and kind.
    fn file(&self, name: &str, kind: PluginKind) -> Result<Arc<File>, LoadError> {
        // The usual file first, so that one broken plugin does not stand in another's way.
        let usual = self
            .path
            .join(format!("{PREFIX}{}{SUFFIX}", name.replace('-', "_")));
        if !name.contains('/') && usual.is_file() {
            let file = self.load(&usual);
            match &file.library {
                Ok(library) if library.info.name == name => {
                    return library.check_kind(kind).map(|()| file);
                }
                Ok(_) => {}
                Err(error) => return Err(error.clone()),
            }
        }
        let files = self.files();
        let mut named = files.iter().filter(|file| file.is_named(name));
        match (named.next(), named.next()) {
            (Some(one), Some(other)) => Err(LoadError::Ambiguous {
                name: name.to_owned(),
                files: [one.path.clone(), other.path.clone()],
            }),
            (Some(file), None) => file.library()?.check_kind(kind).map(|()| file.clone()),
            (None, _) => Err(self.unknown(name, kind, &files)),
        }
    }

    fn unknown(&self, name: &str, kind: PluginKind, files: &[Arc<File>]) -> LoadError {
        let libraries = files.iter().filter_map(|file| file.library.as_ref().ok());
        let available: Vec<String> = libraries
            .filter(|library| library.kind == kind)
            .map(|library| library.info.name.clone())
            .collect();
        LoadError::Unknown(Box::new(UnknownPlugin {
            name: name.to_owned(),
            kind,
            nearest: options::nearest(name, available.iter().map(String::as_str))
                .map(str::to_owned),
            available,
            unloadable: files
                .iter()
                .filter(|file| file.library.is_err())
                .map(|file| file.path.clone())
                .collect(),
            dir: self.path.clone(),
        }))
    }

    fn files(&self) -> Vec<Arc<File>> {
        // The folder could be read when it was opened; if it is gone since, there are no plugins.
        plugin_files(&self.path)
            .unwrap_or_default()
            .iter()
            .map(|path| self.load(path))
            .collect()
    }

    fn load(&self, path: &Path) -> Arc<File> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let file = files
            .entry(path.to_owned())
            .or_insert_with(|| Arc::new(File::load(path)));
        file.clone()
    }
}

impl File {
    fn load(path: &Path) -> Self {
        let (fingerprint, library) = match library::examine(path) {
            Ok((fingerprint, checked)) => {
                let library = checked.and_then(|()| library::load(path, &fingerprint));
                (Some(fingerprint), library)
            }
            Err(error) => (None, Err(error)),
        };
        File {
            path: path.to_owned(),
            fingerprint,
            library,
        }
    }

    fn library(&self) -> Result<&Library, LoadError> {
        self.library.as_ref().map_err(LoadError::clone)
    }

    fn is_named(&self, name: &str) -> bool {
        self.library
            .as_ref()
            .is_ok_and(|library| library.info.name == name)
    }

    fn listed(&self) -> Listed {
        let plugin = self.library().map(|library| Loaded {
            info: library.info.clone(),
            kind: library.kind,
        });
        let sha256 = self
            .fingerprint
            .as_ref()
            .map(|fingerprint| fingerprint.sha256.clone())
            .unwrap_or_default();
        Listed {
            file: self.path.clone(),
            sha256,
            plugin,
        }
    }
}

impl Library {
    fn check_kind(&self, expected: PluginKind) -> Result<(), LoadError> {
        match self.kind == expected {
            true => Ok(()),
            false => Err(LoadError::Kind {
                name: self.info.name.clone(),
                found: self.kind,
                expected,
            }),
        }
    }

    fn contradicts(&self, made: PluginKind) -> LoadError {
        let reason = format!(
            "the plugin says that it is a {}, but makes a {made}",
            self.kind
        );
        LoadError::Info {
            path: self.path.clone(),
            reason,
        }
    }
}

/// Options that keep the plugin's schema; none given is an empty object.
fn checked(library: &Library, options: &Value) -> Result<Value, LoadError> {
    let mistakes = check_options(&library.schema, options);
    if !mistakes.is_empty() {
        return Err(LoadError::BadOptions {
            name: library.info.name.clone(),
            mistakes,
        });
    }
    Ok(options::or_empty(options).into_owned())
}

/// The plugin files of a folder, by name.
fn plugin_files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let unreadable = |error: std::io::Error| LoadError::Unreadable {
        path: dir.to_owned(),
        reason: error.to_string(),
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
