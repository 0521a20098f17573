//! Transfers: streams of files, counted, and the loop that reports their progress.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use evopress_core::Hasher;
use futures_util::{Stream, StreamExt};
use tokio_util::io::ReaderStream;

use crate::{BundleFile, PublishError};

/// Time between two reports of progress.
const LOOK: Duration = Duration::from_millis(200);
/// A transfer without progress for this long has failed.
const STALLED: Duration = Duration::from_secs(300);
const PIECE_BYTES: usize = 256 << 10;

/// What has been done so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter {
    done: Arc<AtomicU64>,
    moved: Arc<AtomicU64>,
}

impl Counter {
    /// Counts bytes that have arrived.
    pub(crate) fn done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.moved(bytes);
    }

    /// Counts bytes that were transferred and are not part of the result: read back to be compared.
    pub(crate) fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Runs `work` on this thread, and reports the progress until it ends.
///
/// # Errors
/// Those of `work`, or there is no progress any more.
pub(crate) fn run<T>(
    counter: &Counter,
    progress: &mut dyn FnMut(u64),
    work: impl Future<Output = Result<T, PublishError>>,
) -> Result<T, PublishError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| PublishError::Settings(format!("cannot start a runtime: {error}")))?;
    runtime.block_on(async {
        let mut work = pin!(work);
        let mut last = (u64::MAX, Instant::now());
        loop {
            let ended = tokio::time::timeout(LOOK, &mut work).await;
            progress(counter.done.load(Ordering::Relaxed));
            if let Ok(result) = ended {
                return result;
            }
            let moved = counter.moved.load(Ordering::Relaxed);
            if moved != last.0 {
                last = (moved, Instant::now());
            } else if last.1.elapsed() > STALLED {
                let seconds = STALLED.as_secs();
                return Err(PublishError::Stalled { seconds });
            }
        }
    })
}

/// The bytes of a file from `offset`, at most `length` of them, counted as they are taken.
///
/// # Errors
/// The file cannot be opened.
pub(crate) async fn stream(
    file: &BundleFile,
    offset: u64,
    length: u64,
    counter: &Counter,
) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + 'static + use<>, PublishError> {
    use tokio::io::{AsyncReadExt, AsyncSeekExt};
    let read = |error| PublishError::io("read", &file.source)(error);
    let mut source = tokio::fs::File::open(&file.source).await.map_err(read)?;
    if offset > 0 {
        let seek = source.seek(std::io::SeekFrom::Start(offset)).await;
        seek.map_err(|error| PublishError::io("read", &file.source)(error))?;
    }
    let counter = counter.clone();
    Ok(
        ReaderStream::with_capacity(source.take(length), PIECE_BYTES).inspect(move |piece| {
            if let Ok(piece) = piece {
                counter.done(piece.len() as u64);
            }
        }),
    )
}

/// SHA-256 of a stream, hex, and its length.
///
/// # Errors
/// The stream's own.
pub(crate) async fn digest<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    counter: &Counter,
) -> Result<(String, u64), E> {
    let mut stream = pin!(stream);
    let (mut hasher, mut length) = (Hasher::new(), 0);
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        hasher.update(&piece);
        length += piece.len() as u64;
        counter.moved(piece.len() as u64);
    }
    Ok((hasher.finish(), length))
}
