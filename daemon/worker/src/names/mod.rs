//! What the names of units and levels say.

mod level;
mod unit;

pub(crate) use level::{Level, Meaning, only_drops};
pub(crate) use unit::{ByKind, common_kind, kind_words, split, split_expert};
