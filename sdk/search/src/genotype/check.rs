//! What units must be before a search space is made of them.

use evopress_plugin::{BlockPart, Edit, ModelOutline, Unit, check_units};

/// Refuses units of a method that the plugin interface, or this crate, has no meaning for.
pub(super) fn check(units: &[Unit], outline: &ModelOutline) -> Result<(), String> {
    check_units(units, outline).map_err(|error| error.message)?;
    for unit in units {
        for edit in unit.levels.iter().flat_map(|level| &level.edits) {
            match edit {
                Edit::Drop {
                    part: BlockPart::Attention | BlockPart::Mlp | BlockPart::Expert { .. },
                    ..
                }
                | Edit::Replace { .. } => {}
                other => {
                    return Err(format!(
                        "unit `{}` asks for {other:?}, which this engine does not know",
                        unit.name
                    ));
                }
            }
        }
    }
    Ok(())
}
