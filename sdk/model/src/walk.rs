//! Work that goes through the blocks: forward passes, and passes there and back.
//!
//! Where all weights fit into memory, each thread takes one item after another through all blocks,
//! so that what an item has between two layers stays in its core's cache. Where they do not, a
//! *wave* of items goes through a block before the next block is begun, so that each weight is
//! read, decoded and moved once a wave, the next block's while this one computes. Both compute the
//! same numbers.

use std::collections::HashSet;
use std::sync::Arc;

use evopress_search::genotype::Candidate;
use evopress_tensor::Interrupted;

use crate::block_store::Streaming;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::ModelError;
use crate::kept_weights::Key;

/// What happens to items on their way through the blocks.
pub trait Walk: Send + Sync + 'static {
    /// What goes in.
    type Item: Send + 'static;
    /// An item between two blocks.
    type State: Send + 'static;
    /// What comes out.
    type Output: Send + 'static;
    /// Why it does not.
    type Error: From<ModelError> + From<Interrupted> + Send + 'static;

    /// Whether items come back through the blocks in reverse order.
    const RETURNS: bool = false;

    /// Before the first block.
    ///
    /// # Errors
    /// As the work has them.
    fn begin(&self, context: &mut Context, item: Self::Item) -> Result<Self::State, Self::Error>;

    /// The candidates whose weights a block needs on the way there; none where an item passes it
    /// by.
    fn candidates<'a>(&'a self, state: &'a Self::State, block_idx: usize) -> &'a [Arc<Candidate>];

    /// A block on the way there.
    ///
    /// # Errors
    /// As the work has them.
    fn run_block(
        &self,
        context: &mut Context,
        state: &mut Self::State,
        block_idx: usize,
    ) -> Result<(), Self::Error>;

    /// A block on the way back.
    ///
    /// # Errors
    /// As the work has them.
    fn return_through(
        &self,
        _context: &mut Context,
        _state: &mut Self::State,
        _block_idx: usize,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    /// After the last block.
    ///
    /// # Errors
    /// As the work has them.
    fn finish(
        &self,
        context: &mut Context,
        state: Self::State,
    ) -> Result<Self::Output, Self::Error>;
}

/// What is known of items before they go.
pub struct Items<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whose weights they need.
    pub candidates: Vec<Arc<Candidate>>,
    /// Memory of an item between two blocks, at most.
    pub state_bytes: u64,
    /// Threads that work on them at a time, at most.
    pub at_once: usize,
}

/// A block on the way there, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    block_idx: usize,
    is_return: bool,
}

impl Engine {
    /// Takes items through the blocks on the compute threads; what comes out is in their order.
    /// `done` is told how many are there, or as much as so many are.
    ///
    /// # Errors
    /// The first of the work; a weight that cannot be read; [`Interrupted`].
    pub fn walk<W: Walk>(
        &self,
        walk: W,
        items: Items<W::Item>,
        mut done: impl FnMut(usize),
    ) -> Result<Vec<W::Output>, W::Error> {
        let walk = Arc::new(walk);
        let steps = steps(self.spec().num_blocks(), W::RETURNS);
        if self.store().has_room_for(&items.candidates) {
            let whole = move |context: &mut Context, item: W::Item| {
                let mut state = walk.begin(context, item)?;
                for &step in &steps {
                    walk.step(context, &mut state, step)?;
                }
                walk.finish(context, state)
            };
            return self.map(items.at_once, items.items, whole, done);
        }
        let at_once = items.at_once;
        let streaming = self
            .store()
            .stream(&self.store().keys(&items.candidates, None));
        let count = items.items.len();
        let in_a_wave = self.wave_size(count, items.state_bytes);
        let mut outputs = Vec::with_capacity(count);
        let mut items = items.items.into_iter();
        while outputs.len() < count {
            let wave = items.by_ref().take(in_a_wave).collect();
            let before = outputs.len();
            let steps = (steps.as_slice(), at_once);
            outputs.extend(self.wave(&walk, wave, &streaming, steps, |share, size| {
                done(before + (share * size as f64) as usize);
            })?);
            done(outputs.len());
        }
        Ok(outputs)
    }

    /// How many of `count` items are in memory between two blocks: as many as there is room for,
    /// in waves of about one size, and one for each thread at least.
    fn wave_size(&self, count: usize, state_bytes: u64) -> usize {
        let most = (self.wave_bytes() / state_bytes.max(1)) as usize;
        let most = most.clamp(self.num_threads(), count.max(self.num_threads()));
        count.div_ceil(count.div_ceil(most).max(1)).max(1)
    }

    /// Work on items, on so many threads at a time.
    fn map<T, R, E>(
        &self,
        at_once: usize,
        items: Vec<T>,
        work: impl Fn(&mut Context, T) -> Result<R, E> + Send + Sync + 'static,
        mut done: impl FnMut(usize),
    ) -> Result<Vec<R>, E>
    where
        T: Send + 'static,
        R: Send + 'static,
        E: From<Interrupted> + Send + 'static,
    {
        if at_once >= self.num_threads() {
            return self.pool().map(items, work, done);
        }
        let work = Arc::new(work);
        let mut results = Vec::with_capacity(items.len());
        let mut items = items.into_iter();
        loop {
            let some: Vec<T> = items.by_ref().take(at_once.max(1)).collect();
            if some.is_empty() {
                return Ok(results);
            }
            let (work, before) = (Arc::clone(&work), results.len());
            let work = move |context: &mut Context, item: T| work(context, item);
            results.extend(self.pool().map(some, work, |count| done(before + count))?);
        }
    }

    /// Takes a wave through the blocks. `progress` is told the share that is done, and of how many.
    fn wave<W: Walk>(
        &self,
        walk: &Arc<W>,
        items: Vec<W::Item>,
        streaming: &Streaming<'_>,
        (steps, at_once): (&[Step], usize),
        mut progress: impl FnMut(f64, usize),
    ) -> Result<Vec<W::Output>, W::Error> {
        let size = items.len();
        let begin = {
            let walk = Arc::clone(walk);
            move |context: &mut Context, item| walk.begin(context, item)
        };
        let mut states = self.pool().map(items, begin, |_| ())?;
        // By block; none where all items pass it by.
        let needed: Vec<Option<Vec<Key>>> = (0..self.spec().num_blocks())
            .map(|block_idx| self.keys_of(walk.as_ref(), &states, block_idx))
            .collect();
        // On the way back other weights are needed.
        let keys = |step: &Step| match &needed[step.block_idx] {
            Some(keys) if !step.is_return => keys.as_slice(),
            _ => &[],
        };
        let is_passed_by = |step: &&Step| !step.is_return && needed[step.block_idx].is_none();
        let left = steps.iter().filter(|step| !is_passed_by(step));
        let left: Vec<Step> = left.copied().collect();
        if let Some(first) = left.first() {
            streaming.fetch(keys(first))?;
        }
        for (idx, &step) in left.iter().enumerate() {
            let next = left.get(idx + 1);
            let run = {
                let walk = Arc::clone(walk);
                move |context: &mut Context, mut state| {
                    walk.step(context, &mut state, step)?;
                    Ok(state)
                }
            };
            states = std::thread::scope(|scope| {
                let ahead = next.map(|next| scope.spawn(|| streaming.fetch(keys(next))));
                let run = self.map(at_once, states, run, |_| ());
                let ahead = ahead.map_or(Ok(()), |it| it.join().expect("reading does not panic"));
                let states: Result<_, W::Error> = run;
                ahead?;
                states
            })?;
            if next.is_none_or(|next| next.block_idx != step.block_idx) {
                streaming.release(step.block_idx);
            }
            progress((idx + 1) as f64 / (left.len() + 1) as f64, size);
        }
        let walk = Arc::clone(walk);
        let finish = move |context: &mut Context, state| walk.finish(context, state);
        self.pool().map(states, finish, |_| ())
    }

    /// The weights that a block needs; none where all items pass it by.
    fn keys_of<W: Walk>(
        &self,
        walk: &W,
        states: &[W::State],
        block_idx: usize,
    ) -> Option<Vec<Key>> {
        let all = states
            .iter()
            .flat_map(|state| walk.candidates(state, block_idx));
        let mut seen = HashSet::new();
        let candidates: Vec<Arc<Candidate>> = all
            .filter(|candidate| seen.insert(Arc::as_ptr(candidate)))
            .cloned()
            .collect();
        (!candidates.is_empty()).then(|| self.store().keys(&candidates, Some(block_idx)))
    }
}

/// Each block on the way there, and on the way back.
fn steps(num_blocks: usize, returns: bool) -> Vec<Step> {
    let there = (0..num_blocks).map(|block_idx| Step {
        block_idx,
        is_return: false,
    });
    let back = there.clone().rev().map(|step| Step {
        is_return: true,
        ..step
    });
    there.chain(back.filter(|_| returns)).collect()
}

trait Steps: Walk {
    fn step(
        &self,
        context: &mut Context,
        state: &mut Self::State,
        step: Step,
    ) -> Result<(), Self::Error> {
        match step.is_return {
            true => self.return_through(context, state, step.block_idx),
            false if self.candidates(state, step.block_idx).is_empty() => Ok(()),
            false => self.run_block(context, state, step.block_idx),
        }
    }
}

impl<W: Walk> Steps for W {}
