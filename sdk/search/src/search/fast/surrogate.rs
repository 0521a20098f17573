//! What a change of the parent is expected to do, by gradients.
//!
//! Around the origin whose gradients were taken every unit may take a step to a next level, `m`. For a set `S` of steps
//! `J(S) = Σ (f_m + s_m) + ½ Σ_{m,n} G_mn`, with first-order terms `f` and the Gram matrix `G` of responses ([`crate::prediction`]), both
//! averaged over all passes that were made at the origin, and `s` what happens at the first token of sequences ([`super::sinks`]).
//! [`super::regression`] corrects them by what evaluations have shown.

use serde::{Deserialize, Serialize};

use super::Settings;
use super::memory::{Origin, Pass};
use super::race::Difference;
use super::sinks::Sinks;
use crate::error::{Result, SearchError};
use crate::genotype::{Genotype, SearchSpace};
use crate::prediction::{LevelChange, PredictionRequest, Predictions};
use crate::search::{Fitness, Purpose, draw};

/// Squared noise of the predictions, as a part of their own squared size, above which another pass is worth its price.
const NOISY: f64 = 0.25;
/// Mean trust in the terms at the first token, below which the same holds.
const ENOUGH_TRUST: f64 = 0.75;
/// Samples of a pass until they are trusted, and after that: they cost a backward pass each, and only the first token takes several.
const SAMPLES_WHILE_UNSURE: usize = 4;
const SAMPLES: usize = 1;

/// A paired difference: what a change has done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Observation {
    /// By unit: level before and after.
    changes: Vec<(usize, u16, u16)>,
    /// What gradients predicted.
    pub(super) predicted: Terms,
    pub(super) mean: f64,
    pub(super) standard_error: f64,
}

/// Predicted changes, each with a factor of its own that evaluations correct: first order and second order, and both at the first token, of
/// each of [`KINDS`]; then what steps between levels do together, and what others do.
pub(super) type Terms = [f64; NUM_TERMS];
pub(super) const NUM_TERMS: usize = TERMS_OF_KIND * KINDS + 2;
/// Steps of attention layers to a higher level and to a lower one, of the MLPs' likewise, sub-blocks given back and left out.
const KINDS: usize = 6;
const TERMS_OF_KIND: usize = 4;
/// The first kind of sub-blocks.
const DROPS: usize = 4;

/// Predictions around an origin.
pub(super) struct Surrogate {
    origin: Genotype,
    /// By unit: the steps that it may take from the origin's level, indices into `moves`.
    by_unit: Vec<Vec<usize>>,
    /// By unit: how many pairs of neighbouring levels the units before it have.
    offsets: Vec<usize>,
    moves: Vec<LevelChange>,
    /// By move.
    kinds: Vec<usize>,
    /// The mean of all passes so far.
    predictions: Option<Predictions>,
    num_averaged: usize,
    /// Passes that were made, those with numerical trouble too.
    num_made: usize,
    /// By move.
    first: Vec<f64>,
    gram: Vec<Vec<f64>>,
    /// By move: both terms at the first token, as far as they are to be believed.
    sink: Vec<(f64, f64)>,
}

impl Surrogate {
    /// Knows nothing yet.
    pub(super) fn new(space: &SearchSpace, origin: &Origin) -> Self {
        let genotype = origin.genotype.clone();
        let moves = steps(space, &genotype);
        let mut by_unit = vec![Vec::new(); space.units().len()];
        for (idx, step) in moves.iter().enumerate() {
            by_unit[step.unit_idx].push(idx);
        }
        let mut num_pairs = 0;
        let offsets = space.units().iter().map(|unit| {
            num_pairs += unit.levels.len() - 1;
            num_pairs + 1 - unit.levels.len()
        });
        let mut offsets: Vec<usize> = offsets.collect();
        offsets.push(num_pairs);
        let kinds = moves.iter().map(|step| {
            let is_down = step.level > genotype.level(step.unit_idx);
            let first = match space.only_drops(step.unit_idx) {
                true => DROPS,
                false => 2 * usize::from(space.changes_mlp(step.unit_idx)),
            };
            first + usize::from(is_down)
        });
        Self {
            by_unit,
            offsets,
            kinds: kinds.collect(),
            predictions: None,
            num_averaged: 0,
            num_made: 0,
            first: vec![0.0; moves.len()],
            gram: vec![vec![0.0; moves.len()]; moves.len()],
            sink: vec![(0.0, 0.0); moves.len()],
            moves,
            origin: genotype,
        }
    }

    /// Makes those gradient passes of the origin that are missing; new to `sinks` where there are any.
    pub(super) fn make_passes(
        &mut self,
        fitness: &mut dyn Fitness,
        origin: &Origin,
        settings: &Settings,
        mut sinks: Option<&mut Sinks>,
    ) -> Result<()> {
        for &pass in &origin.passes[self.num_made..] {
            self.pass(fitness, pass, settings, sinks.as_deref_mut())?;
            self.num_made += 1;
        }
        Ok(())
    }

    /// Takes the terms at the first token from what all passes have shown.
    pub(super) fn read(&mut self, sinks: &Sinks) {
        let Some(predictions) = &self.predictions else {
            return;
        };
        let steps = self.moves.iter().zip(&predictions.sink);
        let terms = steps.map(|(step, &(slope, _))| {
            let (square, trust) = sinks.get(&self.origin, step);
            (trust * slope, trust * 0.5 * square)
        });
        self.sink = terms.collect();
    }

    /// How many samples the next pass takes where levels are at stake.
    pub(super) fn num_samples(&self, sinks: &Sinks) -> usize {
        match self.is_unsure(sinks) {
            true => SAMPLES_WHILE_UNSURE,
            false => SAMPLES,
        }
    }

    /// Whether what is known of the first token is little to be believed, over all steps between levels.
    fn is_unsure(&self, sinks: &Sinks) -> bool {
        let steps = self.moves.iter().zip(&self.kinds);
        let levels = steps.filter(|(_, kind)| **kind < DROPS);
        let trusts: Vec<f64> = levels
            .map(|(step, _)| sinks.get(&self.origin, step).1)
            .collect();
        trusts.iter().sum::<f64>() < ENOUGH_TRUST * trusts.len() as f64
    }

    /// One gradient pass, on sequences that its number draws. Numerical trouble in it is no reason to give up: the search goes on with
    /// what it has.
    fn pass(
        &mut self,
        fitness: &mut dyn Fitness,
        pass: Pass,
        settings: &Settings,
        sinks: Option<&mut Sinks>,
    ) -> Result<()> {
        let (purpose, seed) = (Purpose::GradientMinibatch, settings.seed);
        let count = settings.gradient_sequences;
        let sequence_idxs = draw(fitness, seed, pass.number, purpose, count);
        let request = PredictionRequest {
            parent: &self.origin,
            changes: &self.moves,
            sequence_idxs: &sequence_idxs,
            samples_of_levels: pass.num_samples,
            seed,
            pass: pass.number,
        };
        let predictions = match fitness.predict(&request) {
            Err(SearchError::NotFinite { .. }) => return Ok(()),
            predictions => predictions?,
        };
        let Some(predictions) = predictions.filter(is_finite) else {
            return Ok(());
        };
        if let Some(sinks) = sinks {
            sinks.add(&self.origin, &self.moves, &predictions);
        }
        self.num_averaged += 1;
        let mean = match self.predictions.take() {
            Some(mean) => averaged(mean, &predictions, self.num_averaged as f64),
            None => predictions,
        };
        self.first = shrunk(&mean.first);
        self.gram.clone_from(&mean.gram);
        self.predictions = Some(mean);
        Ok(())
    }

    /// Whether more passes would make the predictions much better.
    pub(super) fn is_noisy(&self, sinks: &Sinks) -> bool {
        let Some(predictions) = &self.predictions else {
            return false;
        };
        if self.is_unsure(sinks) {
            return true;
        }
        let errors = predictions.first.iter().map(|(_, error)| error * error);
        let sizes = (0..self.moves.len()).map(|idx| self.first[idx] + 0.5 * self.gram[idx][idx]);
        errors.sum::<f64>() > NOISY * sizes.map(|size| size.powi(2)).sum::<f64>()
    }

    /// Whether predictions come from gradients.
    pub(super) fn has_gradients(&self) -> bool {
        self.predictions.is_some()
    }

    /// Whether a unit of `genotype` is where no step from the origin leads, or so much has changed since that gradients are worth taking
    /// again.
    pub(super) fn is_stale(&self, genotype: &Genotype) -> bool {
        let moved = (0..self.by_unit.len())
            .filter(|&idx| genotype.0[idx] != self.origin.0[idx])
            .count();
        let is_near = |(idx, level): (usize, &u16)| self.levels(idx).any(|near| near == *level);
        let is_within = genotype.0.iter().enumerate().all(is_near);
        !is_within || self.has_gradients() && moved > (self.by_unit.len() / 16).max(3)
    }

    /// The step that brings a unit from the origin's level to another; none where it stays, or where no step leads.
    pub(super) fn step(&self, unit_idx: usize, level: u16) -> Option<usize> {
        if self.origin.0[unit_idx] == level {
            return None;
        }
        let mut steps = self.by_unit[unit_idx].iter();
        steps
            .find(|&&idx| self.moves[idx].level == usize::from(level))
            .copied()
    }

    /// Levels that a unit may have.
    pub(super) fn levels(&self, unit_idx: usize) -> impl Iterator<Item = u16> + '_ {
        let steps = self.by_unit[unit_idx].iter();
        std::iter::once(self.origin.0[unit_idx])
            .chain(steps.map(|&idx| self.moves[idx].level as u16))
    }

    pub(super) fn num_steps(&self) -> usize {
        self.moves.len()
    }

    /// Twice the second-order change of two steps together, beyond that of each.
    pub(super) fn gram(&self, a: usize, b: usize) -> f64 {
        self.gram[a][b]
    }

    /// Pairs of neighbouring levels, of all units.
    pub(super) fn num_pairs(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// What a race has shown of the change from `parent` to `genotype`.
    pub(super) fn observation(
        &self,
        parent: &Genotype,
        genotype: &Genotype,
        seen: &Difference,
    ) -> Observation {
        let pairs = parent.0.iter().zip(&genotype.0).enumerate();
        let changes = pairs.filter(|(_, (before, after))| before != after);
        let (after, before) = (self.terms(genotype), self.terms(parent));
        Observation {
            changes: changes.map(|(idx, (&a, &b))| (idx, a, b)).collect(),
            predicted: std::array::from_fn(|idx| after[idx] - before[idx]),
            mean: seen.mean,
            standard_error: seen.standard_error,
        }
    }

    /// What a step does alone.
    pub(super) fn alone(&self, idx: usize) -> Terms {
        let mut terms = [0.0; NUM_TERMS];
        let (slope, curvature) = self.sink[idx];
        let of_kind = [self.first[idx], 0.5 * self.gram[idx][idx], slope, curvature];
        terms[TERMS_OF_KIND * self.kinds[idx]..][..TERMS_OF_KIND].copy_from_slice(&of_kind);
        terms
    }

    /// Which of the [`Terms`] two steps together belong to.
    pub(super) fn together(&self, a: usize, b: usize) -> usize {
        let drops = |idx: usize| self.kinds[idx] >= DROPS;
        NUM_TERMS - 2 + usize::from(drops(a) || drops(b))
    }

    /// Change from the origin.
    fn terms(&self, genotype: &Genotype) -> Terms {
        let steps: Vec<usize> = (0..self.by_unit.len())
            .filter_map(|idx| self.step(idx, genotype.0[idx]))
            .collect();
        let mut terms = [0.0; NUM_TERMS];
        for &a in &steps {
            let alone = self.alone(a);
            (0..NUM_TERMS).for_each(|idx| terms[idx] += alone[idx]);
            for &b in steps.iter().filter(|&&b| b != a) {
                terms[self.together(a, b)] += 0.5 * self.gram[a][b];
            }
        }
        terms
    }

    /// The pairs of neighbouring levels between two levels of a unit: +1 on the way to a higher index, −1 to a lower one.
    fn pairs(&self, unit_idx: usize, from: u16, to: u16) -> impl Iterator<Item = (usize, f64)> {
        let offset = self.offsets[unit_idx];
        let sign = if from <= to { 1.0 } else { -1.0 };
        (from.min(to)..from.max(to)).map(move |level| (offset + usize::from(level), sign))
    }

    /// The pairs that a step crosses.
    pub(super) fn pairs_of_step(&self, idx: usize) -> impl Iterator<Item = (usize, f64)> {
        let step = self.moves[idx];
        let from = self.origin.0[step.unit_idx];
        self.pairs(step.unit_idx, from, step.level as u16)
    }

    /// The pairs that a change crosses, in the order of the units.
    pub(super) fn features(&self, seen: &Observation) -> Vec<(usize, f64)> {
        let changes = seen.changes.iter();
        changes
            .flat_map(|&(unit_idx, from, to)| self.pairs(unit_idx, from, to))
            .collect()
    }
}

/// Every step of every unit whose level makes a difference.
fn steps(space: &SearchSpace, origin: &Genotype) -> Vec<LevelChange> {
    (0..space.units().len())
        .filter(|&unit_idx| !space.is_idle(origin, unit_idx))
        .flat_map(|unit_idx| {
            let level = origin.level(unit_idx);
            let mut levels = space.next_levels(unit_idx, level, true);
            levels.extend(space.next_levels(unit_idx, level, false));
            levels
                .into_iter()
                .map(move |level| LevelChange { unit_idx, level })
        })
        .collect()
}

fn is_finite(predictions: &Predictions) -> bool {
    let first = predictions.first.iter().all(|(mean, _)| mean.is_finite());
    let mut sink = predictions.sink.iter();
    let sink = sink.all(|(slope, square)| slope.is_finite() && square.is_finite());
    let mut gram = predictions.gram.iter().flatten();
    first && sink && gram.all(|value| value.is_finite())
}

/// The mean of `count` passes, of which `mean` is that of all but the last.
fn averaged(mut mean: Predictions, last: &Predictions, count: f64) -> Predictions {
    let mix = |mean: &mut f64, last: f64| *mean += (last - *mean) / count;
    for (mean, last) in mean.first.iter_mut().zip(&last.first) {
        mix(&mut mean.0, last.0);
        let squares = (mean.1 * (count - 1.0)).powi(2) + last.1.powi(2);
        mean.1 = squares.sqrt() / count;
    }
    for (mean, last) in mean.sink.iter_mut().zip(&last.sink) {
        mix(&mut mean.0, last.0);
        mix(&mut mean.1, last.1);
    }
    for (mean, last) in mean.gram.iter_mut().zip(&last.gram) {
        let pairs = mean.iter_mut().zip(last);
        pairs.for_each(|(mean, &last)| mix(mean, last));
    }
    mean
}

/// First-order terms drawn towards 0 by how uncertain they are beside how much they differ: the best of many noisy numbers is
/// otherwise mostly noise.
fn shrunk(first: &[(f64, f64)]) -> Vec<f64> {
    let count = first.len().max(1) as f64;
    let mean_square = first.iter().map(|(mean, _)| mean * mean).sum::<f64>() / count;
    let mean_error = first.iter().map(|(_, error)| error * error).sum::<f64>() / count;
    let signal = (mean_square - mean_error).max(0.1 * mean_square);
    let shrink = |&(mean, error): &(f64, f64)| match signal + error * error {
        0.0 => 0.0,
        total => mean * signal / total,
    };
    first.iter().map(shrink).collect()
}
