//! One entry: a folder whose files are each complete or absent.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use evopress_core::files::{rename_synced, sync_folder};
use evopress_core::{atomic_write, digest_bytes, digest_reader};

use crate::error::{file_name, plain};
use crate::lock::{self, Guard, Hold};
use crate::{CacheError, FileRecord, Loaded, Manifest};

/// An entry of the cache. A value of this type holds no lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    folder: PathBuf,
    kind: String,
    key: String,
}

/// The content of a new file.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// The content of this file. It is moved, so it must be on the same disk: see
    /// [`Entry::temporary`].
    Moved(&'a Path),
}

/// A file that is not what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's name in the entry.
    pub file: String,
    /// What is wrong with it: `it has 12 bytes, expected 4096`.
    pub reason: String,
}

/// The file whose time says when the entry was last used.
const USED: &str = "used";

impl Entry {
    pub(crate) fn at(root: &Path, kind: &str, key: &str) -> Result<Self, CacheError> {
        let (kind, key) = (plain("a kind", kind)?, plain("a key", key)?);
        Ok(Self {
            folder: root.join(kind).join(key),
            kind: kind.to_owned(),
            key: key.to_owned(),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The kind: `levels`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Waits until nobody builds or uses the entry, and holds it alone, to build it.
    ///
    /// # Errors
    /// The lock file or the folder cannot be made.
    pub fn lock_exclusive(&self) -> Result<Guard, CacheError> {
        self.hold(lock::acquire(&self.lock_file(), Hold::Alone))
    }

    /// Waits until nobody builds the entry, and holds it beside others, to use it.
    ///
    /// # Errors
    /// The lock file or the folder cannot be made.
    pub fn lock_shared(&self) -> Result<Guard, CacheError> {
        self.hold(lock::acquire(&self.lock_file(), Hold::Shared))
    }

    /// Holds the entry alone, unless somebody builds or uses it.
    ///
    /// # Errors
    /// The lock file or the folder cannot be made.
    pub fn try_lock_exclusive(&self) -> Result<Option<Guard>, CacheError> {
        self.try_hold(Hold::Alone)
    }

    /// Holds the entry beside others, unless somebody builds it.
    ///
    /// # Errors
    /// The lock file or the folder cannot be made.
    pub fn try_lock_shared(&self) -> Result<Option<Guard>, CacheError> {
        self.try_hold(Hold::Shared)
    }

    fn try_hold(&self, hold: Hold) -> Result<Option<Guard>, CacheError> {
        let path = self.lock_file();
        match lock::try_acquire(&path, hold).map_err(CacheError::at("lock", &path))? {
            Some(guard) => self.hold(Ok(guard)).map(Some),
            None => Ok(None),
        }
    }

    /// Creates the folder again, since it may have been removed while we waited for its lock.
    fn hold(&self, guard: io::Result<Guard>) -> Result<Guard, CacheError> {
        let guard = guard.map_err(CacheError::at("lock", &self.lock_file()))?;
        self.create()?;
        Ok(guard)
    }

    pub(crate) fn create(&self) -> Result<(), CacheError> {
        fs::create_dir_all(&self.folder).map_err(CacheError::at("create", &self.folder))
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.folder.with_file_name(format!("{}.lock", self.key))
    }

    /// Marks the entry as used at this moment.
    ///
    /// # Errors
    /// The mark cannot be written.
    pub fn touch(&self) -> Result<(), CacheError> {
        let path = self.folder.join(USED);
        File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .map_err(CacheError::at("write", &path))
    }

    /// When the entry was last used, as far as its files tell.
    pub fn last_used(&self) -> SystemTime {
        let time = |path: PathBuf| fs::metadata(path).and_then(|it| it.modified()).ok();
        time(self.folder.join(USED))
            .or_else(|| time(self.folder.join(Manifest::FILE)))
            .or_else(|| time(self.folder.clone()))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Reads the manifest.
    pub fn load_manifest(&self) -> Loaded {
        let mut loaded = Manifest::load(&self.folder);
        let foreign = |it: &mut Manifest| it.key != self.key || it.kind != self.kind;
        if let Some(other) = loaded.manifest.take_if(foreign) {
            loaded.warning = Some(format!(
                "{} cannot be used: it belongs to another entry, {} {}",
                self.folder.join(Manifest::FILE).display(),
                other.kind,
                other.key
            ));
        }
        loaded
    }

    /// Writes the manifest; a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save_manifest(&self, manifest: &Manifest) -> Result<(), CacheError> {
        manifest.save(&self.folder)
    }

    /// A path in the entry for a file that is still being written; [`Entry::commit_file`] gives it
    /// its name. What a crash leaves of it is removed by the next prune.
    ///
    /// # Errors
    /// The name is not one that a file of an entry can have.
    pub fn temporary(&self, name: &str) -> Result<PathBuf, CacheError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let name = file_name(name)?.replace('/', "-");
        Ok(self
            .folder
            .join(format!(".{name}.{process}-part{count}.tmp")))
    }

    /// A path in the entry for a file that arrives piece by piece; [`Entry::commit_file`] gives it
    /// its name. It is the same for every process, and what a crash leaves of it stays, so that the
    /// next process can continue it.
    ///
    /// # Errors
    /// The name is not one that a file of an entry can have.
    pub fn partial(&self, name: &str) -> Result<PathBuf, CacheError> {
        let name = file_name(name)?.replace('/', "-");
        Ok(self.folder.join(format!(".{name}.part")))
    }

    /// Puts a file into the entry, whole and on the disk when this returns. The record belongs into
    /// the manifest.
    ///
    /// # Errors
    /// The disk is full, or the folder cannot be written; nothing is left under the name then, or
    /// what was there before.
    pub fn commit_file<'a>(
        &self,
        name: &str,
        content: impl Into<Content<'a>>,
    ) -> Result<FileRecord, CacheError> {
        let path = self.folder.join(file_name(name)?);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(CacheError::at("create", folder))?;
        match content.into() {
            Content::Bytes(bytes) => {
                atomic_write(&path, bytes).map_err(CacheError::at("write", &path))?;
                Ok(FileRecord {
                    bytes: bytes.len() as u64,
                    sha256: digest_bytes(bytes),
                })
            }
            Content::Moved(from) => {
                let moved = self.move_here(from, &path);
                if moved.is_err() {
                    // The first error says more than a failure to clean up.
                    let _ = fs::remove_file(from);
                }
                moved.map_err(CacheError::at("write", &path))
            }
        }
    }

    fn move_here(&self, from: &Path, to: &Path) -> io::Result<FileRecord> {
        let file = File::open(from)?;
        let record = FileRecord {
            bytes: file.metadata()?.len(),
            sha256: digest_reader(file)?,
        };
        rename_synced(from, to)?;
        // A folder in the entry may be new.
        sync_folder(&self.folder)?;
        Ok(record)
    }

    /// Reads every file and tells which are not what the manifest says. An entry without a manifest
    /// has no damage.
    pub fn verify(&self) -> Vec<Damage> {
        let Loaded { manifest, warning } = self.load_manifest();
        let unusable = warning.map(|reason| Damage {
            file: Manifest::FILE.to_owned(),
            reason,
        });
        let files = manifest.map(|it| it.files).unwrap_or_default();
        let damaged = files.iter().filter_map(|(name, record)| {
            let reason = self.damage(name, record)?;
            Some(Damage {
                file: name.clone(),
                reason,
            })
        });
        unusable.into_iter().chain(damaged).collect()
    }

    /// What is wrong with one file, if anything.
    pub fn damage(&self, name: &str, record: &FileRecord) -> Option<String> {
        let Ok(name) = file_name(name) else {
            return Some("its name is none that an entry can have".to_owned());
        };
        let file = match File::open(self.folder.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some("it is missing".to_owned());
            }
            Err(error) => return Some(format!("it cannot be read: {error}")),
        };
        match file.metadata() {
            Ok(metadata) if metadata.len() != record.bytes => {
                return Some(format!(
                    "it has {} bytes, expected {}",
                    metadata.len(),
                    record.bytes
                ));
            }
            _ => {}
        }
        match digest_reader(file) {
            Ok(digest) if digest == record.sha256 => None,
            Ok(digest) => Some(format!(
                "its SHA-256 begins with {}, expected {}",
                clip(&digest),
                clip(&record.sha256)
            )),
            Err(error) => Some(format!("it cannot be read: {error}")),
        }
    }
}

impl<'a> From<&'a [u8]> for Content<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a Path> for Content<'a> {
    fn from(path: &'a Path) -> Self {
        Self::Moved(path)
    }
}

fn clip(digest: &str) -> String {
    digest.chars().take(12).collect()
}
