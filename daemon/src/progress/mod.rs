//! Progress for people: what a run has done so far, a bar while it goes on, a table at the end.

mod bar;
mod columns;
mod follow;
mod format;
mod live;
mod table;

pub use bar::{View, ViewKind};
pub use follow::follow;
pub use format::{duration, megabytes};
pub use live::{Board, Live, Progress};
pub use table::final_table;
