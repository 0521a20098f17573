//! A registry that is a folder: `ROOT/NAME/v1/…`, `ROOT/NAME/v2/…`, and `ROOT/NAME/latest`, which
//! points to one of them.
//!
//! A version appears whole or not at all: it is copied under a hidden name, synced, read back and
//! compared, and then renamed. A lock file lets one publisher at a time into `ROOT/NAME`, so
//! whatever is hidden there is left over from one that died.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use evopress_core::files::{sync_folder, sync_tree};
use evopress_core::{Hasher, atomic_write, digest_bytes, digest_path};
use evopress_spec::Published;
use serde::{Deserialize, Serialize};

use super::{Bundle, BundleFile, PublishError, Registry};

/// Models of one name under one folder.
#[derive(Clone, Debug)]
pub struct FolderRegistry {
    /// The registry's folder.
    pub root: PathBuf,
    /// The model's name in it.
    pub name: String,
}

/// `manifest.json` of a version: what it is and what belongs to it.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    name: String,
    version: String,
    run: String,
    created: String,
    files: Vec<ManifestFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestFile {
    path: String,
    size_bytes: u64,
    sha256: String,
}

const MANIFEST: &str = "manifest.json";
const LATEST: &str = "latest";
const STAGING: &str = ".staging";

impl Registry for FolderRegistry {
    fn kind(&self) -> &'static str {
        "folder"
    }

    fn publish(
        &self,
        bundle: &Bundle,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Published, PublishError> {
        let home = self.root.join(&self.name);
        fs::create_dir_all(&home).map_err(PublishError::io("create", &home))?;
        let _turn = wait_for_turn(&home)?;
        remove_leftovers(&home)?;

        let versions = versions(&home)?;
        let number = match versions
            .iter()
            .find(|(_, manifest)| manifest.as_ref().is_some_and(|it| it.run == bundle.run))
        {
            Some((number, _)) => *number,
            None => {
                let number = versions
                    .iter()
                    .map(|(number, _)| number)
                    .max()
                    .map_or(1, |last| last + 1);
                self.add(&home, number, bundle, progress)?;
                number
            }
        };
        if versions.iter().all(|(other, _)| *other <= number) {
            point_latest(&home, number)?;
        }
        self.published(&home, number)
    }
}

impl FolderRegistry {
    fn add(
        &self,
        home: &Path,
        number: u64,
        bundle: &Bundle,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), PublishError> {
        let staging = home.join(STAGING);
        let mut done = 0;
        let mut files = Vec::new();
        for file in &bundle.files {
            let copy = staging.join(&file.name);
            let folder = copy.parent().unwrap_or(&staging);
            fs::create_dir_all(folder).map_err(PublishError::io("create", folder))?;
            files.push(copy_verified(file, &copy, &mut |bytes| {
                done += bytes;
                progress(done);
            })?);
        }
        let version = format!("v{number}");
        let created = evopress_core::time::now();
        let manifest = Manifest {
            name: self.name.clone(),
            version,
            run: bundle.run.clone(),
            created,
            files,
        };
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| PublishError::RunFile {
            file: MANIFEST,
            error,
        })?;
        atomic_write(&staging.join(MANIFEST), &text)
            .map_err(PublishError::io("write", &staging))?;
        sync_tree(&staging).map_err(PublishError::io("sync", &staging))?;

        let place = home.join(&manifest.version);
        rename_to_new(&staging, &place).map_err(PublishError::io("create", &place))?;
        sync(home)
    }

    fn published(&self, home: &Path, number: u64) -> Result<Published, PublishError> {
        let version = format!("v{number}");
        let location = home.join(&version);
        let manifest = location.join(MANIFEST);
        let text = fs::read(&manifest).map_err(PublishError::io("read", &manifest))?;
        Ok(Published {
            registry: self.kind().to_owned(),
            location: location.display().to_string(),
            version,
            digest: digest_bytes(&text),
        })
    }
}

fn wait_for_turn(home: &Path) -> Result<File, PublishError> {
    let path = home.join(".lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(PublishError::io("open", &path))?;
    file.lock().map_err(PublishError::io("lock", &path))?;
    Ok(file)
}

fn remove_leftovers(home: &Path) -> Result<(), PublishError> {
    let staging = home.join(STAGING);
    match fs::remove_dir_all(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PublishError::io("remove", &staging)(error))
        }
        _ => Ok(()),
    }
}

/// The versions that there are, with their manifests where they can be read.
fn versions(home: &Path) -> Result<Vec<(u64, Option<Manifest>)>, PublishError> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(home).map_err(PublishError::io("read", home))? {
        let entry = entry.map_err(PublishError::io("read", home))?;
        let name = entry.file_name();
        let Some(number) = name
            .to_str()
            .and_then(|name| name.strip_prefix('v')?.parse().ok())
        else {
            continue;
        };
        let manifest = fs::read(entry.path().join(MANIFEST))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        versions.push((number, manifest));
    }
    Ok(versions)
}

/// Copies, syncs, reads the copy back.
fn copy_verified(
    file: &BundleFile,
    copy: &Path,
    copied: &mut dyn FnMut(u64),
) -> Result<ManifestFile, PublishError> {
    let mut from = File::open(&file.source).map_err(PublishError::io("read", &file.source))?;
    let mut to = File::options()
        .write(true)
        .create_new(true)
        .open(copy)
        .map_err(PublishError::io("create", copy))?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size_bytes = 0;
    loop {
        let count = from
            .read(&mut buffer)
            .map_err(PublishError::io("read", &file.source))?;
        if count == 0 {
            break;
        }
        to.write_all(&buffer[..count])
            .map_err(PublishError::io("write", copy))?;
        hasher.update(&buffer[..count]);
        size_bytes += count as u64;
        copied(count as u64);
    }
    to.sync_all().map_err(PublishError::io("sync", copy))?;
    let expected = hasher.finish();
    let found = digest_path(copy).map_err(PublishError::io("read", copy))?;
    if found != expected {
        return Err(PublishError::Corrupt {
            path: copy.to_owned(),
            found,
            expected,
        });
    }
    Ok(ManifestFile {
        path: file.name.clone(),
        size_bytes,
        sha256: found,
    })
}

/// Renames, and fails where something is already.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // This file system cannot do both in one step. The lock excludes other publishers, so a
        // check before is enough.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => {
            fs::rename(from, to)
        }
        result => Ok(result?),
    }
}

fn point_latest(home: &Path, number: u64) -> Result<(), PublishError> {
    let (link, target) = (home.join(LATEST), PathBuf::from(format!("v{number}")));
    if fs::read_link(&link).is_ok_and(|now| now == target) {
        return Ok(());
    }
    let temporary = home.join(".latest.tmp");
    let _ = fs::remove_file(&temporary); // left over, or not there
    std::os::unix::fs::symlink(&target, &temporary)
        .map_err(PublishError::io("create", &temporary))?;
    fs::rename(&temporary, &link).map_err(PublishError::io("create", &link))?;
    sync(home)
}

fn sync(folder: &Path) -> Result<(), PublishError> {
    sync_folder(folder).map_err(PublishError::io("sync", folder))
}
