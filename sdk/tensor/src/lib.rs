//! What the decoder computes with: CPU kernels, compute threads and typed memory over libtorch.
//!
//! In go tensors; out come tensors. On the CPU fused kernels of our own run where they are faster
//! than libtorch's operators ([`Backend`]); everywhere else (GPU, other dtypes, CPUs without vector
//! units) libtorch's run. Both compute in f32 and round once.
//!
//! All `unsafe` of the computing side is here, behind types that cannot be misused: [`Buffer`] is
//! memory that has no other handle, [`ReadOnly`] shares what nobody writes to, [`SpilledRows`] is a
//! tensor over a file, [`Pool`] owns its threads.
//!
//! Shapes: T tokens (of all sequences of a batch, row after row), D hidden size, K inputs and N
//! outputs of a layer, I intermediate size, V vocabulary, d head size.

mod buffer;
mod causal_attention;
pub mod device;
mod dispatch;
mod elementwise;
mod error;
mod gemm;
mod lasting;
mod linear;
mod log_sum_exp;
mod norm;
mod numbers;
mod packed;
mod plain_attention;
mod pool;
mod read_only;
mod rotary_attention;
mod rows;
mod second_moment;
mod simd;
mod softmax;
mod spill;

pub use buffer::{Buffer, Stored};
pub use causal_attention::AttentionShape;
pub use dispatch::{has_wide_sums, product_kind};
pub use error::{Interrupted, Result, TensorError};
pub use gemm::Backend;
pub use linear::{Activation, Weight, add_projection, bias, gated, project};
pub use log_sum_exp::{cap_logits, log_sum_exp};
pub use norm::{plain_rms_norm, rms_norm};
pub use numbers::{from_bytes, from_rows, row_dot, to_vec};
pub use packed::PackedWeight;
pub use pool::Pool;
pub use read_only::{ReadOnly, Shareable};
pub use rotary_attention::{HeadNorm, Heads, plain_rotary_attention, rotary_attention};
pub use rows::{add_rows, select_rows};
pub use second_moment::add_second_moment;
pub use simd::Element;
pub use softmax::{Softmax, plain_log_sum_exp};
pub use spill::SpilledRows;
