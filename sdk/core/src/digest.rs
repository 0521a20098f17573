//! SHA-256 of bytes, streams, files and folders. A digest is 64 lower-case hex digits.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// SHA-256 of bytes that arrive piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A hasher that has seen no byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes);
    }

    /// Takes all that is left in a reader. Returns the number of bytes.
    ///
    /// # Errors
    /// The reader fails.
    pub fn update_from(&mut self, mut from: impl Read) -> io::Result<u64> {
        let mut buffer = vec![0u8; 1 << 20];
        let mut size_bytes = 0;
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => return Ok(size_bytes),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.0.update(&buffer[..count]);
            size_bytes += count as u64;
        }
    }

    /// The digest of all bytes so far.
    pub fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}

/// SHA-256 of bytes in memory.
pub fn digest_bytes(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// SHA-256 of all that is left in a reader.
///
/// # Errors
/// The reader fails.
pub fn digest_reader(from: impl Read) -> io::Result<String> {
    let mut hasher = Hasher::new();
    hasher.update_from(from)?;
    Ok(hasher.finish())
}

/// SHA-256 of a file, or of a folder: see [`digest_folder`].
///
/// # Errors
/// Something cannot be read.
pub fn digest_path(path: &Path) -> io::Result<String> {
    let digest_file = |path: &Path| digest_reader(File::open(path)?);
    if fs::metadata(path)?.is_dir() {
        digest_folder(path, digest_file)
    } else {
        digest_file(path)
    }
}

/// SHA-256 of a folder: of the lines `DIGEST  NAME` of its files, where `digest_file` says the
/// digest of each. The lines are sorted by name, which is relative to the folder. Names that begin
/// with a dot are left out.
///
/// # Errors
/// The folder cannot be read, or `digest_file` fails.
pub fn digest_folder(
    folder: &Path,
    digest_file: impl Fn(&Path) -> io::Result<String>,
) -> io::Result<String> {
    let mut files = Vec::new();
    collect_files(folder, 0, &mut files)?;
    files.sort();
    let mut hasher = Hasher::new();
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy();
        hasher.update(format!("{}  {}\n", digest_file(&file)?, name));
    }
    Ok(hasher.finish())
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

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn digests_are_sha_256() {
        assert_eq!(digest_bytes(b"abc"), ABC);
        assert_eq!(digest_reader(&b"abc"[..]).unwrap(), ABC);
    }

    #[test]
    fn bytes_may_arrive_in_pieces_of_any_size() {
        let bytes: Vec<u8> = (0..3 << 20).map(|idx| (idx % 251) as u8).collect();
        let mut hasher = Hasher::new();
        let (first, rest) = bytes.split_at(77);
        hasher.update(first);
        assert_eq!(hasher.update_from(rest).unwrap(), rest.len() as u64);
        assert_eq!(hasher.finish(), digest_bytes(&bytes));
    }

    #[test]
    fn a_folder_has_a_digest_of_names_and_contents() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("config.json", "{}");
        let one = digest_path(folder.path()).unwrap();
        let line = format!("{}  config.json\n", digest_bytes(b"{}"));
        assert_eq!(one, digest_bytes(line.as_bytes()));
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
