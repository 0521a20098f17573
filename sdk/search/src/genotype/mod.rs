//! Genotypes: one level per unit, and what that means for the model.
//!
//! In go the outline of a model, the units of one or several methods and a budget; out comes a
//! [`SearchSpace`] that knows what a genotype costs and which weights it stands for. Units, levels
//! and groups are those of the paper's section 3; [`Grouping`] is how the reference implementation
//! groups linear layers.

mod block_edits;
mod budget;
mod build;
mod candidate;
mod check;
mod experts;
mod grouping;
mod joint;
mod sizes;
mod space;
mod uniform;
mod variants;

pub use block_edits::{BlockEdit, BlockEdits};
pub use budget::Budget;
pub use candidate::{Candidate, Dropped, Genotype, WeightId};
pub use experts::BlockExperts;
pub use grouping::Grouping;
pub use joint::MethodUnits;
pub use space::{Group, ResolvedEdit, SearchSpace};
pub use variants::LayerVariants;

#[cfg(test)]
mod tests;
