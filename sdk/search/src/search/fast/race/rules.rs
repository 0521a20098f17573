//! How a race is run: who leaves it, who wins it, when it ends.

use std::collections::BTreeMap;

use super::challenger::Challenger;
use super::difference::Difference;
use super::sequential_test::SequentialTest;
use crate::error::Result;
use crate::fitness::Fitness;
use crate::genotype::Genotype;
use crate::search::fast::position::Position;
use crate::search::fast::tuning::RaceTuning;

/// How a race is run.
pub(in super::super) struct Race<'a> {
    /// Sequences that a challenger must be better on; a promising one gets more.
    pub(in super::super) evidence: usize,
    /// Decisions take no fewer sequences than this, unless their evidence is less.
    pub(in super::super) min_evidence: usize,
    /// Sequences to race on, in order.
    pub(in super::super) sequences: &'a [usize],
    /// Whether challengers leave the race before its end.
    pub(in super::super) eliminates: bool,
    /// Whether it is enough to be likely to be better.
    pub(in super::super) accepts_likely: bool,
    /// Tokens that the search has left; a race that has spent them ends.
    pub(in super::super) tokens_left: Option<u64>,
    pub(in super::super) tuning: &'a RaceTuning,
}

/// What a race has shown.
pub(in super::super) struct Outcome {
    pub(in super::super) verdict: Verdict,
    /// By challenger.
    pub(in super::super) results: Vec<Difference>,
}

/// Who has won.
pub(in super::super) enum Verdict {
    Better {
        /// The challenger.
        idx: usize,
        /// Its losses by sequence.
        losses: BTreeMap<usize, f64>,
        /// Whether it has passed the sequential test, and not just seemed to be better.
        is_beyond_doubt: bool,
    },
    NoneBetter {
        /// Whether one of them seems to be better, and more evidence may show it.
        is_open: bool,
    },
}

impl Race<'_> {
    /// Runs the race. The parent is the genotype at `position`; its losses are taken from there,
    /// and added where they were missing.
    pub(in super::super) fn run(
        &self,
        fitness: &mut dyn Fitness,
        position: &mut Position,
        genotypes: &[Genotype],
    ) -> Result<Outcome> {
        fitness.set_parent(&position.genotype);
        let tuning = self.tuning;
        let mut challengers: Vec<Challenger> = genotypes.iter().map(Challenger::new).collect();
        let longest = tuning.long_race_sequences.max(2 * self.evidence);
        let longest = longest.min(self.sequences.len());
        let test = SequentialTest::new(tuning.level, genotypes.len(), longest);
        let begun = fitness.tokens_spent();
        let mut winner = None;
        let mut done = 0;
        while done < longest && challengers.iter().any(|it| it.is_racing) {
            let count = self.next_step(done).min(longest - done);
            let step = &self.sequences[done..done + count];
            evaluate(fitness, position, &mut challengers, step)?;
            done += count;
            if self.eliminates {
                eliminate_early(&mut challengers, done, tuning);
            }
            let Some(best) = best(&challengers, tuning) else {
                break;
            };
            let difference = challengers[best].difference(tuning);
            let spent = fitness.tokens_spent() - begun;
            let is_out_of_tokens = self.tokens_left.is_some_and(|left| spent >= left);
            let critical = test.critical(done, is_out_of_tokens);
            let is_beyond_doubt = critical.is_some_and(|errors| difference.is_below_by(errors));
            if is_beyond_doubt || self.is_likely(&difference, done) {
                winner = Some((best, is_beyond_doubt));
                break;
            }
            if is_out_of_tokens || self.is_hopeless(&difference, done, longest, &test) {
                break;
            }
        }
        let results = challengers.iter().map(|it| it.difference(tuning)).collect();
        let verdict = match winner {
            Some((idx, is_beyond_doubt)) => Verdict::Better {
                idx,
                losses: std::mem::take(&mut challengers[idx].losses),
                is_beyond_doubt,
            },
            None => Verdict::NoneBetter {
                is_open: best(&challengers, tuning).is_some_and(|idx| {
                    let difference = challengers[idx].difference(tuning);
                    difference.is_below_by(tuning.seems_better)
                }),
            },
        };
        Ok(Outcome { verdict, results })
    }

    /// Sequences until the next decision: the first step is long enough to say something, the
    /// others are as short as they can be.
    fn next_step(&self, done: usize) -> usize {
        match done {
            0 if self.eliminates => (self.evidence / self.tuning.first_step_divisor)
                .clamp(1, self.tuning.max_first_step),
            0 => self.evidence,
            _ => 1,
        }
    }

    /// Whether a challenger is likely enough to be better for a step that will be judged together
    /// with others.
    fn is_likely(&self, difference: &Difference, done: usize) -> bool {
        let errors = match done < self.evidence {
            true => self.tuning.likely_at_once,
            false => self.tuning.likely_better,
        };
        self.accepts_likely
            && done >= self.min_evidence.min(self.evidence)
            && difference.is_likely_below_by(errors)
    }

    /// Whether the evidence is complete and more of it would hardly make a winner.
    fn is_hopeless(
        &self,
        difference: &Difference,
        done: usize,
        longest: usize,
        test: &SequentialTest,
    ) -> bool {
        let errors = match self.accepts_likely {
            true => self.tuning.likely_better,
            false => test.critical_at_end(),
        };
        let times = longest as f64 / done as f64;
        done >= self.evidence && !difference.is_promising(times, self.tuning.promising * errors)
    }
}

/// Evaluates everyone who is still racing, and the parent, on some more sequences.
fn evaluate(
    fitness: &mut dyn Fitness,
    position: &mut Position,
    challengers: &mut [Challenger<'_>],
    sequences: &[usize],
) -> Result<()> {
    let missing: Vec<usize> = sequences
        .iter()
        .copied()
        .filter(|idx| !position.losses.contains_key(idx))
        .collect();
    if !missing.is_empty() {
        let parent = std::slice::from_ref(&position.genotype);
        let losses = fitness.losses(parent, &missing)?.swap_remove(0);
        position.losses.extend(missing.into_iter().zip(losses));
    }
    let racing: Vec<&mut Challenger<'_>> =
        challengers.iter_mut().filter(|it| it.is_racing).collect();
    let genotypes: Vec<Genotype> = racing.iter().map(|it| it.genotype.clone()).collect();
    let losses = fitness.losses(&genotypes, sequences)?;
    for (challenger, losses) in racing.into_iter().zip(losses) {
        for (&sequence_idx, loss) in sequences.iter().zip(losses) {
            challenger.add(sequence_idx, loss, position.losses[&sequence_idx]);
        }
    }
    Ok(())
}

/// Whoever is clearly worse than the parent or the best challenger leaves, and whoever is behind
/// too many others.
fn eliminate_early(challengers: &mut [Challenger<'_>], done: usize, tuning: &RaceTuning) {
    let Some(best) = best(challengers, tuning) else {
        return;
    };
    let leading = challengers[best].differences().to_vec();
    let mut racing: Vec<&mut Challenger<'_>> =
        challengers.iter_mut().filter(|it| it.is_racing).collect();
    for challenger in &mut racing {
        // Everyone who races has seen the same sequences.
        let is_behind = challenger
            .behind(&leading, tuning)
            .is_above_by(tuning.clearly_worse);
        let is_worse = challenger
            .difference(tuning)
            .is_above_by(tuning.clearly_worse);
        challenger.is_racing = !(is_behind || is_worse);
    }
    racing.retain(|it| it.is_racing);
    let mean = |it: &Challenger<'_>| it.difference(tuning).mean;
    racing.sort_by(|a, b| mean(a).total_cmp(&mean(b)));
    for challenger in racing.into_iter().skip((tuning.width / done).max(1)) {
        challenger.is_racing = false;
    }
}

/// The racing challenger of the lowest mean.
fn best(challengers: &[Challenger<'_>], tuning: &RaceTuning) -> Option<usize> {
    let racing = challengers
        .iter()
        .enumerate()
        .filter(|(_, it)| it.is_racing);
    let mean = |it: &Challenger<'_>| it.difference(tuning).mean;
    racing
        .min_by(|(_, a), (_, b)| mean(a).total_cmp(&mean(b)))
        .map(|(idx, _)| idx)
}
