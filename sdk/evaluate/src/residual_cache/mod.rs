//! The parent's residual streams between blocks, so that what a child has in common with it is computed once.
//!
//! A child that differs from its parent first in block `b` has the parent's stream up to there: its forward pass begins at block `b`.
//! Streams are kept in f32 as they are, so a pass that begins later ends with the same bits. They take `4 B L D` bytes a sequence (B blocks,
//! L tokens, D hidden size); sequences for which the limit has no room cost a whole pass.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tch::Tensor;

use crate::error::Result;
use crate::genotype::Candidate;
use crate::model::Stream;
use crate::pool::ReadOnly;
use crate::source::LAYERS_PER_BLOCK;

/// Streams of one candidate, shared by the compute threads.
pub(crate) struct Prefixes {
    limit_bytes: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    parent: Option<Candidate>,
    /// By sequence: the stream before each block but the first.
    streams: HashMap<usize, ReadOnly<Vec<Tensor>>>,
    num_bytes: u64,
}

/// Where a candidate's pass over a sequence begins, and whether its streams are wanted.
pub(crate) enum Begin {
    /// At the first block.
    Start,
    /// At the first block, and the streams are worth keeping.
    Record,
    /// At a later block, with this stream.
    At(usize, Stream),
}

impl Prefixes {
    /// Keeps nothing yet, and never more than `limit_bytes`.
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            kept: Mutex::default(),
        }
    }

    /// From now on streams of `parent` are kept.
    pub(crate) fn keep_of(&self, parent: Candidate) {
        let mut kept = self.kept();
        if kept.parent.as_ref() != Some(&parent) {
            *kept = Kept {
                parent: Some(parent),
                ..Kept::default()
            };
        }
    }

    /// Where `candidate` begins on a sequence.
    pub(crate) fn begin(&self, candidate: &Candidate, sequence_idx: usize) -> Result<Begin> {
        let (block_idx, streams) = {
            let kept = self.kept();
            let Some(parent) = &kept.parent else {
                return Ok(Begin::Start);
            };
            let streams = kept.streams.get(&sequence_idx).map(ReadOnly::share);
            match (first_difference(parent, candidate), streams) {
                (Some(block_idx), Some(streams)) if block_idx > 0 => (block_idx, streams),
                (None, None) if kept.num_bytes < self.limit_bytes => return Ok(Begin::Record),
                _ => return Ok(Begin::Start),
            }
        };
        // A pass changes its stream in place.
        let stream = Stream::of(streams.get()[block_idx - 1].f_detach_copy()?);
        Ok(Begin::At(block_idx, stream))
    }

    /// Keeps the streams of `candidate`, if it is still the parent and there is room.
    pub(crate) fn keep(&self, candidate: &Candidate, sequence_idx: usize, streams: Vec<Tensor>) {
        let bytes = |stream: &Tensor| (stream.numel() * stream.kind().elt_size_in_bytes()) as u64;
        let num_bytes: u64 = streams.iter().map(bytes).sum();
        let mut kept = self.kept();
        let is_parent = kept.parent.as_ref() == Some(candidate);
        if !is_parent || kept.num_bytes + num_bytes > self.limit_bytes {
            return;
        }
        if kept
            .streams
            .insert(sequence_idx, ReadOnly::new(streams))
            .is_none()
        {
            kept.num_bytes += num_bytes;
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.kept().streams.len()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first block that two candidates do not have in common; none where they are the same.
fn first_difference(a: &Candidate, b: &Candidate) -> Option<usize> {
    (0..a.dropped.attention.len()).find(|&block_idx| {
        let layers = block_idx * LAYERS_PER_BLOCK..(block_idx + 1) * LAYERS_PER_BLOCK;
        a.dropped.attention[block_idx] != b.dropped.attention[block_idx]
            || a.dropped.mlp[block_idx] != b.dropped.mlp[block_idx]
            || a.weights[layers.clone()] != b.weights[layers]
    })
}

#[cfg(test)]
mod tests;
