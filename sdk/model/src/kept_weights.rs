//! Which weights stay in memory.

use std::collections::{HashMap, HashSet};

use evopress_search::genotype::WeightId;
use evopress_tensor::Weight;
use lru::LruCache;
use tch::Kind;

/// A layer's weight in some form: the dense one, or a level's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    layer_idx: u32,
    level: Option<WeightId>,
    /// As a tensor of this dtype; none: as products want it.
    plain: Option<Kind>,
}

impl Key {
    /// As products want it.
    pub(crate) fn packed(layer_idx: usize, level: Option<WeightId>) -> Self {
        Self {
            layer_idx: layer_idx as u32,
            level,
            plain: None,
        }
    }

    /// As a tensor.
    pub(crate) fn plain(layer_idx: usize, level: Option<WeightId>, kind: Kind) -> Self {
        Self {
            plain: Some(kind),
            ..Self::packed(layer_idx, level)
        }
    }

    pub(crate) fn layer_idx(self) -> usize {
        self.layer_idx as usize
    }

    pub(crate) fn level(self) -> Option<WeightId> {
        self.level
    }

    pub(crate) fn plain_kind(self) -> Option<Kind> {
        self.plain
    }
}

/// Weights within a limit.
pub(crate) struct KeptWeights {
    limit_bytes: u64,
    /// What stays from walk to walk.
    resident: LruCache<Key, Weight>,
    resident_bytes: u64,
    streamed: Option<Streamed>,
}

/// What comes by while a walk streams.
#[derive(Default)]
struct Streamed {
    /// By block.
    blocks: HashMap<usize, HashMap<Key, Weight>>,
    num_bytes: u64,
    limit_bytes: u64,
}

impl KeptWeights {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            resident: LruCache::unbounded(),
            resident_bytes: 0,
            streamed: None,
        }
    }

    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    pub(crate) fn get(&mut self, key: &Key) -> Option<Weight> {
        if let Some(weight) = self.resident.get(key) {
            return Some(weight.share());
        }
        let blocks = &self.streamed.as_ref()?.blocks;
        let found = blocks.values().find_map(|weights| weights.get(key));
        found.map(Weight::share)
    }

    /// Whether a weight of so many bytes would be kept without another one going.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        let streams = self.streamed.as_ref();
        self.resident_bytes + bytes <= self.resident_limit()
            || streams.is_some_and(|it| it.num_bytes + bytes <= it.limit_bytes)
    }

    /// Keeps a weight of a block where it may stay. Tensors beside packed weights only come by.
    pub(crate) fn insert(&mut self, key: Key, weight: &Weight, block_idx: usize) {
        let bytes = weight.num_bytes();
        let limit_bytes = self.resident_limit();
        let Some(streamed) = &mut self.streamed else {
            if key.plain.is_none() {
                self.insert_resident(key, weight);
                self.shrink_resident(limit_bytes, 1);
            }
            return;
        };
        if key.plain.is_none() && self.resident_bytes + bytes <= limit_bytes {
            self.insert_resident(key, weight);
        } else if streamed.num_bytes + bytes <= streamed.limit_bytes {
            let of_block = streamed.blocks.entry(block_idx).or_default();
            if of_block.insert(key, weight.share()).is_none() {
                streamed.num_bytes += bytes;
            }
        }
    }

    /// From now on up to `bytes`, but no more than half of the limit, are for weights that come
    /// by; of the others those stay that are `needed`.
    pub(crate) fn begin_streaming(&mut self, needed: &[Key], bytes: u64) {
        let needed: HashSet<&Key> = needed.iter().collect();
        let others = self.resident.iter().map(|(key, _)| *key);
        let others: Vec<Key> = others.filter(|key| !needed.contains(key)).collect();
        for key in others {
            self.remove_resident(&key);
        }
        self.streamed = Some(Streamed {
            limit_bytes: bytes.min(self.limit_bytes / 2),
            ..Streamed::default()
        });
        self.shrink_resident(self.resident_limit(), 0);
    }

    /// Lets go what came by for a block.
    pub(crate) fn release(&mut self, block_idx: usize) {
        if let Some(streamed) = &mut self.streamed {
            let weights = streamed.blocks.remove(&block_idx).unwrap_or_default();
            streamed.num_bytes -= weights.values().map(Weight::num_bytes).sum::<u64>();
        }
    }

    /// Lets everything go.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.limit_bytes);
    }

    pub(crate) fn end_streaming(&mut self) {
        self.streamed = None;
    }

    fn resident_limit(&self) -> u64 {
        let streamed = self.streamed.as_ref().map_or(0, |it| it.limit_bytes);
        self.limit_bytes - streamed
    }

    fn insert_resident(&mut self, key: Key, weight: &Weight) {
        if self.resident.put(key, weight.share()).is_none() {
            self.resident_bytes += weight.num_bytes();
        }
    }

    fn remove_resident(&mut self, key: &Key) {
        if let Some(weight) = self.resident.pop(key) {
            self.resident_bytes -= weight.num_bytes();
        }
    }

    /// Lets the least recently used go, but for the last so many.
    fn shrink_resident(&mut self, limit_bytes: u64, least: usize) {
        while self.resident_bytes > limit_bytes && self.resident.len() > least {
            let Some((_, oldest)) = self.resident.pop_lru() else {
                return;
            };
            self.resident_bytes -= oldest.num_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Tensor};

    use super::*;

    /// 64 bytes.
    fn weight() -> Weight {
        Weight::Plain(Tensor::zeros([4, 4], (Kind::Float, Device::Cpu)))
    }

    fn is_there(kept: &mut KeptWeights, layer_idx: usize) -> bool {
        kept.get(&Key::packed(layer_idx, None)).is_some()
    }

    #[test]
    fn the_least_recently_used_make_room() {
        let mut kept = KeptWeights::new(3 * 64);
        for layer_idx in 0..3 {
            kept.insert(Key::packed(layer_idx, None), &weight(), layer_idx);
        }
        assert!(is_there(&mut kept, 0) && !kept.has_room_for(64));
        kept.insert(Key::packed(3, None), &weight(), 3);
        let there: Vec<bool> = (0..4).map(|idx| is_there(&mut kept, idx)).collect();
        assert_eq!(there, [true, false, true, true]);
        kept.insert(Key::plain(4, None, Kind::Float), &weight(), 4);
        assert!(kept.get(&Key::plain(4, None, Kind::Float)).is_none());
    }

    #[test]
    fn the_first_blocks_stay_while_others_come_by() {
        let mut kept = KeptWeights::new(4 * 64);
        kept.insert(Key::packed(9, None), &weight(), 9);
        let needed: Vec<Key> = (0..6).map(|idx| Key::packed(idx, None)).collect();
        for _ in 0..2 {
            kept.begin_streaming(&needed, 2 * 64);
            assert!(!is_there(&mut kept, 9), "nobody needs it");
            for (block_idx, key) in needed.iter().enumerate() {
                if kept.get(key).is_none() {
                    assert!(kept.has_room_for(64));
                    kept.insert(*key, &weight(), block_idx);
                }
                if block_idx > 0 {
                    kept.release(block_idx - 1);
                }
            }
            kept.end_streaming();
            let there: Vec<bool> = (0..6).map(|idx| is_there(&mut kept, idx)).collect();
            assert_eq!(there, [true, true, false, false, false, false]);
        }
    }

    #[test]
    fn more_than_there_is_room_for_is_not_kept() {
        let mut kept = KeptWeights::new(2 * 64);
        kept.begin_streaming(&[], u64::MAX);
        for layer_idx in 0..4 {
            kept.insert(Key::packed(layer_idx, None), &weight(), 0);
        }
        let there: Vec<bool> = (0..4).map(|idx| is_there(&mut kept, idx)).collect();
        assert_eq!(there, [true, true, false, false]);
        assert!(!kept.has_room_for(1));
    }
}
