//! Where a block's sub-blocks take the weights of their linear layers from, and which experts are
//! left out.

use evopress_tensor::Weight;

use crate::error::Result;
use crate::runs::Runs;

type OfSlots<'a> = dyn Fn(&[usize]) -> Result<Runs> + 'a;

/// The weights of a block's linear layers, each taken where it is needed: those of experts that no
/// token goes to are never asked for.
pub struct BlockWeights<'a> {
    /// Makes the weights of some slots.
    of_slots: Box<OfSlots<'a>>,
    /// Experts that are left out; no entry where all are there.
    pub(crate) left_out: Vec<LeftOut<'a>>,
}

/// The experts that a router does not know for some rows.
pub(crate) struct LeftOut<'a> {
    /// How many rows, which follow those of the entry before.
    pub(crate) num_rows: i64,
    /// Numbers of the experts.
    pub(crate) experts: &'a [u32],
}

impl<'a> BlockWeights<'a> {
    /// `of_slots` makes the weights of some slots of the block.
    pub(crate) fn new(of_slots: impl Fn(&[usize]) -> Result<Runs> + 'a) -> Self {
        Self {
            of_slots: Box::new(of_slots),
            left_out: Vec::new(),
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
