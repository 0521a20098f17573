//! Events of the system that say that something in the folder has changed, through the crate
//! `notify`. They are a reason to scan the folder and no more: some file systems send none, and a
//! queue of events may overflow.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

type Paths = Arc<Mutex<HashSet<PathBuf>>>;

/// A subscription to the events of a folder.
pub(super) struct ChangeEvents {
    folder: PathBuf,
    subscription: Option<Subscription>,
    sender: mpsc::Sender<()>,
    written: Paths,
}

struct Subscription {
    /// Dropping it ends the subscription.
    _watcher: RecommendedWatcher,
    /// Device and inode of the folder that it is for.
    identity: (u64, u64),
}

impl ChangeEvents {
    /// Without a subscription yet. The channel yields once for any number of events since it
    /// yielded last.
    pub(super) fn new(folder: PathBuf) -> (Self, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel(1);
        (
            Self {
                folder,
                subscription: None,
                sender,
                written: Paths::default(),
            },
            receiver,
        )
    }

    /// Subscribes, unless there is a subscription for the folder that is there now. Returns whether
    /// it is a new one.
    ///
    /// # Errors
    /// The system sends no events, or the folder is not there.
    pub(super) fn subscribe(&mut self) -> Result<bool, notify::Error> {
        let metadata = fs::metadata(&self.folder).map_err(notify::Error::io);
        if metadata.is_err() {
            self.subscription = None;
        }
        let identity = metadata.map(|metadata| (metadata.dev(), metadata.ino()))?;
        if self
            .subscription
            .as_ref()
            .is_some_and(|subscription| subscription.identity == identity)
        {
            return Ok(false);
        }
        self.subscription = None;
        lock(&self.written).clear();
        let (sender, written) = (self.sender.clone(), self.written.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if let Ok(event) = &event {
                if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
                {
                    return; // our own scans cause these
                }
                note_writers(&written, event);
            }
            // A full channel is a reason to scan already. So is an error, such as an overflow of
            // the queue.
            let _ = sender.try_send(());
        })?;
        watcher.watch(&self.folder, RecursiveMode::NonRecursive)?;
        self.subscription = Some(Subscription {
            _watcher: watcher,
            identity,
        });
        Ok(true)
    }

    /// Files that somebody has written to and not closed since, as far as the events tell.
    pub(super) fn being_written(&self) -> HashSet<PathBuf> {
        lock(&self.written).clone()
    }
}

fn note_writers(written: &Paths, event: &Event) {
    match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => lock(written).extend(event.paths.iter().cloned()),
        EventKind::Create(CreateKind::File) => {
            let made = event.paths.iter().filter(|path| is_newly_made(path));
            lock(written).extend(made.cloned());
        }
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

/// Whether a name that has appeared is a file that somebody has just made: it is open for writing,
/// though it has no byte yet. A link is another name of a file that nobody needs to have open.
fn is_newly_made(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.nlink() == 1)
}

fn lock(paths: &Paths) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
    paths.lock().unwrap_or_else(PoisonError::into_inner)
}
