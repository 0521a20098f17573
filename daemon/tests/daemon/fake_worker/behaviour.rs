//! What a pipeline asks of the fake worker.

use std::path::Path;

use clap::ValueEnum;
use evopress_spec::Plan;

/// How the worker behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Behaviour {
    /// The run ends well.
    Done,
    /// As `Done`, with weights of 300 MB.
    Big,
    /// The run ends, and its result misses a quality gate.
    Gate,
    /// Stops when it is told to, or ends well once there is a file `go` in the run's folder.
    Slow,
    /// As `Slow`, but does not stop when it is told to.
    Deaf,
    /// Fails with a reason.
    Refuse,
    /// Fails because the disk is full.
    FullDisk,
    /// Fails without a reason.
    Silent,
    /// Crashes.
    Segv,
    /// Crashes at the first attempt.
    SegvOnce,
    /// Ends with an exit code that no worker has.
    Code,
    /// `check` crashes.
    CheckSegv,
    /// `check` never ends.
    CheckHang,
    /// `check` answers something else.
    CheckNonsense,
    /// `check` finds a mistake.
    CheckMistake,
}

impl Behaviour {
    /// The behaviour that a plan's label `fake` names.
    pub(crate) fn of_plan(path: &Path) -> Self {
        let plan: Plan = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        Self::from_str(&plan.labels["fake"], false).unwrap()
    }
}
