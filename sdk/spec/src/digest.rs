//! SHA-256 of what goes into a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256, hex, of every file that a run reads. Part of the run's ID and of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InputDigests {
    /// Of the model's file or folder.
    pub model: String,
    /// Of the calibration text.
    pub calibration: String,
    /// Of the text that level databases are built from.
    pub database: String,
    /// Of each evaluation text, in the plan's order.
    pub evaluation: Vec<String>,
    /// Of each plugin's file, by the plugin's name.
    pub plugins: BTreeMap<String, String>,
}

/// SHA-256 of bytes in memory, hex.
pub fn digest_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file, or of a folder: that is over the sorted relative names of its files and their digests. Names that
/// begin with a dot are left out.
///
/// # Errors
/// Something cannot be read.
pub fn digest_path(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_dir() {
        return digest_file(path);
    }
    let mut files = Vec::new();
    collect_files(path, 0, &mut files)?;
    files.sort();
    let mut hasher = Sha256::new();
    for file in files {
        let name = file.strip_prefix(path).unwrap_or(&file).to_string_lossy();
        hasher.update(format!("{}  {}\n", digest_file(&file)?, name));
    }
    Ok(hex(&hasher.finalize()))
}

/// Deeper folders than this hold no model, and a link in a circle ends here.
const MAX_DEPTH: usize = 8;

fn collect_files(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let metadata = fs::metadata(&path)?;
        if metadata.is_file() {
            files.push(path);
        } else if metadata.is_dir() && depth < MAX_DEPTH {
            collect_files(&path, depth + 1, files)?;
        }
    }
    Ok(())
}

fn digest_file(path: &Path) -> io::Result<String> {
    digest_reader(File::open(path)?)
}

/// SHA-256 of all that is left in a reader, hex.
///
/// # Errors
/// It cannot be read.
pub fn digest_reader(mut from: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha_256() {
        assert_eq!(
            digest_bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_folder_has_a_digest_of_names_and_contents() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("config.json", "{}");
        let one = digest_path(folder.path()).unwrap();
        write(".cache", "ignored");
        assert_eq!(digest_path(folder.path()).unwrap(), one);
        write("config.json", "{ }");
        let two = digest_path(folder.path()).unwrap();
        assert_ne!(two, one);
        fs::rename(
            folder.path().join("config.json"),
            folder.path().join("other.json"),
        )
        .unwrap();
        assert_ne!(digest_path(folder.path()).unwrap(), two);
    }
}
