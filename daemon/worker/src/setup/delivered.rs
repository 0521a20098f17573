//! How the weights of a model came, as reports tell it.

use anyhow::Result;
use evopress::source::Source;
use evopress_spec::Delivered;

/// None where all weights are dense in the model's files.
///
/// # Errors
/// A tensor that cannot be read.
pub(crate) fn delivered(source: &Source) -> Result<Option<Delivered>> {
    let found = source.delivered()?;
    Ok(found.map(|found| Delivered {
        method: found.method,
        types: found.types.into_iter().collect(),
        size_bytes: found.size_bytes,
    }))
}
