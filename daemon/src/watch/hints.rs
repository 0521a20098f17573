//! Hints of the system that something in the folder changed, through `notify`.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

type Paths = Arc<Mutex<HashSet<PathBuf>>>;

/// The subscription to hints, renewed when the folder is another one than it was.
pub(super) struct Hints {
    folder: PathBuf,
    armed: Option<Armed>,
    sender: mpsc::Sender<()>,
    written: Paths,
}

struct Armed {
    /// Dropping it ends the subscription.
    _watcher: RecommendedWatcher,
    /// Device and inode of the folder that it is on.
    identity: (u64, u64),
}

impl Hints {
    /// Hints come out of the channel, several of them as one.
    pub(super) fn new(folder: PathBuf) -> (Self, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel(1);
        (
            Self {
                folder,
                armed: None,
                sender,
                written: Paths::default(),
            },
            receiver,
        )
    }

    /// Subscribes where that is not so already; true when it was renewed.
    ///
    /// # Errors
    /// The system gives no hints, or the folder is not there.
    pub(super) fn arm(&mut self) -> Result<bool, notify::Error> {
        let metadata = fs::metadata(&self.folder).map_err(notify::Error::io);
        if metadata.is_err() {
            self.armed = None;
        }
        let identity = metadata.map(|metadata| (metadata.dev(), metadata.ino()))?;
        if self
            .armed
            .as_ref()
            .is_some_and(|armed| armed.identity == identity)
        {
            return Ok(false);
        }
        self.armed = None;
        lock(&self.written).clear();
        let (sender, written) = (self.sender.clone(), self.written.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if let Ok(event) = &event {
                if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
                {
                    return; // our own looks
                }
                note_writers(&written, event);
            }
            // A full channel holds a hint already. An error (such as an overflow of the queue) is a reason to look, too.
            let _ = sender.try_send(());
        })?;
        watcher.watch(&self.folder, RecursiveMode::NonRecursive)?;
        self.armed = Some(Armed {
            _watcher: watcher,
            identity,
        });
        Ok(true)
    }

    /// Files that somebody has written to and not closed since, as far as the hints tell.
    pub(super) fn being_written(&self) -> HashSet<PathBuf> {
        lock(&self.written).clone()
    }
}

fn note_writers(written: &Paths, event: &Event) {
    match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => lock(written).extend(event.paths.iter().cloned()),
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Remove(_)
        | EventKind::Create(_)
        | EventKind::Modify(ModifyKind::Name(_)) => {
            let mut written = lock(written);
            for path in &event.paths {
                written.remove(path);
            }
        }
        _ => {}
    }
}

fn lock(paths: &Paths) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
    paths.lock().unwrap_or_else(PoisonError::into_inner)
}
