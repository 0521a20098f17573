//! What llama.cpp makes of a family, and of which models of it.

/// What llama.cpp makes of a family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GgufForm {
    /// `general.architecture`, and with a dot what the family's keys begin with.
    pub(crate) architecture: &'static str,
    /// Whether the halves of each head are interleaved in queries and keys.
    pub(crate) interleaves_heads: bool,
    /// Which blocks have a window.
    pub(crate) windows: GgufWindows,
    /// Whether blocks with a window rotate by a base of their own.
    pub(crate) has_own_base_in_windows: bool,
    /// Whether the rotation is stretched in blocks with a window too.
    pub(crate) stretches_in_windows: bool,
    /// Whether scores and logits are always capped.
    pub(crate) always_caps: bool,
    /// Whether a tensor may have divisors of the rotary frequencies.
    pub(crate) has_divisors: bool,
    /// Whether two tensors may have divisors for short and for long sequences.
    pub(crate) has_long_rope: bool,
    /// Whether keys say where YaRN's ramp begins and ends, and what a logarithm in its attention
    /// factor is multiplied with.
    pub(crate) has_yarn_keys: bool,
    /// Whether a key says how queries grow, from one original context to the next.
    pub(crate) grows_queries: bool,
    /// Whether a part of each head may turn.
    pub(crate) turns_parts_of_heads: bool,
    /// Every so many blocks one does not rotate.
    pub(crate) unrotated_period: Option<usize>,
    /// Whether keys have factors of the embedding, scores, the residual and logits.
    pub(crate) has_factors: bool,
    /// The number of blocks at which the scale of scores is that of `embedding_length / head_count`
    /// and not of a head's width.
    pub(crate) scores_differ_at: Option<usize>,
    /// Which layers may have biases.
    pub(crate) biases: GgufBiases,
    /// Where the head is.
    pub(crate) head: GgufHead,
    /// Whether there must be as many key heads as query heads: norms of both have one width.
    pub(crate) wants_all_key_heads: bool,
    /// How experts are computed, in families that have some.
    pub(crate) experts: Option<GgufExperts>,
}

/// How llama.cpp computes a family's experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GgufExperts {
    /// Whether the probabilities of the experts that a token takes are scaled to a sum of 1.
    pub(crate) is_renormalized: bool,
}

/// Which blocks of a family have a window in llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GgufWindows {
    /// None has.
    None,
    /// A key says it of each block, or of the period of blocks of which the last has none.
    ByBlock {
        /// The period where no key says it.
        period: usize,
        /// The width where no key says it; none where there are no windows then.
        width: Option<i64>,
    },
}

/// Which layers may have biases in llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GgufBiases {
    /// None.
    None,
    /// q, k and v.
    Inputs,
    /// All.
    All,
}

/// Where llama.cpp looks for the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GgufHead {
    /// In a tensor of its own, or else in the embedding.
    Either,
    /// In the embedding.
    Tied,
    /// In a tensor of its own.
    Own,
}

impl GgufForm {
    /// Llama's.
    pub(crate) const LLAMA: Self = Self {
        interleaves_heads: true,
        has_divisors: true,
        biases: GgufBiases::All,
        ..Self::plain("llama")
    };

    /// A family that has nothing that Llama has not.
    pub(crate) const fn plain(architecture: &'static str) -> Self {
        Self {
            architecture,
            interleaves_heads: false,
            windows: GgufWindows::None,
            has_own_base_in_windows: false,
            stretches_in_windows: false,
            always_caps: false,
            has_divisors: false,
            has_long_rope: false,
            has_yarn_keys: false,
            grows_queries: false,
            turns_parts_of_heads: false,
            unrotated_period: None,
            has_factors: false,
            scores_differ_at: None,
            biases: GgufBiases::None,
            head: GgufHead::Either,
            wants_all_key_heads: false,
            experts: None,
        }
    }

    /// This form with experts.
    pub(crate) const fn with_experts(self, is_renormalized: bool) -> Self {
        Self {
            experts: Some(GgufExperts { is_renormalized }),
            ..self
        }
    }

    /// This form under another name.
    pub(crate) const fn named(self, architecture: &'static str) -> Self {
        Self {
            architecture,
            ..self
        }
    }
}

impl GgufWindows {
    /// Whether blocks may have windows.
    pub(crate) fn is_some(self) -> bool {
        self != Self::None
    }
}
