//! Random numbers without state: a stream of its own for each (seed, generation, purpose), so that
//! a resumed search draws exactly what an undisturbed one would have drawn and a checkpoint holds
//! no generator.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a stream of random numbers is for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// Random genotypes to start from.
    Initial,
    /// Calibration sequences of the start.
    InitialMinibatch,
    /// Mutations of a generation.
    Mutation,
    /// Calibration sequences of a selection stage.
    Minibatch(u8),
    /// Genotypes of the 'best of N random' baseline.
    RandomBaseline,
    /// Calibration sequences that baselines are measured on.
    BaselineMinibatch,
    /// Tokens that a gradient pass samples.
    SampledTokens,
    /// Calibration sequences of a gradient pass.
    GradientMinibatch,
    /// Where a search that got stuck goes on.
    Restart,
}

/// The generator for one purpose in one generation (0 before the first).
pub fn stream(seed: u64, generation: u32, purpose: Purpose) -> ChaCha8Rng {
    let purpose = match purpose {
        Purpose::Initial => 0,
        Purpose::InitialMinibatch => 1,
        Purpose::Mutation => 2,
        Purpose::RandomBaseline => 3,
        Purpose::BaselineMinibatch => 4,
        Purpose::SampledTokens => 5,
        Purpose::GradientMinibatch => 6,
        Purpose::Restart => 7,
        Purpose::Minibatch(stage) => 16 + u64::from(stage),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::from(generation) << 16 | purpose);
    rng
}
