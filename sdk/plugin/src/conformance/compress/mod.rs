//! Rules for compressed weights.

mod case;
mod decode;
mod inputs;
mod rules;

pub use decode::decode;
pub use inputs::Inputs;
pub(crate) use rules::check_compress;
