//! One file: from bytes on disk to a plugin that can be created. A library is never unloaded.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::{
    LoadError,
    elf::{self, ElfError},
    error::check_info,
};
use crate::{
    Info, PluginKind,
    abi::{ABI_VERSION, ABI_VERSION_SYMBOL, Fault, InstanceTwin, Module, ModuleError},
};

/// Device, inode, size and time of change: which bytes a path stands for.
type Identity = (u64, u64, u64, i64, i64);

/// The files that this process has loaded. The system's loader knows them by path and inode, and
/// gives the old library for a new file.
static LOADED: Mutex<Vec<(PathBuf, Identity)>> = Mutex::new(Vec::new());

/// A plugin file's bytes, by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) sha256: String,
    identity: Identity,
}

/// A library that has been loaded and says who it is.
pub(super) struct Library {
    pub(super) path: PathBuf,
    pub(super) info: Info,
    pub(super) kind: PluginKind,
    pub(super) schema: serde_json::Value,
    module: Module,
}

/// Reads a file, takes its digest, and checks that it is a whole shared library.
pub(super) fn examine(path: &Path) -> Result<(Fingerprint, Result<(), LoadError>), LoadError> {
    let unreadable = |error: std::io::Error| LoadError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let identity = identity(path).map_err(unreadable)?;
    let bytes = fs::read(path).map_err(unreadable)?;
    let sha256 = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let checked = elf::check(&bytes).map_err(|error| match error {
        ElfError::NotALibrary(reason) => LoadError::NotALibrary {
            path: path.to_owned(),
            reason,
        },
        ElfError::Truncated { expected } => LoadError::Truncated {
            path: path.to_owned(),
            expected,
            found: bytes.len() as u64,
        },
    });
    Ok((Fingerprint { sha256, identity }, checked))
}

/// Loads the file that was examined.
pub(super) fn load(path: &Path, examined: &Fingerprint) -> Result<Library, LoadError> {
    let changed = || LoadError::Changed {
        path: path.to_owned(),
    };
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_same_file = |(device, inode, ..): &Identity| {
        (*device, *inode) == (examined.identity.0, examined.identity.1)
    };
    let mut same = loaded
        .iter()
        .filter(|(other, identity)| other == path || is_same_file(identity));
    if same.any(|(_, identity)| *identity != examined.identity) {
        return Err(changed());
    }
    check_abi_version(path)?;
    loaded.push((path.to_owned(), examined.identity));
    let module = Module::open(path).map_err(|error| explain(path, error))?;
    // The digest goes into the run's manifest, so it has to be that of the library which is in
    // memory now.
    if identity(path).ok() != Some(examined.identity) {
        return Err(changed());
    }
    drop(loaded);
    let (info, kind) = module.info().map_err(|fault| LoadError::Panicked {
        path: path.to_owned(),
        during: "saying what it is",
        message: fault.message(),
    })?;
    let wrong = |reason: String| LoadError::Info {
        path: path.to_owned(),
        reason,
    };
    check_info(&info).map_err(wrong)?;
    let schema = super::options::parse_schema(&info.options_schema).map_err(wrong)?;
    Ok(Library {
        path: path.to_owned(),
        info,
        kind,
        schema,
        module,
    })
}

impl Library {
    /// Has the plugin make its method or fitness. The options have been checked.
    pub(super) fn create(&self, options: &serde_json::Value) -> Result<InstanceTwin, LoadError> {
        let made = self.module.create(&options.to_string());
        made.map_err(|fault| self.explain_fault(&fault, "being created"))
    }

    /// A fault of a call that the user's options may have caused.
    pub(super) fn explain_fault(&self, fault: &Fault, during: &'static str) -> LoadError {
        let message = fault.message();
        match fault.panicked() {
            true => LoadError::Panicked {
                path: self.path.clone(),
                during,
                message,
            },
            false => LoadError::Refused {
                name: self.info.name.clone(),
                message,
            },
        }
    }
}

/// Compares versions through a plain C function, so that a plugin of another version gets a
/// sentence and nothing of it is interpreted.
fn check_abi_version(path: &Path) -> Result<(), LoadError> {
    // SAFETY: runs the library's initialisers; only files of the configured folder get here, and
    // they run with the worker's rights anyway.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| LoadError::Open {
        path: path.to_owned(),
        reason: describe_open(path, &error),
    })?;
    // SAFETY: the symbol's name promises this type.
    let found =
        match unsafe { library.get::<extern "C" fn() -> u32>(ABI_VERSION_SYMBOL.as_bytes()) } {
            Ok(version) => version(),
            Err(_) => {
                return Err(LoadError::NoAbiSymbol {
                    path: path.to_owned(),
                    symbol: ABI_VERSION_SYMBOL,
                });
            }
        };
    if found != ABI_VERSION {
        return Err(LoadError::AbiVersion {
            path: path.to_owned(),
            found,
            expected: ABI_VERSION,
        });
    }
    // Never unloaded: code and statics of a plugin are in use until the process ends.
    std::mem::forget(library);
    Ok(())
}

/// `dlerror`'s text without the path, which the sentence names already.
fn describe_open(path: &Path, error: &libloading::Error) -> String {
    let text = error.to_string();
    let prefix = format!("{}: ", path.display());
    text.strip_prefix(&prefix).unwrap_or(&text).to_owned()
}

/// A layout mismatch fills up to 50 KB with both type layouts; only the lines that name a
/// difference are worth reading.
fn explain(path: &Path, error: ModuleError) -> LoadError {
    let path = path.to_owned();
    match error {
        ModuleError::Panicked => LoadError::Panicked {
            path,
            during: "being loaded",
            message: "no text".to_owned(),
        },
        ModuleError::Mismatch { report } => LoadError::Layout {
            path,
            reasons: trim(&report),
        },
    }
}

const MAX_REASONS: usize = 4;

/// The distinct `Error:` lines of a report, or its first line when there are none.
fn trim(report: &str) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    for line in report.lines() {
        if let Some(reason) = line.trim().strip_prefix("Error:") {
            let reason = reason.trim().to_owned();
            if !reason.is_empty() && !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
    if reasons.is_empty() {
        reasons.extend(
            report
                .lines()
                .map(str::trim)
                .find(|line| !line.is_empty())
                .map(str::to_owned),
        );
    }
    let num_more = reasons.len().saturating_sub(MAX_REASONS);
    reasons.truncate(MAX_REASONS);
    if num_more > 0 {
        reasons.push(format!("and {num_more} more"));
    }
    reasons
}

fn identity(path: &Path) -> std::io::Result<Identity> {
    let file = fs::metadata(path)?;
    Ok((
        file.dev(),
        file.ino(),
        file.len(),
        file.mtime(),
        file.mtime_nsec(),
    ))
}

#[cfg(test)]
mod tests {
    use super::trim;

    #[test]
    fn reports_shrink_to_their_errors() {
        let report = "Compared <this>:\n  long layout\nError:too many fields\nExpected:\n 2\n\n Error: too many fields\nError:b\n";
        assert_eq!(trim(report), ["too many fields", "b"]);
        assert_eq!(trim("\n  one line\nanother"), ["one line"]);
        assert_eq!(
            trim("Error:1\nError:2\nError:3\nError:4\nError:5\nError:6"),
            ["1", "2", "3", "4", "and 2 more"]
        );
    }
}
