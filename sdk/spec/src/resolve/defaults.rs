//! What counts where a spec says nothing.

use crate::{Mode, Target};

/// The paper's settings for a target.
pub(super) struct Defaults {
    pub(super) calibration_tokens: u64,
    pub(super) offspring: u32,
    pub(super) initial_genotypes: u32,
    pub(super) stages: &'static [(u64, u32)],
}

/// More than a fast search comes to use.
const FAST_CALIBRATION_TOKENS: u64 = 131_072;
pub(super) const INITIAL_TOKENS: u64 = 2048;
pub(super) const EVALUATION_TOKENS: u64 = 32_768;
/// The best of 0, 0.125 and 0.3 for SmolLM2 at 3 bits.
pub(super) const FIRST_TOKEN_SHARE: f64 = 0.125;

impl Defaults {
    pub(super) fn of(target: Target, mode: Mode) -> Defaults {
        let mut defaults = Defaults::of_paper(target);
        if mode == Mode::Fast {
            defaults.calibration_tokens = FAST_CALIBRATION_TOKENS;
        }
        defaults
    }

    fn of_paper(target: Target) -> Defaults {
        match target {
            Target::Drop(_) => Defaults {
                calibration_tokens: 131_072,
                offspring: 32,
                initial_genotypes: 64,
                stages: &[(2048, 2), (32_768, 1)],
            },
            Target::Sparsity(_) => Defaults {
                calibration_tokens: 524_288,
                offspring: 64,
                initial_genotypes: 1,
                stages: &[(2048, 8), (16_384, 2), (65_536, 1)],
            },
            _ => Defaults {
                calibration_tokens: 524_288,
                offspring: 128,
                initial_genotypes: 64,
                stages: &[(2048, 16), (16_384, 4), (131_072, 1)],
            },
        }
    }
}
