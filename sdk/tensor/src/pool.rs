//! Fixed compute threads, each with a context of its own (model handles are `Send`, not `Sync`).
//!
//! On a CPU one sequence per thread scales better than several threads in one product: nothing is
//! synchronised inside a forward pass and a sequence's activations stay in its core's cache. On a
//! GPU one thread is enough: several launch kernels no faster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use crate::error::Interrupted;

type Job<C> = Box<dyn FnOnce(&mut C) + Send>;

/// A pool of threads with a context `C` each, which run without gradients.
pub struct Pool<C> {
    jobs: Option<mpsc::Sender<Job<C>>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl<C: Send + 'static> Pool<C> {
    /// One thread per context. No new work is begun once `stop` is set.
    pub fn new(contexts: Vec<C>, stop: Arc<AtomicBool>) -> Self {
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
    pub fn num_threads(&self) -> usize {
        self.threads.len()
    }

    /// `work` on every item, results in the items' order; `done` is told after each how many are
    /// finished. After the first error items that have not begun are left out, and the call returns
    /// when those that have begun are finished.
    ///
    /// # Errors
    /// The first error of `work`; [`Interrupted`] where `stop` was set before an item began.
    ///
    /// # Panics
    /// When `work` panics.
    pub fn map<T, R, E>(
        &self,
        items: Vec<T>,
        work: impl Fn(&mut C, T) -> Result<R, E> + Send + Sync + 'static,
        mut done: impl FnMut(usize),
    ) -> Result<Vec<R>, E>
    where
        T: Send + 'static,
        R: Send + 'static,
        E: From<Interrupted> + Send + 'static,
    {
        let jobs = self
            .jobs
            .as_ref()
            .expect("the pool sends until it is dropped");
        let (work, has_failed) = (Arc::new(work), Arc::new(AtomicBool::new(false)));
        let (sender, results) = mpsc::channel();
        let count = items.len();
        for (index, item) in items.into_iter().enumerate() {
            let (work, sender) = (Arc::clone(&work), sender.clone());
            let (stop, has_failed) = (Arc::clone(&self.stop), Arc::clone(&has_failed));
            let job: Job<C> = Box::new(move |context| {
                if has_failed.load(Ordering::Relaxed) {
                    return;
                }
                let result = match stop.load(Ordering::Relaxed) {
                    true => Err(Interrupted.into()),
                    false => work(context, item),
                };
                if result.is_err() {
                    has_failed.store(true, Ordering::Relaxed);
                }
                // Nobody receives where the caller's `done` panicked.
                let _ = sender.send((index, result));
            });
            assert!(jobs.send(job).is_ok(), "a compute thread panicked");
        }
        drop(sender);
        let mut ordered: Vec<Option<R>> = (0..count).map(|_| None).collect();
        let (mut finished, mut first_error) = (0, None);
        for (index, result) in results {
            match result {
                Ok(result) => {
                    ordered[index] = Some(result);
                    finished += 1;
                    done(finished);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        let ordered: Vec<R> = ordered.into_iter().flatten().collect();
        assert_eq!(ordered.len(), count, "a compute thread panicked");
        Ok(ordered)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Debug, PartialEq)]
    enum Failure {
        Item(usize),
        Stopped,
    }

    impl From<Interrupted> for Failure {
        fn from(_: Interrupted) -> Self {
            Self::Stopped
        }
    }

    fn pool(num_threads: usize) -> Pool<()> {
        Pool::new(vec![(); num_threads], Arc::default())
    }

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let mut told = Vec::new();
        let work = |(): &mut (), item: usize| -> Result<usize, Failure> { Ok(item * item) };
        let squares = pool(3).map((0..20).collect(), work, |done| told.push(done));
        let expected: Vec<usize> = (0..20).map(|item| item * item).collect();
        assert_eq!(squares, Ok(expected));
        assert_eq!(told, (1..=20).collect::<Vec<_>>());
    }

    #[test]
    fn after_an_error_items_that_wait_are_left_out() {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let work = move |(): &mut (), item: usize| -> Result<(), Failure> {
            count.fetch_add(1, Ordering::Relaxed);
            match item {
                3 => Err(Failure::Item(item)),
                _ => Ok(()),
            }
        };
        let pool = pool(1);
        let found = pool.map((0..100).collect(), work, |_| ());
        assert_eq!(found, Err(Failure::Item(3)));
        assert_eq!(begun.load(Ordering::Relaxed), 4);
        // The pool serves the next caller.
        let work = |(): &mut (), item: usize| -> Result<usize, Failure> { Ok(item) };
        assert_eq!(pool.map(vec![7], work, |_| ()), Ok(vec![7]));
    }

    #[test]
    fn nothing_begins_after_a_stop() {
        let stop = Arc::new(AtomicBool::new(true));
        let pool = Pool::new(vec![()], stop);
        let work = |(): &mut (), _: usize| -> Result<(), Failure> { panic!("it has begun") };
        assert_eq!(pool.map(vec![0, 1], work, |_| ()), Err(Failure::Stopped));
    }
}
