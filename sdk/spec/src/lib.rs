//! What a pipeline is, what a run of it says, and where a run keeps its files.
//!
//! In: the text of a YAML spec. Out: a [`Plan`], or every [`Mistake`] of the spec at once, each
//! with line and column. The daemon and the worker share this crate and nothing else: the plan goes
//! to the worker as a file, [`Event`]s come back as lines of another, and the [`Report`] is the
//! last word. See "Specs" and "Files of a run" in the design.

mod byte_size;
mod check;
mod digest;
pub mod events;
mod mistake;
mod number;
mod place;
mod plan;
mod render;
mod report;
mod resolve;
mod roots;
mod rules;
mod run_dir;
mod schema;
mod structure;
mod syntax;
mod tree;
mod typed;
mod words;
mod yaml;

pub use evopress_core::{atomic_write, digest_bytes, digest_path, digest_reader};

pub use byte_size::ByteSize;
pub use check::{MAX_SPEC_BYTES, Wrong, check, check_bytes, examine_bytes, locate, mistake_at};
pub use digest::InputDigests;
pub use events::{Event, EventKind, Stage, Status};
pub use mistake::Mistake;
pub use plan::{
    Address, Artifact, ArtifactFormat, Baselines, Bos, Calibration, Credentials, Database, Device,
    Dtype, Evaluation, Gate, Generations, Grouping, Ingredient, Initial, Limit, Limits, Mode,
    Model, ModelLocation, ModelVersion, Origin, Plan, PluginUse, Publish, Sample, Search, Secret,
    SelectionStage, Target, ToHub, ToMlflow, ToObjects, ToOci, is_gguf,
};
pub use render::render;
pub use report::{
    Achieved, BaselineResult, DatabaseResult, Delivered, ExpertResult, GateResult, HistoryEntry,
    Metric, MetricResult, Published, Report, SearchResult, SequenceStart, Unpublished,
    WrittenArtifact,
};
pub use roots::Roots;
pub use run_dir::{RejectedDir, RunDir};
pub use schema::{schema, schema_of};
