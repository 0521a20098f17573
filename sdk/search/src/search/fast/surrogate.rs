//! What a change of the parent is expected to do, by gradients.
//!
//! Around the origin whose gradients were taken every unit may change to a next level, `m`. For a
//! set `S` of level changes `J(S) = Σ (f_m + s_m) + ½ Σ_{m,n} G_mn`, with first-order terms `f` and
//! products `G` of responses ([`super::curvature`]), both averaged over all passes that were made
//! at the origin, and `s` what happens at the first token of sequences ([`super::sinks`]).
//! [`super::regression`] corrects them by what evaluations have shown.

use std::ops::Range;

use super::curvature::Curvature;
use super::gradients::{Origin, Pass};
use super::observation::{DROPS, NUM_TERMS, Observation, TERMS_OF_KIND, Terms};
use super::settings::Settings;
use super::sinks::Sinks;
use super::tuning::GradientTuning;
use crate::error::{Result, SearchError};
use crate::fitness::{Fitness, draw_minibatch};
use crate::genotype::{Genotype, SearchSpace};
use crate::prediction::{LevelChange, PredictionRequest, Predictions};
use crate::random::Purpose;

/// Predictions around an origin.
pub(super) struct Surrogate {
    origin: Genotype,
    /// All level changes, those of a unit next to one another.
    changes: Vec<LevelChange>,
    /// By unit: its changes, indices into `changes`.
    by_unit: Vec<Range<usize>>,
    /// By unit: how many pairs of neighbouring levels the units before it have; then how many all
    /// have.
    offsets: Vec<usize>,
    /// By change.
    kinds: Vec<usize>,
    num_averaged: usize,
    /// Passes that were made, those with numerical trouble too.
    num_made: usize,
    /// By change: first-order term and standard error, the mean of all passes so far.
    measured: Vec<(f64, f64)>,
    /// By change: the first-order term drawn towards 0 by its noise.
    first: Vec<f64>,
    curvature: Curvature,
    /// By change: the first-order term at the first token, the mean of all passes so far.
    sink_slopes: Vec<f64>,
    /// By change: both terms at the first token, as far as they are to be believed.
    sink: Vec<(f64, f64)>,
    tuning: GradientTuning,
}

impl Surrogate {
    /// Knows nothing yet.
    pub(super) fn new(space: &SearchSpace, origin: &Origin, tuning: &GradientTuning) -> Self {
        let genotype = origin.genotype.clone();
        let mut changes = Vec::with_capacity(2 * space.units().len());
        let mut by_unit = Vec::with_capacity(space.units().len());
        for unit_idx in 0..space.units().len() {
            let first = changes.len();
            if !space.is_idle(&genotype, unit_idx) {
                let now = genotype.level(unit_idx);
                let lower = space.next_levels(unit_idx, now, true);
                let levels = lower.chain(space.next_levels(unit_idx, now, false));
                changes.extend(levels.map(|level| LevelChange { unit_idx, level }));
            }
            by_unit.push(first..changes.len());
        }
        let mut offsets = vec![0];
        for unit in space.units() {
            offsets.push(offsets[offsets.len() - 1] + unit.levels.len() - 1);
        }
        let kinds = changes.iter().map(|change| {
            let is_down = change.level > genotype.level(change.unit_idx);
            let first = match space.only_drops(change.unit_idx) {
                true => DROPS,
                false => 2 * usize::from(space.changes_mlp(change.unit_idx)),
            };
            first + usize::from(is_down)
        });
        let count = changes.len();
        Self {
            by_unit,
            offsets,
            kinds: kinds.collect(),
            num_averaged: 0,
            num_made: 0,
            measured: vec![(0.0, 0.0); count],
            first: vec![0.0; count],
            curvature: Curvature::new(count, tuning.response_bytes, tuning.product_bytes),
            sink_slopes: vec![0.0; count],
            sink: vec![(0.0, 0.0); count],
            changes,
            origin: genotype,
            tuning: tuning.clone(),
        }
    }

    /// Makes those gradient passes of the origin that are missing; new to `sinks` where there are
    /// any. Returns how many of them were lost to numbers that are not finite.
    pub(super) fn make_passes(
        &mut self,
        fitness: &mut dyn Fitness,
        origin: &Origin,
        settings: &Settings,
        mut sinks: Option<&mut Sinks>,
    ) -> Result<u32> {
        let mut num_lost = 0;
        for &pass in &origin.passes[self.num_made..] {
            let is_lost = self.pass(fitness, pass, settings, sinks.as_deref_mut())?;
            num_lost += u32::from(is_lost);
            self.num_made += 1;
        }
        Ok(num_lost)
    }

    /// Takes the terms at the first token from what all passes have shown.
    pub(super) fn read(&mut self, sinks: &Sinks) {
        let half_trusted = self.tuning.half_trusted_responses;
        let changes = self.changes.iter().zip(&self.sink_slopes);
        let terms = changes.map(|(change, slope)| {
            let (square, trust) = sinks.get(&self.origin, change, half_trusted);
            (trust * slope, trust * 0.5 * square)
        });
        self.sink = terms.collect();
    }

    /// How many samples the next pass takes where levels are at stake.
    pub(super) fn num_samples(&self, sinks: &Sinks) -> usize {
        match self.is_unsure(sinks) {
            true => self.tuning.samples_while_unsure,
            false => self.tuning.samples,
        }
    }

    /// Whether what is known of the first token is little to be believed, over all changes between
    /// levels.
    fn is_unsure(&self, sinks: &Sinks) -> bool {
        let half_trusted = self.tuning.half_trusted_responses;
        let changes = self.changes.iter().zip(&self.kinds);
        let levels = changes.filter(|(_, kind)| **kind < DROPS);
        let trusts: Vec<f64> = levels
            .map(|(change, _)| sinks.get(&self.origin, change, half_trusted).1)
            .collect();
        trusts.iter().sum::<f64>() < self.tuning.enough_trust * trusts.len() as f64
    }

    /// One gradient pass, on sequences that its number draws. Numerical trouble in it is no reason
    /// to give up: the search goes on with what it has, and this says so.
    fn pass(
        &mut self,
        fitness: &mut dyn Fitness,
        pass: Pass,
        settings: &Settings,
        sinks: Option<&mut Sinks>,
    ) -> Result<bool> {
        let (purpose, seed) = (Purpose::GradientMinibatch, settings.seed);
        let count = settings.gradient_sequences;
        let sequence_idxs = draw_minibatch(fitness, seed, pass.number, purpose, count);
        let request = PredictionRequest {
            parent: &self.origin,
            changes: &self.changes,
            sequence_idxs: &sequence_idxs,
            samples_of_levels: pass.num_samples,
            seed,
            pass: pass.number,
        };
        let predictions = match fitness.predict(&request) {
            Err(SearchError::NotFinite { .. }) => return Ok(true),
            predictions => predictions?,
        };
        let Some(predictions) = predictions else {
            return Ok(false);
        };
        if !is_finite(&predictions) {
            return Ok(true);
        }
        if let Some(sinks) = sinks {
            sinks.add(
                &self.origin,
                &self.changes,
                &predictions,
                self.tuning.max_responses,
            );
        }
        self.average(predictions);
        Ok(false)
    }

    /// Adds a pass to the means of those before it.
    fn average(&mut self, last: Predictions) {
        self.num_averaged += 1;
        let count = self.num_averaged as f64;
        let mix = |mean: &mut f64, last: f64| *mean += (last - *mean) / count;
        for (mean, last) in self.measured.iter_mut().zip(&last.first) {
            mix(&mut mean.0, last.0);
            let squares = (mean.1 * (count - 1.0)).powi(2) + last.1.powi(2);
            mean.1 = squares.sqrt() / count;
        }
        for (mean, last) in self.sink_slopes.iter_mut().zip(&last.sink) {
            mix(mean, last.0);
        }
        self.first = shrunk(&self.measured, self.tuning.min_signal);
        self.curvature.add(last.responses);
    }

    /// Whether more passes would make the predictions much better.
    pub(super) fn is_noisy(&self, sinks: &Sinks) -> bool {
        if !self.has_gradients() {
            return false;
        }
        if self.is_unsure(sinks) {
            return true;
        }
        let errors = self.measured.iter().map(|(_, error)| error * error);
        let sizes =
            (0..self.changes.len()).map(|idx| self.first[idx] + 0.5 * self.curvature.square(idx));
        let squared_size = sizes.map(|size| size.powi(2)).sum::<f64>();
        errors.sum::<f64>() > self.tuning.noisy * squared_size
    }

    /// Whether predictions come from gradients.
    pub(super) fn has_gradients(&self) -> bool {
        self.num_averaged > 0
    }

    /// Whether a unit of `genotype` is where no change from the origin leads, or so much has
    /// changed since that gradients are worth taking again.
    pub(super) fn is_stale(&self, genotype: &Genotype) -> bool {
        let num_units = self.by_unit.len();
        let is_moved = |&idx: &usize| genotype.0[idx] != self.origin.0[idx];
        let num_moved = (0..num_units).filter(is_moved).count();
        let is_near = |(idx, level): (usize, &u16)| self.levels(idx).any(|near| near == *level);
        let is_within = genotype.0.iter().enumerate().all(is_near);
        let max_moved = num_units / self.tuning.units_per_stale_unit;
        let is_far = num_moved > max_moved.max(self.tuning.min_stale_units);
        !is_within || self.has_gradients() && is_far
    }

    /// The change that brings a unit from the origin's level to another; none where it stays, or
    /// where no change leads there.
    pub(super) fn change(&self, unit_idx: usize, level: u16) -> Option<usize> {
        if self.origin.0[unit_idx] == level {
            return None;
        }
        let mut changes = self.by_unit[unit_idx].clone();
        changes.find(|&idx| self.changes[idx].level == usize::from(level))
    }

    /// Levels that a unit may have.
    pub(super) fn levels(&self, unit_idx: usize) -> impl Iterator<Item = u16> + '_ {
        let changes = self.changes[self.by_unit[unit_idx].clone()].iter();
        std::iter::once(self.origin.0[unit_idx]).chain(changes.map(|change| change.level as u16))
    }

    /// The changes of the unit that a change is of, itself among them.
    pub(super) fn siblings(&self, change_idx: usize) -> Range<usize> {
        self.by_unit[self.changes[change_idx].unit_idx].clone()
    }

    /// How many level changes there are.
    pub(super) fn num_changes(&self) -> usize {
        self.changes.len()
    }

    /// What changes do together in second order.
    pub(super) fn curvature(&self) -> &Curvature {
        &self.curvature
    }

    /// Whether a change drops or restores a sub-block.
    pub(super) fn is_drop(&self, change_idx: usize) -> bool {
        self.kinds[change_idx] >= DROPS
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
        mean: f64,
        standard_error: f64,
    ) -> Observation {
        let pairs = parent.0.iter().zip(&genotype.0).enumerate();
        let changes = pairs.filter(|(_, (before, after))| before != after);
        let (after, before) = (self.terms(genotype), self.terms(parent));
        Observation {
            changes: changes.map(|(idx, (&a, &b))| (idx, a, b)).collect(),
            predicted: std::array::from_fn(|idx| after[idx] - before[idx]),
            mean,
            standard_error,
        }
    }

    /// What a change does alone.
    pub(super) fn alone(&self, idx: usize) -> Terms {
        let mut terms = [0.0; NUM_TERMS];
        let (slope, square) = self.sink[idx];
        let curvature = 0.5 * self.curvature.square(idx);
        let of_kind = [self.first[idx], curvature, slope, square];
        terms[TERMS_OF_KIND * self.kinds[idx]..][..TERMS_OF_KIND].copy_from_slice(&of_kind);
        terms
    }

    /// The changes that a genotype has made from the origin: those between levels, and those of
    /// sub-blocks.
    pub(super) fn changes_made(&self, genotype: &Genotype) -> [Vec<usize>; 2] {
        let made = (0..self.by_unit.len()).filter_map(|idx| self.change(idx, genotype.0[idx]));
        let (drops, levels) = made.partition(|&idx| self.is_drop(idx));
        [levels, drops]
    }

    /// Change from the origin.
    fn terms(&self, genotype: &Genotype) -> Terms {
        let [levels, drops] = self.changes_made(genotype);
        let all = [levels.as_slice(), &drops].concat();
        let mut terms = [0.0; NUM_TERMS];
        for &idx in &all {
            let alone = self.alone(idx);
            for (sum, term) in terms.iter_mut().zip(alone) {
                *sum += term;
            }
        }
        let between_levels = self.curvature.sum_over_pairs(&levels);
        terms[NUM_TERMS - 2] = 0.5 * between_levels;
        if !drops.is_empty() {
            terms[NUM_TERMS - 1] = 0.5 * (self.curvature.sum_over_pairs(&all) - between_levels);
        }
        terms
    }

    /// The pairs of neighbouring levels between two levels of a unit: +1 on the way to a higher
    /// index, −1 to a lower one.
    fn pairs(&self, unit_idx: usize, from: u16, to: u16) -> impl Iterator<Item = (usize, f64)> {
        let offset = self.offsets[unit_idx];
        let sign = if from <= to { 1.0 } else { -1.0 };
        (from.min(to)..from.max(to)).map(move |level| (offset + usize::from(level), sign))
    }

    /// The pairs that a level change crosses.
    pub(super) fn pairs_of_change(&self, idx: usize) -> impl Iterator<Item = (usize, f64)> {
        let change = self.changes[idx];
        let from = self.origin.0[change.unit_idx];
        self.pairs(change.unit_idx, from, change.level as u16)
    }

    /// The pairs that an observed change crosses, in the order of the units.
    pub(super) fn features(&self, seen: &Observation) -> Vec<(usize, f64)> {
        let changes = seen.changes.iter();
        changes
            .flat_map(|&(unit_idx, from, to)| self.pairs(unit_idx, from, to))
            .collect()
    }
}

fn is_finite(predictions: &Predictions) -> bool {
    let first = predictions.first.iter().all(|(mean, _)| mean.is_finite());
    let mut sink = predictions.sink.iter();
    let sink = sink.all(|(slope, square)| slope.is_finite() && square.is_finite());
    first && sink && predictions.responses.is_finite()
}

/// First-order terms drawn towards 0 by how uncertain they are beside how much they differ: the
/// best of many noisy numbers is otherwise mostly noise. At least `min_signal` of their mean square
/// is taken for signal.
fn shrunk(first: &[(f64, f64)], min_signal: f64) -> Vec<f64> {
    let count = first.len().max(1) as f64;
    let mean_square = first.iter().map(|(mean, _)| mean * mean).sum::<f64>() / count;
    let mean_error = first.iter().map(|(_, error)| error * error).sum::<f64>() / count;
    let signal = (mean_square - mean_error).max(min_signal * mean_square);
    let shrink = |&(mean, error): &(f64, f64)| match signal + error * error {
        0.0 => 0.0,
        total => mean * signal / total,
    };
    first.iter().map(shrink).collect()
}
