//! Races: genotypes against the parent on the same sequences, one sequence after another, with a paired test.

use std::collections::BTreeMap;

use super::{LEAST_EVIDENCE, Memory};
use crate::error::Result;
use crate::genotype::Genotype;
use crate::search::Fitness;

/// Standard errors by which a mean difference must be above that of the best before a genotype leaves the race.
const CLEARLY_WORSE: f64 = 1.5;
/// Standard errors by which a genotype must be better than the parent, for many sequences: one in a hundred that are no better is by chance,
/// and the best of several is held to be better by luck more often than any one.
const CLEARLY_BETTER: f64 = 2.33;
/// The same for a step that will be judged together with others: one in six that are no better is by chance.
const LIKELY_BETTER: f64 = 1.0;
/// The same before the evidence is complete.
const BETTER_AT_ONCE: f64 = 3.0;
/// A race goes on beyond its evidence, to so many sequences or twice its evidence, while the best genotype seems to be better by this part of
/// what the test will then ask for.
const LONG_RACE: usize = 16;
const PROMISING: f64 = 0.7;
/// Standard errors by which a genotype seems to be better where no test says so.
const SEEMS_BETTER: f64 = 0.7;
/// What the difference of one sequence is uncertain by at least before its spread is known, as a part of the parent's loss.
const LEAST_NOISE: f64 = 0.05;
/// Part of a decision's sequences after which genotypes may leave, and how many that are at most.
const FIRST_STEP: usize = 4;
const MOST_AT_FIRST: usize = 2;
/// Sequences times genotypes: after `n` sequences no more than `16 / n` genotypes go on, the best ones. A race on many sequences costs
/// little more than one on few.
const WIDTH: usize = 16;

/// How a race is run.
pub(super) struct Race<'a> {
    /// Sequences that a genotype must be better on; a promising one gets more.
    pub(super) evidence: usize,
    /// Sequences to race on, in order.
    pub(super) sequences: &'a [usize],
    /// Whether genotypes leave the race before its end.
    pub(super) drops: bool,
    /// Whether it is enough to be likely to be better.
    pub(super) walks: bool,
    /// Tokens that the search has left; a race that has spent them ends.
    pub(super) tokens_left: Option<u64>,
}

/// What a race has shown.
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// By genotype.
    pub(super) results: Vec<Difference>,
}

pub(super) enum Verdict {
    Better {
        idx: usize,
        /// Its losses by sequence.
        losses: BTreeMap<usize, f64>,
        /// Whether that can hardly be by chance.
        is_beyond_doubt: bool,
    },
    NoneBetter {
        /// Whether one of them seems to be better, and more evidence may show it.
        is_open: bool,
    },
}

/// The mean difference of a genotype's losses from the parent's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Difference {
    pub(super) mean: f64,
    pub(super) standard_error: f64,
    /// Sequences.
    count: f64,
}

impl Difference {
    /// Of some paired differences; `floor` is the least that their standard deviation is taken to be.
    fn of(differences: &[f64], floor: f64) -> Self {
        let count = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let squares = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>();
        let deviation = (squares / (count - 1.0).max(1.0)).sqrt().max(floor);
        Self {
            mean,
            standard_error: deviation / count.sqrt(),
            count,
        }
    }

    /// Whether it is below 0 by so many standard errors, or as many more as make up for a spread that is known from few sequences
    /// (quantiles of Student's t by their first-order expansion).
    fn is_better_by(&self, errors: f64) -> bool {
        let freedom = (self.count - 1.0).max(1.0);
        let errors = errors + (errors.powi(3) + errors) / (4.0 * freedom);
        self.mean + errors * self.standard_error < 0.0
    }

    /// Whether it may be told from 0 after `times` as many sequences.
    fn is_promising(&self, times: f64, errors: f64) -> bool {
        self.mean * times.sqrt() + PROMISING * errors * self.standard_error < 0.0
    }

    fn seems_better(&self) -> bool {
        self.mean + SEEMS_BETTER * self.standard_error < 0.0
    }

    fn is_clearly_worse(&self) -> bool {
        self.mean > CLEARLY_WORSE * self.standard_error
    }
}

impl Race<'_> {
    /// Runs the race. The parent's losses are taken from the memory, and added to it where they were missing.
    pub(super) fn run(
        &self,
        fitness: &mut dyn Fitness,
        memory: &mut Memory,
        genotypes: &[Genotype],
    ) -> Result<Outcome> {
        fitness.share_prefixes_of(&memory.current);
        let mut lanes: Vec<Lane> = genotypes.iter().map(Lane::new).collect();
        let mut winner = None;
        let mut done = 0;
        let begun = fitness.tokens_spent();
        let longest = LONG_RACE.max(2 * self.evidence);
        while done < self.sequences.len() && lanes.iter().any(|lane| lane.is_racing) {
            // The first step is long enough to say something, the others as short as they can be.
            let count = match done {
                0 if self.drops => (self.evidence / FIRST_STEP).clamp(1, MOST_AT_FIRST),
                0 => self.evidence,
                _ => 1,
            };
            let step = &self.sequences[done..self.sequences.len().min(done + count)];
            self.step(fitness, memory, &mut lanes, step)?;
            done += step.len();
            if self.drops {
                drop_some(&mut lanes, done);
            }
            let Some(best) = best(&lanes) else {
                break;
            };
            let difference = lanes[best].difference();
            let enough = match self.walks {
                true => LIKELY_BETTER,
                false => CLEARLY_BETTER,
            };
            let needed = match done < self.evidence {
                true => BETTER_AT_ONCE,
                false => enough,
            };
            if done >= LEAST_EVIDENCE.min(self.evidence) && difference.is_better_by(needed) {
                winner = Some((best, difference.is_better_by(CLEARLY_BETTER)));
                break;
            }
            let times = longest as f64 / done as f64;
            let is_hopeless = done >= self.evidence && !difference.is_promising(times, enough);
            let spent = fitness.tokens_spent() - begun;
            let is_broke = self.tokens_left.is_some_and(|left| spent >= left);
            if is_hopeless || is_broke || done >= longest {
                break;
            }
        }
        let results = lanes.iter().map(Lane::difference).collect();
        let verdict = match winner {
            Some((idx, is_beyond_doubt)) => Verdict::Better {
                idx,
                losses: std::mem::take(&mut lanes[idx].losses),
                is_beyond_doubt,
            },
            None => Verdict::NoneBetter {
                is_open: best(&lanes).is_some_and(|idx| lanes[idx].difference().seems_better()),
            },
        };
        Ok(Outcome { verdict, results })
    }

    /// Evaluates everyone who is still racing, and the parent, on some more sequences.
    fn step(
        &self,
        fitness: &mut dyn Fitness,
        memory: &mut Memory,
        lanes: &mut [Lane<'_>],
        sequences: &[usize],
    ) -> Result<()> {
        let missing: Vec<usize> = sequences
            .iter()
            .copied()
            .filter(|idx| !memory.losses.contains_key(idx))
            .collect();
        if !missing.is_empty() {
            let parent = std::slice::from_ref(&memory.current);
            let losses = fitness.losses(parent, &missing)?.swap_remove(0);
            memory.losses.extend(missing.into_iter().zip(losses));
        }
        let racing: Vec<&mut Lane<'_>> = lanes.iter_mut().filter(|lane| lane.is_racing).collect();
        let genotypes: Vec<Genotype> = racing.iter().map(|lane| lane.genotype.clone()).collect();
        let losses = fitness.losses(&genotypes, sequences)?;
        for (lane, losses) in racing.into_iter().zip(losses) {
            for (&idx, loss) in sequences.iter().zip(losses) {
                lane.losses.insert(idx, loss);
                lane.differences.push(loss - memory.losses[&idx]);
                lane.parent_loss += memory.losses[&idx];
            }
        }
        Ok(())
    }
}

/// Who is worse than the parent or the best beyond doubt leaves, and who is behind too many others.
fn drop_some(lanes: &mut [Lane<'_>], done: usize) {
    let Some(best) = best(lanes) else {
        return;
    };
    let leading = lanes[best].differences.clone();
    for lane in lanes.iter_mut().filter(|lane| lane.is_racing) {
        // Everyone who races has seen the same sequences.
        let pairs = lane.differences.iter().zip(&leading);
        let behind: Vec<f64> = pairs.map(|(own, best)| own - best).collect();
        let is_behind = lane.of(&behind).is_clearly_worse();
        let is_worse = lane.difference().is_clearly_worse();
        lane.is_racing = !(is_behind || is_worse);
    }
    let mut racing: Vec<&mut Lane<'_>> = lanes.iter_mut().filter(|lane| lane.is_racing).collect();
    racing.sort_by(|a, b| a.difference().mean.total_cmp(&b.difference().mean));
    for lane in racing.into_iter().skip((WIDTH / done).max(1)) {
        lane.is_racing = false;
    }
}

/// A genotype in the race.
struct Lane<'a> {
    genotype: &'a Genotype,
    losses: BTreeMap<usize, f64>,
    differences: Vec<f64>,
    /// Sum of the parent's losses on the same sequences.
    parent_loss: f64,
    is_racing: bool,
}

impl<'a> Lane<'a> {
    fn new(genotype: &'a Genotype) -> Self {
        Self {
            genotype,
            losses: BTreeMap::new(),
            differences: Vec::new(),
            parent_loss: 0.0,
            is_racing: true,
        }
    }

    /// From the parent.
    fn difference(&self) -> Difference {
        self.of(&self.differences)
    }

    /// Of differences on its sequences. Where they are few their spread is itself uncertain, so it is taken to be no less than half of
    /// their mean, nor than a small part of the loss.
    fn of(&self, differences: &[f64]) -> Difference {
        let count = differences.len().max(1) as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let floor = match differences.len() {
            0..4 => (mean.abs() / 2.0).max(LEAST_NOISE * self.parent_loss.abs() / count),
            _ => 0.0,
        };
        Difference::of(differences, floor)
    }
}

fn best(lanes: &[Lane<'_>]) -> Option<usize> {
    let racing = lanes.iter().enumerate().filter(|(_, lane)| lane.is_racing);
    racing
        .min_by(|(_, a), (_, b)| a.difference().mean.total_cmp(&b.difference().mean))
        .map(|(idx, _)| idx)
}
