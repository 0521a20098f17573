//! Optimal brain surgeon, column by column: what GPTQ and SparseGPT have in common.
//!
//! A layer `y = W x` with `H = mean(x xᵀ)` errs by `tr((W − Ŵ) H (W − Ŵ)ᵀ)`. Columns are fixed one
//! after another; when column `j` becomes `ŵ_j`, the columns after it take over what they can of
//! its error: `w_k += (ŵ_j − w_j) · U_jk / U_jj` for `k > j`, where `H⁻¹ = Uᵀ U` and `U` is upper
//! triangular (Frantar et al., *GPTQ*, 2022, section 3.3).
//!
//! - [`Factor`] is `U`, in order of the columns, with damping and dead inputs seen to. One serves
//!   all layers that share inputs, and all variants.
//! - [`Batch`] holds the rows of many layers and variants as the columns of one matrix, so that one
//!   [`sweep`] serves them all.
//! - A [`Rule`] says what a column becomes: codes of a grid, or weights and zeros.
//!
//! Everything runs on the device of the tensors; on the CPU the innermost loops are plain Rust over
//! rows that stay in the cache.

mod batch;
mod factor;
mod sweep;

pub use batch::{Batch, Pair, batches, pack_batches};
pub use factor::{Factor, Order};
pub use sweep::{Path, Rule, Span, sweep};
