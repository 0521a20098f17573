//! Fixed compute threads, each with a context of its own (model handles are `Send`, not `Sync`).
//!
//! On a CPU one sequence per thread scales better than several threads in one product: nothing is synchronised inside a
//! forward pass and a sequence's activations stay in its core's cache. On a GPU one thread is enough: several
//! launch kernels no faster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use crate::error::{EngineError, Result};

type Job<C> = Box<dyn FnOnce(&mut C) + Send>;

/// A pool of threads with a context `C` each.
pub(crate) struct Pool<C> {
    jobs: Option<mpsc::Sender<Job<C>>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl<C: Send + 'static> Pool<C> {
    /// One thread per context. No new work is begun once `stop` is set.
    pub(crate) fn new(contexts: Vec<C>, stop: Arc<AtomicBool>) -> Self {
        let (sender, receiver) = mpsc::channel::<Job<C>>();
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = contexts
            .into_iter()
            .map(|mut context| {
                let receiver = Arc::clone(&receiver);
                std::thread::spawn(move || {
                    let _no_grad = tch::no_grad_guard();
                    loop {
                        let job = receiver
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .recv();
                        match job {
                            Ok(job) => job(&mut context),
                            Err(_) => return,
                        }
                    }
                })
            })
            .collect();
        Self {
            jobs: Some(sender),
            threads,
            stop,
        }
    }

    /// How many threads there are.
    pub(crate) fn num_threads(&self) -> usize {
        self.threads.len()
    }

    /// `work` on every item, results in the items' order; `done` is told after each how many are finished.
    pub(crate) fn map<T, R>(
        &self,
        items: Vec<T>,
        work: impl Fn(&mut C, T) -> Result<R> + Send + Sync + 'static,
        mut done: impl FnMut(usize),
    ) -> Result<Vec<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let jobs = self
            .jobs
            .as_ref()
            .expect("the pool sends until it is dropped");
        let work = Arc::new(work);
        let (sender, results) = mpsc::channel();
        let count = items.len();
        for (index, item) in items.into_iter().enumerate() {
            let (work, sender, stop) = (Arc::clone(&work), sender.clone(), Arc::clone(&self.stop));
            let job: Job<C> = Box::new(move |context| {
                let result = if stop.load(Ordering::Relaxed) {
                    Err(EngineError::Interrupted)
                } else {
                    work(context, item)
                };
                // The receiver is gone only when another item has failed already.
                let _ = sender.send((index, result));
            });
            assert!(jobs.send(job).is_ok(), "a compute thread panicked");
        }
        drop(sender);
        let mut ordered: Vec<Option<R>> = (0..count).map(|_| None).collect();
        for (finished, (index, result)) in results.iter().enumerate() {
            ordered[index] = Some(result?);
            done(finished + 1);
        }
        let ordered: Vec<R> = ordered.into_iter().flatten().collect();
        assert_eq!(ordered.len(), count, "a compute thread panicked");
        Ok(ordered)
    }
}

/// Tensors that every thread may read: they are made before they are shared, and never changed afterwards.
pub(crate) struct ReadOnly<T>(Arc<Inner<T>>);

struct Inner<T>(T);

// SAFETY: what is inside is only read; libtorch's reference counts are atomic.
unsafe impl<T: Send> Sync for Inner<T> {}

impl<T> ReadOnly<T> {
    pub(crate) fn new(content: T) -> Self {
        Self(Arc::new(Inner(content)))
    }

    /// Another handle to the same.
    pub(crate) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    pub(crate) fn get(&self) -> &T {
        &self.0.0
    }
}

impl<C> Drop for Pool<C> {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            // A panic in a thread was reported where its result was missed.
            let _ = thread.join();
        }
    }
}
