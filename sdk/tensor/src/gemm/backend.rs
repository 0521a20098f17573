//! Which code multiplies on this CPU.

use std::sync::OnceLock;

use super::{bf16_units, widening};

/// Code that multiplies bf16 matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// oneDNN's micro-kernels on the CPU's bf16 units (AMX or AVX512-BF16), through libtorch.
    Bf16Units,
    /// Numbers are widened to f32 in registers and multiplied there (AVX2 and FMA).
    Widening,
    /// Plain loops: for tests, on any CPU. No run uses it, because libtorch's own operators are
    /// faster.
    Portable,
}

impl Backend {
    /// The fastest back end for runs on this CPU. None where libtorch's own operators are faster.
    pub fn fastest() -> Option<Self> {
        static FASTEST: OnceLock<Option<Backend>> = OnceLock::new();
        *FASTEST.get_or_init(|| {
            let for_runs = [Self::Bf16Units, Self::Widening];
            for_runs.into_iter().find(|backend| backend.is_available())
        })
    }

    /// Every back end that this CPU can run, the portable one always among them.
    pub fn available() -> Vec<Self> {
        let all = [Self::Bf16Units, Self::Widening, Self::Portable];
        all.into_iter().filter(|it| it.is_available()).collect()
    }

    fn is_available(self) -> bool {
        match self {
            Self::Bf16Units => bf16_units::is_available(),
            Self::Widening => widening::is_available(),
            Self::Portable => true,
        }
    }
}
