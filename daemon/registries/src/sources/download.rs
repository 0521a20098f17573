//! The download of one file into the cache: streamed, resumed after an interruption, compared with
//! its digest.

use std::path::Path;
use std::time::Duration;

use evopress_cache::{Content, Entry, FileRecord};
use futures_util::StreamExt;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use super::FetchError;
use super::file_stream::FileStream;
use super::hashes::Hashes;
use super::listing::RemoteFile;
use super::progress::ModelProgress;
use super::source::Source;

/// Pauses before further tries, as long as none of them gets any further.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// A server from which nothing is heard for so long is asked again.
const STALLED: Duration = Duration::from_secs(60);

/// Repeats work that failed for a passing reason, after pauses that double. When an attempt has
/// made progress, as `moved` says, the pauses begin again.
///
/// # Errors
/// It fails for good, or for too long.
pub(super) async fn retry<T, Work: Future<Output = Result<T, FetchError>>>(
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
/// It cannot be fetched now. What has arrived stays for the next attempt, unless it is damaged.
pub(super) async fn download(
    source: &Source,
    file: &RemoteFile,
    entry: &Entry,
    name: &str,
    progress: &ModelProgress<'_>,
) -> Result<FileRecord, FetchError> {
    let part = entry.partial(name)?;
    let arrived = match receive(source, file, &part, progress).await {
        // What was there from an earlier time may be of another file.
        Err(FetchError::Damaged { .. }) => {
            fs::remove_file(&part)
                .await
                .map_err(FetchError::io("remove", &part))?;
            receive(source, file, &part, progress).await
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
    Err(source.context().damaged(&file.name, found, expected))
}

/// Completes the part. Returns its SHA-256.
async fn receive(
    source: &Source,
    file: &RemoteFile,
    part: &Path,
    progress: &ModelProgress<'_>,
) -> Result<String, FetchError> {
    let mut farthest = 0;
    let moved = || {
        let is_farther = progress.arrived_bytes() > farthest;
        farthest = farthest.max(progress.arrived_bytes());
        is_farther
    };
    let hashes = retry(moved, || resume(source, file, part, progress)).await?;
    hashes.check(file, source.context())
}

/// One attempt, which begins where the last one ended.
async fn resume(
    source: &Source,
    file: &RemoteFile,
    part: &Path,
    progress: &ModelProgress<'_>,
) -> Result<Hashes, FetchError> {
    let context = source.context();
    let mut hashes = match fs::metadata(part).await {
        Ok(found) if found.len() <= file.size_bytes => {
            let part = part.to_owned();
            let hashes = Hashes::new(file);
            blocking(move || hashes.after(&part)).await?
        }
        _ => Hashes::new(file),
    };
    progress.report(file, hashes.num_bytes);
    let write = |error| FetchError::io("write", part)(error);
    let mut options = File::options();
    options.create(true).write(true);
    if hashes.num_bytes == file.size_bytes {
        // There is a file, even if it is empty.
        options.append(true).open(part).await.map_err(write)?;
        return Ok(hashes);
    }
    let FileStream { start, mut pieces } = source.open(file, hashes.num_bytes).await?;
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
                    _ => context.interrupted(format!("nothing came for {seconds} s")),
                });
            }
        };
        out.write_all(&piece).await.map_err(write)?;
        hashes.update(&piece);
        progress.report(file, hashes.num_bytes);
        if hashes.num_bytes > file.size_bytes {
            break;
        }
    }
    out.flush().await.map_err(write)?;
    if hashes.num_bytes < file.size_bytes {
        return Err(context.interrupted(format!(
            "the connection ended after {} of {} bytes of {}",
            hashes.num_bytes, file.size_bytes, file.name
        )));
    }
    Ok(hashes)
}

/// Runs blocking work on another thread.
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
