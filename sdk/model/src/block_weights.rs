//! Where a block's sub-blocks take the weights of their linear layers from.

use evopress_tensor::Weight;

use crate::error::Result;
use crate::runs::Runs;

type OfSlots<'a> = dyn Fn(&[usize]) -> Result<Runs> + 'a;

/// The weights of a block's linear layers, each taken where it is needed: those of experts that no
/// token goes to are never asked for.
pub struct BlockWeights<'a> {
    /// Makes the weights of some slots.
    of_slots: Box<OfSlots<'a>>,
}

impl<'a> BlockWeights<'a> {
    /// `of_slots` makes the weights of some slots of the block.
    pub(crate) fn new(of_slots: impl Fn(&[usize]) -> Result<Runs> + 'a) -> Self {
        Self {
            of_slots: Box::new(of_slots),
        }
    }

    /// One set of weights for all rows; `weights` are those of the block's layers.
    pub fn of_all_rows(weights: &'a [Weight]) -> Self {
        Self::new(|slots| {
            let weights = slots.iter().map(|&slot| weights[slot].share());
            Ok(Runs::one(weights.collect()))
        })
    }

    /// The weights of some slots.
    pub(crate) fn get(&self, slots: &[usize]) -> Result<Runs> {
        (self.of_slots)(slots)
    }
}
