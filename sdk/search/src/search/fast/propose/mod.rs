//! Offspring: sets of exchanges that keep the budget and promise most by what is known, or by a
//! draw of it.

mod draft;
mod interactions;
mod offspring;

pub(super) use offspring::{min_exchanges, offspring};
