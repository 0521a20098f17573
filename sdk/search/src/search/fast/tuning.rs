//! Everything in the fast search that was tuned rather than derived.
//!
//! Unless a field says otherwise its value was chosen by hand on runs of `scripts/bench_search.py`:
//! SmolLM2-135M-Instruct, the tasks `depth`, `sparse` and `bits`, a few seeds. No value was fitted
//! to another model.

/// All tuning constants of the fast search.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tuning {
    /// How much evidence decisions take, and when the search gives up.
    pub evidence: EvidenceTuning,
    /// How challengers race.
    pub race: RaceTuning,
    /// How offspring are proposed.
    pub proposals: ProposalTuning,
    /// How gradients are taken.
    pub gradients: GradientTuning,
    /// What the regression believes before anything was evaluated.
    pub regression: RegressionTuning,
}

/// How much evidence decisions take, and when the search gives up.
#[derive(Debug, Clone, PartialEq)]
pub struct EvidenceTuning {
    /// Calibration sequences of the first decisions.
    pub min_sequences: usize,
    /// Calibration sequences of a decision, at most.
    pub max_sequences: usize,
    /// Calibration sequences of a decision, at most, in a restart and while all offspring are
    /// plainly worse.
    pub some_sequences: usize,
    /// Generations of the fewest exchanges in which all offspring were plainly worse, after which
    /// decisions take more evidence or the search starts again elsewhere.
    pub plain_failures: u32,
    /// Generations without success at most evidence, after which the search starts again elsewhere.
    pub fruitless_generations: u32,
    /// Restarts in a row without success, after which a search without a limit ends.
    pub fruitless_restarts: u32,
    /// Restarts in a row without success, after which a search with a limit ends: it has tokens or
    /// time to spend.
    pub fruitless_restarts_within_limit: u32,
    /// Steps ahead of the incumbent, after which it is held against where they have led.
    pub steps_of_walk: u32,
    /// The part of a limit in tokens that is left for the last comparison, where the search is away
    /// from its incumbent: one over this.
    pub reserve_divisor: u64,
    /// Random genotypes among those that a search may begin with, where there is no uniform one.
    pub random_starts: usize,
}

impl Default for EvidenceTuning {
    fn default() -> Self {
        Self {
            min_sequences: 4,
            max_sequences: 32,
            some_sequences: 8,
            plain_failures: 3,
            fruitless_generations: 2,
            fruitless_restarts: 3,
            fruitless_restarts_within_limit: 12,
            steps_of_walk: 4,
            reserve_divisor: 8,
            random_starts: 4,
        }
    }
}

/// How challengers race.
#[derive(Debug, Clone, PartialEq)]
pub struct RaceTuning {
    /// Probability that a race of challengers which are no better than the incumbent ends with one
    /// of them in its place. It is spent over all looks and all challengers of the race. Not tuned:
    /// 1 % is what the documentation promises.
    pub level: f64,
    /// Standard errors by which a step must be better that is only to be walked on from: one in six
    /// that are no better is by chance.
    pub likely_better: f64,
    /// Standard errors by which such a step must be better before a decision's evidence is
    /// complete.
    pub likely_at_once: f64,
    /// Standard errors by which a challenger must be behind the incumbent or the best challenger to
    /// leave the race.
    pub clearly_worse: f64,
    /// Standard errors by which a challenger seems to be better where no test says so.
    pub seems_better: f64,
    /// A race goes on beyond its evidence while its best challenger is better by this part of what
    /// its test will ask for at the end.
    pub promising: f64,
    /// Calibration sequences of a race that is promising, at least; twice its evidence where that
    /// is more.
    pub long_race_sequences: usize,
    /// Uncertainty of a single sequence's difference before its spread is known, as a part of the
    /// incumbent's loss.
    pub min_relative_noise: f64,
    /// The first elimination comes after this part of the evidence: one over this.
    pub first_step_divisor: usize,
    /// Calibration sequences before the first elimination, at most.
    pub max_first_step: usize,
    /// Sequences times challengers: after `n` sequences no more than `width / n` challengers go on.
    /// A race on many sequences costs little more than one on few.
    pub width: usize,
}

impl Default for RaceTuning {
    fn default() -> Self {
        Self {
            level: 0.01,
            likely_better: 1.0,
            likely_at_once: 3.0,
            clearly_worse: 1.5,
            seems_better: 0.7,
            promising: 0.7,
            long_race_sequences: 16,
            min_relative_noise: 0.05,
            first_step_divisor: 4,
            max_first_step: 2,
            width: 16,
        }
    }
}

/// How offspring are proposed.
#[derive(Debug, Clone, PartialEq)]
pub struct ProposalTuning {
    /// How the offspring of a generation are made, in turn: of how many exchanges, and how far the
    /// draw of the posterior that they are best under may be from its mean. What is expected to be
    /// best often is; the best under full draws are the best by the luck of the draw, with so many
    /// level changes to choose from.
    pub kinds: Vec<(usize, f64)>,
    /// Exchanges of the largest sets.
    pub max_exchanges: usize,
    /// The least deviation from the posterior's mean where the first draw has led to what was tried
    /// before.
    pub min_temperature_of_later_draws: f64,
    /// Draws, after which an offspring that was tried already is replaced by a mutation.
    pub max_draws: usize,
    /// Units that an exchange may raise: those that promise most.
    pub max_raised: usize,
    /// A set is of at most one exchange for so many units.
    pub units_per_exchange: usize,
    /// However little has worked, sets may have one exchange for so many units: among many units a
    /// single exchange does too little to be seen on a few sequences.
    pub units_per_least_exchange: usize,
    /// The most that this comes to.
    pub max_least_exchanges: usize,
    /// Where a restart disturbs the incumbent, it mutates it once for so many units.
    pub units_per_disturbance: usize,
}

impl Default for ProposalTuning {
    fn default() -> Self {
        Self {
            kinds: vec![
                (2, 0.0),
                (4, 0.0),
                (1, 0.0),
                (2, 0.5),
                (1, 0.5),
                (8, 0.0),
                (4, 0.5),
                (16, 0.5),
            ],
            max_exchanges: 16,
            min_temperature_of_later_draws: 0.25,
            max_draws: 8,
            max_raised: 12,
            units_per_exchange: 4,
            units_per_least_exchange: 50,
            max_least_exchanges: 4,
            units_per_disturbance: 20,
        }
    }
}

/// How gradients are taken.
#[derive(Debug, Clone, PartialEq)]
pub struct GradientTuning {
    /// Gradient passes at one origin, at most, while each makes the predictions much better and
    /// decisions do not ask for more.
    pub passes_while_noisy: usize,
    /// Squared noise of the predictions, as a part of their own squared size, above which another
    /// pass is worth its cost.
    pub noisy: f64,
    /// Sampled tokens at each token of a pass until the terms at the first token are trusted. They
    /// cost a backward pass each, and only the first token takes several.
    pub samples_while_unsure: usize,
    /// Sampled tokens at each token of a pass once the terms at the first token are trusted.
    pub samples: usize,
    /// Mean trust in the terms at the first token from which on they are trusted, 0 to 1.
    pub enough_trust: f64,
    /// Responses at the first token from which on a mean is rather to be believed than not.
    pub half_trusted_responses: f64,
    /// Responses at the first token that a mean remembers, at most. It follows the search where
    /// there are more.
    pub max_responses: f64,
    /// The least part of the first-order terms' mean square that is taken for signal rather than
    /// noise.
    pub min_signal: f64,
    /// Gradients are taken again when one unit of so many is no longer where it was when they were
    /// taken.
    pub units_per_stale_unit: usize,
    /// Units that may have changed in any case before gradients are taken again.
    pub min_stale_units: usize,
    /// Memory for responses of tokens, in bytes. Where they take more, a sketch of this size stands
    /// in for them. A limit of memory, not tuned.
    pub response_bytes: usize,
    /// Memory for products of level changes with all others, in bytes; they are computed again
    /// where they take more. A limit of memory, not tuned.
    pub product_bytes: usize,
}

impl Default for GradientTuning {
    fn default() -> Self {
        Self {
            passes_while_noisy: 4,
            noisy: 0.25,
            samples_while_unsure: 4,
            samples: 1,
            enough_trust: 0.75,
            half_trusted_responses: 4.0,
            max_responses: 64.0,
            min_signal: 0.1,
            units_per_stale_unit: 16,
            min_stale_units: 3,
            response_bytes: 256 << 20,
            product_bytes: 64 << 20,
        }
    }
}

/// Mean and standard deviation of a factor before anything was evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// Expected factor; 1 where the loss is the quadratic that gradients predict.
    pub mean: f64,
    /// Standard deviation.
    pub spread: f64,
}

/// What the regression believes before anything was evaluated.
///
/// The priors were read by hand off least-squares fits on **one model**, SmolLM2-135M-Instruct:
/// those of levels off 240 single level changes around a 3-bit model, measured on four sequences of
/// 511 tokens; those of sub-blocks off exchanges around the cosine window. The measurements were
/// not kept. `scripts/fit_priors.py` makes the same fit from the observations in the checkpoints of
/// finished runs.
#[derive(Debug, Clone, PartialEq)]
pub struct RegressionTuning {
    /// Factors of the first-order and the second-order term, and of both at the first token of
    /// sequences, by kind of level change: an attention's layer raised and lowered, an MLP's layer
    /// raised and lowered, a sub-block restored and dropped.
    pub kinds: [[Prior; 4]; 6],
    /// Factor of what two changes between levels do together.
    pub levels_together: Prior,
    /// Factor of what two changes do together of which one drops or restores a sub-block.
    pub drops_together: Prior,
    /// Spread of the correction of a change, as a part of what is predicted for it and of what is
    /// predicted for a typical one.
    pub correction_spread: f64,
    /// The least that a typical change's effect on the loss is taken to be, in nats a token.
    pub min_typical_change: f64,
    /// A typical change's effect where nothing is predicted, in nats a token.
    pub unknown_change: f64,
    /// Observations that are kept; older ones say little about where the search is now.
    pub max_observations: usize,
}

impl Default for RegressionTuning {
    fn default() -> Self {
        let prior = |(mean, spread)| Prior { mean, spread };
        let kinds = [
            // Attention: an attention's layer does to the first token what is predicted.
            [(0.45, 0.2), (0.4, 0.25), (0.4, 0.2), (0.27, 0.15)],
            [(0.15, 0.2), (0.6, 0.25), (0.85, 0.2), (0.95, 0.2)],
            // MLP: its layer moves the loss less than its curvature says, the more of it there is.
            [(0.35, 0.2), (0.05, 0.2), (0.3, 0.3), (0.3, 0.3)],
            [(-0.2, 0.2), (0.22, 0.15), (0.5, 0.3), (0.5, 0.3)],
            // Sub-blocks keep the first token among the others.
            [(0.3, 0.3), (0.2, 0.3), (0.0, 0.0), (0.0, 0.0)],
            [(0.8, 0.3), (1.1, 0.4), (0.0, 0.0), (0.0, 0.0)],
        ];
        Self {
            kinds: kinds.map(|kind| kind.map(prior)),
            levels_together: prior((0.4, 0.3)),
            drops_together: prior((0.3, 0.4)),
            correction_spread: 0.5,
            min_typical_change: 1e-5,
            unknown_change: 0.01,
            max_observations: 300,
        }
    }
}
