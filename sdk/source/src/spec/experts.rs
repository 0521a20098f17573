//! An MLP of experts: a router sends each token to a few of them.

/// An MLP of experts, of which each token takes a few. Its output is the sum of the experts'
/// outputs, each times the router's probability of the expert, and of the shared expert's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpertsSpec {
    /// Hugging Face's name of the router within the block; its weight is
    /// `[num_experts, hidden_size]` and no layer of the block.
    pub router: String,
    /// Number of experts.
    pub num_experts: u32,
    /// Experts that a token takes.
    pub num_active: u32,
    /// Whether the probabilities of the experts that a token takes are scaled to a sum of 1.
    pub is_renormalized: bool,
    /// The expert that all tokens take, if there is one.
    pub shared: Option<SharedExpertSpec>,
}

/// An expert that all tokens take, beside those that the router chooses. Its layers are those of
/// the MLP that belong to no expert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedExpertSpec {
    /// Width of its activation.
    pub intermediate_size: i64,
    /// Hugging Face's name of its gate within the block, whose weight is `[1, hidden_size]` and no
    /// layer of the block: the output is multiplied with the gate's sigmoid.
    pub gate: String,
}
