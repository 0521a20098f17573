//! A compression method: from the outline of a model to units, their levels and the budget, and
//! from a layer's weight to its levels.
//!
//! Units, levels and level switches are those of the EvoPress paper, section 3: a unit gets one of
//! its levels, a genotype is one level per unit, and a mutation moves cost between units of one
//! group so that the group's budget stays met. A method that changes weights names the [`Variant`]s
//! of each layer in its levels' edits. The engine then asks it to [`Method::compress`] the layers,
//! block by block, and stores what it returns in a level database.

mod check;
mod compress;
mod interface;
mod outline;
mod unit;

pub use check::check_units;
pub use compress::{CompressTask, LayerTask, PackedWeight, Statistics};
pub use interface::Method;
pub use outline::{LayerOutline, ModelOutline, SubBlock};
pub use unit::{BlockPart, Edit, GroupBudget, Level, Unit, Variant};
