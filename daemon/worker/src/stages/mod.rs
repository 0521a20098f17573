//! The stages of a run, in its order. Each says what goes into it (`Inputs`) and what comes out.

pub(crate) mod database;
pub(crate) mod evaluate;
pub(crate) mod load;
pub(crate) mod report;
pub(crate) mod search;
pub(crate) mod stitch;
