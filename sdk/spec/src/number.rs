//! Reading of floats that JSON cannot hold: a perplexity may overflow to infinity, which JSON
//! writes as `null`.

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer};

/// Reads a number; `null` becomes NaN.
pub(crate) fn f64_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
}

/// Reads a map of numbers; `null` becomes NaN.
pub(crate) fn map_or_null<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<IndexMap<String, f64>, D::Error> {
    let read = IndexMap::<String, Option<f64>>::deserialize(from)?;
    Ok(read
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or(f64::NAN)))
        .collect())
}
