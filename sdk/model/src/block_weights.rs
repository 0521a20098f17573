//! The weights of a block's linear layers, by what the sub-blocks do with them.

use std::convert::Infallible;

use evopress_source::spec::{BlockSpec, LayerRole};
use evopress_tensor::Weight;

use crate::runs::Runs;

/// Weights of an attention.
pub struct AttentionWeights {
    /// Weights of the query, key and value projections.
    pub(crate) projections: Runs,
    /// Weights of the output projection.
    pub(crate) output: Runs,
}

/// Weights of an MLP.
pub struct MlpWeights {
    /// Weights of the gate and up projections.
    pub(crate) gate_up: Runs,
    /// Weights of the down projection.
    pub(crate) down: Runs,
}

const PROJECTIONS: [LayerRole; 3] = [LayerRole::Query, LayerRole::Key, LayerRole::Value];
const GATE_UP: [LayerRole; 2] = [LayerRole::Gate, LayerRole::Up];

impl AttentionWeights {
    /// `runs` makes the weights of some slots of the block. None where the block has no attention.
    pub(crate) fn new<E>(
        spec: &BlockSpec,
        runs: impl Fn(&[usize]) -> Result<Runs, E>,
    ) -> Result<Option<Self>, E> {
        let (Some(projections), Some(output)) =
            (slots(spec, &PROJECTIONS), slots(spec, &[LayerRole::Output]))
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            projections: runs(&projections)?,
            output: runs(&output)?,
        }))
    }

    /// One set of weights for all rows; `weights` are those of the block's layers. None where the
    /// block has no attention.
    pub fn of_all_rows(spec: &BlockSpec, weights: &[Weight]) -> Option<Self> {
        let Ok(found) = Self::new(spec, |slots| of_slots(weights, slots));
        found
    }
}

impl MlpWeights {
    /// `runs` makes the weights of some slots of the block. None where the block has no MLP.
    pub(crate) fn new<E>(
        spec: &BlockSpec,
        runs: impl Fn(&[usize]) -> Result<Runs, E>,
    ) -> Result<Option<Self>, E> {
        let (Some(gate_up), Some(down)) = (slots(spec, &GATE_UP), slots(spec, &[LayerRole::Down]))
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            gate_up: runs(&gate_up)?,
            down: runs(&down)?,
        }))
    }

    /// One set of weights for all rows; `weights` are those of the block's layers. None where the
    /// block has no MLP.
    pub fn of_all_rows(spec: &BlockSpec, weights: &[Weight]) -> Option<Self> {
        let Ok(found) = Self::new(spec, |slots| of_slots(weights, slots));
        found
    }
}

fn of_slots(weights: &[Weight], slots: &[usize]) -> Result<Runs, Infallible> {
    let weights = slots.iter().map(|&slot| weights[slot].share());
    Ok(Runs::one(weights.collect()))
}

fn slots(spec: &BlockSpec, roles: &[LayerRole]) -> Option<Vec<usize>> {
    roles.iter().map(|&role| spec.layer(role)).collect()
}
