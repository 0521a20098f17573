//! The parent's residual streams between blocks, so that what an offspring has in common with it is
//! computed once.
//!
//! An offspring that differs from its parent first in block `b` has the parent's stream up to
//! there: its forward pass begins at block `b`. Streams are cached in f32 as they are, so a pass
//! that begins later ends with the same bits. They take `4 B L D` bytes a sequence (B blocks, L
//! tokens, D hidden size); sequences for which the limit has no room cost a whole pass.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use evopress_model::Stream;
use evopress_search::genotype::Candidate;
use evopress_source::ModelSpec;
use evopress_tensor::ReadOnly;
use tch::Tensor;

use crate::error::Result;

/// Streams of one candidate, shared by the compute threads.
pub(crate) struct ResidualCache {
    spec: Arc<ModelSpec>,
    limit_bytes: u64,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    parent: Option<Candidate>,
    /// By sequence: the stream before each block but the first.
    streams: HashMap<usize, ReadOnly<Vec<Tensor>>>,
    /// Bytes of the streams that are there or on their way.
    num_bytes: u64,
}

/// Where a candidate's pass over a sequence begins, and whether its streams are wanted.
pub(crate) enum Begin {
    /// At the first block.
    Start,
    /// At the first block, and there is room for the streams.
    Record,
    /// At a later block, with this stream.
    At(usize, Stream),
}

impl ResidualCache {
    /// An empty cache that never takes more than `limit_bytes`.
    pub(crate) fn new(spec: Arc<ModelSpec>, limit_bytes: u64) -> Self {
        Self {
            spec,
            limit_bytes,
            content: Mutex::default(),
        }
    }

    /// From now on streams of `parent` are cached.
    pub(crate) fn set_parent(&self, parent: Candidate) {
        let mut content = self.content();
        if content.parent.as_ref() != Some(&parent) {
            *content = Content {
                parent: Some(parent),
                ..Content::default()
            };
        }
    }

    /// Where `candidate` begins on a sequence of `length` tokens.
    pub(crate) fn begin(
        &self,
        candidate: &Candidate,
        sequence_idx: usize,
        length: usize,
    ) -> Result<Begin> {
        let (block_idx, streams) = {
            let mut content = self.content();
            let num_bytes = content.num_bytes + self.bytes_of_sequence(length);
            let Some(parent) = &content.parent else {
                return Ok(Begin::Start);
            };
            let streams = content.streams.get(&sequence_idx).map(ReadOnly::share);
            match (self.first_difference(parent, candidate), streams) {
                (Some(block_idx), Some(streams)) if block_idx > 0 => (block_idx, streams),
                (None, None) if num_bytes <= self.limit_bytes => {
                    content.num_bytes = num_bytes;
                    return Ok(Begin::Record);
                }
                _ => return Ok(Begin::Start),
            }
        };
        // A pass changes its stream in place.
        let stream = Stream::of_sequence(streams.get()[block_idx - 1].f_detach_copy()?);
        Ok(Begin::At(block_idx, stream))
    }

    /// Caches the streams that a candidate was asked to [record](Begin::Record), if it is still the
    /// parent.
    pub(crate) fn insert(&self, candidate: &Candidate, sequence_idx: usize, streams: Vec<Tensor>) {
        let mut content = self.content();
        if content.parent.as_ref() == Some(candidate) {
            content.streams.insert(sequence_idx, ReadOnly::new(streams));
        }
    }

    fn bytes_of_sequence(&self, length: usize) -> u64 {
        let of_block = 4 * length as u64 * self.spec.hidden_size as u64;
        (self.spec.num_blocks() as u64 - 1) * of_block
    }

    /// Sequences whose streams are cached.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.content().streams.len()
    }

    fn content(&self) -> std::sync::MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first block that two candidates do not have in common; none where they are the same.
    fn first_difference(&self, a: &Candidate, b: &Candidate) -> Option<usize> {
        let mut first_layer = 0;
        self.spec
            .blocks
            .iter()
            .enumerate()
            .position(|(block_idx, block)| {
                let layers = first_layer..first_layer + block.layers.len();
                first_layer = layers.end;
                !a.dropped.agrees_with(&b.dropped, block_idx)
                    || a.weights[layers.clone()] != b.weights[layers]
            })
    }
}

#[cfg(test)]
mod tests;
