//! Why a plugin could not be loaded or made, each in one sentence.

use std::{fmt, path::PathBuf};

use super::OptionMistake;
use crate::{Info, PluginKind};

/// Why a plugin could not be loaded or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The folder or a file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Not an ELF shared library of this machine.
    #[error("{} is not a shared library for this machine: {reason}", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What is wrong with its header.
        reason: String,
    },
    /// Shorter than its own headers say.
    #[error("{} is truncated: its headers describe {expected} bytes, the file has {found}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes that the headers describe.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The system's loader refused it.
    #[error("the system cannot load {}: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The loader's reason.
        reason: String,
    },
    /// No symbol with the ABI version.
    #[error("{} is not a plugin: it does not export `{symbol}`", path.display())]
    NoAbiSymbol {
        /// The file.
        path: PathBuf,
        /// The symbol.
        symbol: &'static str,
    },
    /// Another version of the boundary.
    #[error("{} was built for plugin ABI version {found}; this evopressd has version {expected}: rebuild the plugin", path.display())]
    AbiVersion {
        /// The file.
        path: PathBuf,
        /// Version of the plugin.
        found: u32,
        /// Version of this host.
        expected: u32,
    },
    /// Types that differ although the ABI version is the host's.
    #[error("{} has another layout of the plugin interface: {}: rebuild the plugin", path.display(), reasons.join("; "))]
    Layout {
        /// The file.
        path: PathBuf,
        /// The loader's `Error:` lines.
        reasons: Vec<String>,
    },
    /// It panicked before it did anything.
    #[error("{} panicked while {during}: {message}", path.display())]
    Panicked {
        /// The file.
        path: PathBuf,
        /// What it was doing.
        during: &'static str,
        /// The panic's text.
        message: String,
    },
    /// What it says of itself makes no sense.
    #[error("{}: {reason}", path.display())]
    Info {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file changed after this process loaded it, or while it did. Another process gets the new
    /// one.
    #[error("{} changed while this process was using it: start a new one", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Two files say that they are the same plugin.
    #[error("{} and {} both say that they are the plugin `{name}`", files[0].display(), files[1].display())]
    Ambiguous {
        /// The name.
        name: String,
        /// The two files.
        files: [PathBuf; 2],
    },
    /// A method where a fitness is needed, or the other way round.
    #[error("the plugin `{name}` is a {found}, not a {expected}")]
    Kind {
        /// The name.
        name: String,
        /// What it is.
        found: PluginKind,
        /// What is needed.
        expected: PluginKind,
    },
    /// No plugin has this name.
    #[error(transparent)]
    Unknown(Box<UnknownPlugin>),
    /// The options break the plugin's schema.
    #[error("options of the plugin `{name}`: {}", join(mistakes))]
    BadOptions {
        /// The plugin.
        name: String,
        /// All mistakes.
        mistakes: Vec<OptionMistake>,
    },
    /// The plugin itself refused options that its schema allows.
    #[error("the plugin `{name}` refused its options: {message}")]
    Refused {
        /// The plugin.
        name: String,
        /// The plugin's reason.
        message: String,
    },
}

fn join(mistakes: &[OptionMistake]) -> String {
    mistakes
        .iter()
        .map(OptionMistake::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// A name that no plugin has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPlugin {
    /// The name asked for.
    pub name: String,
    /// The kind asked for.
    pub kind: PluginKind,
    /// The nearest name of that kind.
    pub nearest: Option<String>,
    /// All names of that kind.
    pub available: Vec<String>,
    /// Files that could not be loaded, one of which may be it.
    pub unloadable: Vec<PathBuf>,
    /// The plugins' folder.
    pub dir: PathBuf,
}

impl std::error::Error for UnknownPlugin {}

impl fmt::Display for UnknownPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no {} plugin is named `{}` in {}",
            self.kind,
            self.name,
            self.dir.display()
        )?;
        match self.available.as_slice() {
            [] => f.write_str("; there are none")?,
            [name] => write!(f, "; there is `{name}`")?,
            names => write!(f, "; there are `{}`", names.join("`, `"))?,
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean `{nearest}`?")?;
        }
        if !self.unloadable.is_empty() {
            let files: Vec<_> = self
                .unloadable
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            write!(f, " (could not be loaded: {})", files.join(", "))?;
        }
        Ok(())
    }
}

/// Whether a plugin's name can stand in a spec, a file name and a metric.
pub(super) fn check_info(info: &Info) -> Result<(), String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if info.name.is_empty() || !info.name.chars().all(is_name) {
        return Err(format!(
            "the plugin calls itself `{}`; a name has lower-case letters, digits and hyphens only",
            info.name.escape_default()
        ));
    }
    Ok(())
}
