//! One file on its way into the cache: streamed, taken up again after an interruption, held against its digest.

use std::path::Path;
use std::time::Duration;

use evopress_cache::{Content, Entry, FileRecord};
use futures_util::StreamExt;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use super::error::Whose;
use super::listing::{FileDigest, RemoteFile};
use super::place::{Opened, Place};
use super::{FetchError, Told};
use crate::transfer::hex;

/// Pauses before further tries, as long as none of them gets any further.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// A server from which nothing is heard for so long is asked again.
const STALLED: Duration = Duration::from_secs(60);

/// Repeats what fails only for now, after pauses that double. A try that `moved` something is the first again.
///
/// # Errors
/// It fails for good, or for too long.
pub(super) async fn retried<T, Work: Future<Output = Result<T, FetchError>>>(
    mut moved: impl FnMut() -> bool,
    mut work: impl FnMut() -> Work,
) -> Result<T, FetchError> {
    let mut pauses = PAUSES.iter();
    loop {
        let error = match work().await {
            Err(error @ FetchError::Interrupted { .. }) => error,
            other => return other,
        };
        if moved() {
            pauses = PAUSES.iter();
        }
        let Some(pause) = pauses.next() else {
            return Err(error);
        };
        tracing::warn!(%error, "model is not here yet; it is tried again");
        tokio::time::sleep(*pause).await;
    }
}

/// Fetches `file` into an entry, under the name `name` there.
///
/// # Errors
/// It is not there now; what has arrived is kept for the next time, unless it is damaged.
pub(super) async fn download(
    place: &Place,
    file: &RemoteFile,
    entry: &Entry,
    name: &str,
    told: &Told<'_>,
) -> Result<FileRecord, FetchError> {
    let part = entry.partial(name)?;
    let arrived = match arrive(place, file, &part, told).await {
        // What was there from an earlier time may be of another file.
        Err(FetchError::Damaged { .. }) => {
            fs::remove_file(&part)
                .await
                .map_err(FetchError::io("remove", &part))?;
            arrive(place, file, &part, told).await
        }
        other => other,
    };
    if let Err(FetchError::Damaged { .. }) = &arrived {
        let _ = fs::remove_file(&part).await; // the first error says more
    }
    let sha256 = arrived?;
    let record = blocking({
        let (entry, name, part) = (entry.clone(), name.to_owned(), part.clone());
        move || entry.commit_file(&name, Content::Moved(&part))
    })
    .await?;
    if record.sha256 == sha256 {
        return Ok(record);
    }
    let _ = fs::remove_file(entry.path().join(name)).await;
    let (found, expected) = (
        format!("SHA-256 {}", record.sha256),
        format!("SHA-256 {sha256}"),
    );
    Err(place.whose().damaged(&file.name, found, expected))
}

/// Brings the part to its whole length; its SHA-256 then.
async fn arrive(
    place: &Place,
    file: &RemoteFile,
    part: &Path,
    told: &Told<'_>,
) -> Result<String, FetchError> {
    let mut farthest = 0;
    let moved = || {
        let is_farther = told.arrived() > farthest;
        farthest = farthest.max(told.arrived());
        is_farther
    };
    let hashes = retried(moved, || go_on(place, file, part, told)).await?;
    hashes.check(file, place.whose())
}

/// One try, from where the last one ended.
async fn go_on(
    place: &Place,
    file: &RemoteFile,
    part: &Path,
    told: &Told<'_>,
) -> Result<Hashes, FetchError> {
    let whose = place.whose();
    let mut hashes = match fs::metadata(part).await {
        Ok(found) if found.len() <= file.size_bytes => {
            let part = part.to_owned();
            let hashes = Hashes::new(file);
            blocking(move || hashes.after(&part)).await?
        }
        _ => Hashes::new(file),
    };
    told.at(file, hashes.num_bytes);
    let write = |error| FetchError::io("write", part)(error);
    let mut options = File::options();
    options.create(true).write(true);
    if hashes.num_bytes == file.size_bytes {
        // There is a file, even if it is empty.
        options.append(true).open(part).await.map_err(write)?;
        return Ok(hashes);
    }
    let Opened { start, mut pieces } = place.open(file, hashes.num_bytes).await?;
    let mut out = if start == hashes.num_bytes && start > 0 {
        options.append(true).open(part).await.map_err(write)?
    } else {
        hashes = Hashes::new(file);
        options.truncate(true).open(part).await.map_err(write)?
    };
    loop {
        let piece = match tokio::time::timeout(STALLED, pieces.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => break,
            failed => {
                // What has arrived so far counts.
                out.flush().await.map_err(write)?;
                let seconds = STALLED.as_secs();
                return Err(match failed {
                    Ok(Some(Err(error))) => error,
                    _ => whose.interrupted(format!("nothing came for {seconds} s")),
                });
            }
        };
        out.write_all(&piece).await.map_err(write)?;
        hashes.update(&piece);
        told.at(file, hashes.num_bytes);
        if hashes.num_bytes > file.size_bytes {
            break;
        }
    }
    out.flush().await.map_err(write)?;
    if hashes.num_bytes < file.size_bytes {
        return Err(whose.interrupted(format!(
            "the connection ended after {} of {} bytes of {}",
            hashes.num_bytes, file.size_bytes, file.name
        )));
    }
    Ok(hashes)
}

/// What is known of the bytes so far.
struct Hashes {
    num_bytes: u64,
    sha256: Sha256,
    /// Where this is what the place tells.
    git: Option<Sha1>,
}

impl Hashes {
    /// Git puts the size of the whole before the first byte.
    fn new(of: &RemoteFile) -> Self {
        let is_git = matches!(of.digest, Some(FileDigest::GitSha1(_)));
        let head = format!("blob {}\0", of.size_bytes);
        Self {
            num_bytes: 0,
            sha256: Sha256::new(),
            git: is_git.then(|| Sha1::new_with_prefix(head)),
        }
    }

    /// With what an earlier try has left.
    fn after(mut self, part: &Path) -> Result<Self, FetchError> {
        use std::io::Read;
        let read = |error| FetchError::io("read", part)(error);
        let mut file = std::fs::File::open(part).map_err(read)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut buffer).map_err(read)?;
            if count == 0 {
                return Ok(self);
            }
            self.update(&buffer[..count]);
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.num_bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        if let Some(git) = &mut self.git {
            git.update(bytes);
        }
    }

    /// The SHA-256, if the bytes are those of the file.
    fn check(self, file: &RemoteFile, whose: &Whose) -> Result<String, FetchError> {
        let sha256 = hex(&self.sha256.finalize());
        let damaged =
            |found: String, expected: String| Err(whose.damaged(&file.name, found, expected));
        if self.num_bytes != file.size_bytes {
            let bytes = |count: u64| format!("{count} bytes");
            return damaged(bytes(self.num_bytes), bytes(file.size_bytes));
        }
        match &file.digest {
            Some(FileDigest::Sha256(expected)) if *expected != sha256 => {
                damaged(format!("SHA-256 {sha256}"), expected.clone())
            }
            Some(FileDigest::GitSha1(expected)) => {
                let found = self
                    .git
                    .map_or_else(String::new, |git| hex(&git.finalize()));
                if found == *expected {
                    return Ok(sha256);
                }
                damaged(format!("Git object ID {found}"), expected.clone())
            }
            _ => Ok(sha256),
        }
    }
}

/// Runs what blocks elsewhere.
async fn blocking<T: Send + 'static, E: Into<FetchError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, FetchError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(FetchError::io("write", Path::new("the cache"))(
            error.into(),
        )),
    }
}
