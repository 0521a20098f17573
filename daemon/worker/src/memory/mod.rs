//! The memory of a run: what it needs, what the machine grants, and how that is shared out.
//!
//! `validate` and the run itself count with this, so what was said is what is kept. A run holds
//! least twice: while it builds level databases it has no weights but those of one block, while it
//! searches it has no statistics. So its peak is the larger of the two, on top of what is always
//! there. Less memory than all of it would take costs time: weights are streamed, activations lie
//! in a file.

mod counted;
pub(crate) mod levels;

use evopress_core::memory::{Granted, Limit};
use serde::Serialize;

pub(crate) use counted::count;

/// What a run takes of a device's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Libraries and tables, of the machine's memory whatever device computes.
    always: u64,
    /// While level databases are built, but for activations and tasks.
    database: u64,
    /// While layers that share an input are compressed.
    task: u64,
    /// Compute threads.
    threads: u64,
    /// Activations between two blocks, which may lie in a file.
    activations: u64,
    /// While genotypes are evaluated, but for what `Shares` divides.
    search: u64,
    /// On a thread that takes sequences back through the blocks.
    returning: u64,
    /// All weights that may be asked for, dense and at their levels.
    weights: u64,
    /// The dense weights of the two largest blocks that follow one another.
    two_blocks: u64,
    /// The streams of a parent, of all calibration sequences.
    residual_cache: u64,
    /// What the largest stage of the search has between two blocks.
    wave: u64,
    /// One sequence on each thread.
    least_wave: u64,
    /// While artifacts are written and verified, with no weights kept.
    stitch: u64,
}

#[cfg(test)]
impl Default for Needs {
    /// Some memory for each part.
    fn default() -> Self {
        Self {
            always: 10,
            database: 30,
            task: 25,
            threads: 2,
            activations: 400,
            search: 30,
            returning: 10,
            weights: 1000,
            two_blocks: 100,
            residual_cache: 300,
            wave: 200,
            least_wave: 20,
            stitch: 60,
        }
    }
}

/// Limits on what grows with the memory that there is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Weights that stay decoded.
    pub(crate) weights: u64,
    /// Streams of a parent.
    pub(crate) residual_cache: u64,
    /// What items have between two blocks where weights are streamed.
    pub(crate) wave: u64,
    /// Activations of the text that databases are built from.
    pub(crate) activations: u64,
    /// Groups of layers that are compressed at a time.
    pub(crate) tasks: u64,
    /// Threads that take sequences back through the blocks at a time.
    pub(crate) returns: u64,
}

/// The peak of a run, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Peak {
    /// Bytes of the machine's memory that a run takes whatever device computes.
    pub(crate) always: u64,
    /// Bytes of the memory of the device that computes.
    pub(crate) computing: u64,
}

impl Needs {
    /// The least that a run can do with, in bytes: whole megabytes, so that a limit may name it.
    pub(crate) fn least(&self) -> u64 {
        let search = self.search + self.returning + self.two_blocks + self.least_wave;
        let database = self.database + self.task;
        let least = self.always + database.max(search).max(self.stitch);
        least.next_multiple_of(1_000_000)
    }

    /// How so much memory is shared out: first the weights of two blocks, then all weights, then
    /// what saves work. A run that was given less than its least gets shares of the least.
    pub(crate) fn shares(&self, granted_bytes: u64) -> Shares {
        let computing = granted_bytes.max(self.least()) - self.always;
        let for_returns = computing - self.search - self.two_blocks - self.least_wave;
        let returns = (for_returns / self.returning.max(1)).clamp(1, self.threads);
        let for_search = computing - self.search - returns * self.returning;
        let for_tasks = computing - self.database;
        let tasks = (for_tasks / self.task.max(1)).clamp(1, self.threads);
        let activations = self.activations.min(for_tasks - tasks * self.task);
        // Where all weights fit nothing is streamed.
        let least_wave = self.least_wave.min(for_search);
        let rest = for_search - least_wave;
        if self.weights <= rest {
            return Shares {
                weights: self.weights,
                residual_cache: self.residual_cache.min(rest - self.weights),
                wave: least_wave,
                activations,
                tasks,
                returns,
            };
        }
        let wave = self.wave.clamp(least_wave, least_wave.max(for_search / 4));
        let residual_cache = self.residual_cache.min(for_search / 8);
        let others = wave + residual_cache;
        // Two blocks before anything else.
        let others = others.min(for_search.saturating_sub(self.two_blocks));
        let residual_cache = residual_cache.min(others.saturating_sub(wave));
        Shares {
            weights: for_search - others,
            residual_cache,
            wave: others - residual_cache,
            activations,
            tasks,
            returns,
        }
    }

    /// What a run with these shares takes.
    pub(crate) fn peak(&self, shares: &Shares) -> Peak {
        let weights = shares.weights.min(self.weights);
        let search = self.search + shares.returns * self.returning + weights;
        let search = search + shares.residual_cache + shares.wave;
        Peak {
            always: self.always,
            computing: search
                .max(self.database + shares.tasks * self.task + shares.activations)
                .max(self.stitch),
        }
    }
}

/// Why a run cannot be done with what a machine has, or may have to wait; none where it can.
pub(crate) fn shortage(needs: &Needs, granted: &Granted) -> Option<Shortage> {
    let least = needs.least();
    let megabytes = |bytes: u64| bytes / 1_000_000;
    let needed = format!("a run needs at least {} MB of memory", megabytes(least));
    if least > granted.capacity {
        let most = megabytes(granted.capacity);
        return Some(Shortage::Never(format!(
            "{needed}, and this machine and the limits on it grant {most} MB"
        )));
    }
    let left = format!(
        "{needed}, and only {} MB are {}",
        megabytes(granted.bytes),
        granted.limit
    );
    (least > granted.bytes).then(|| match granted.limit {
        // Nobody else has the rest.
        Limit::Process => Shortage::Never(left),
        _ => Shortage::Now(format!("{left} now")),
    })
}

/// Too little memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// More than there can be.
    Never(String),
    /// More than there is at the moment.
    Now(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs() -> Needs {
        Needs::default()
    }

    #[test]
    fn much_memory_keeps_everything() {
        let shares = needs().shares(10_000);
        let expected = Shares {
            weights: 1000,
            residual_cache: 300,
            wave: 20,
            activations: 400,
            tasks: 2,
            returns: 2,
        };
        assert_eq!(shares, expected);
        assert_eq!(needs().peak(&shares).computing, 30 + 20 + 1000 + 300 + 20);
    }

    #[test]
    fn shares_never_exceed_what_is_granted() {
        let least = 10 + 30 + 10 + 100 + 20;
        assert_eq!(needs().least(), 1_000_000);
        let mega = |needs: Needs| Needs {
            always: needs.always * 1_000_000,
            database: needs.database * 1_000_000,
            task: needs.task * 1_000_000,
            activations: needs.activations * 1_000_000,
            search: needs.search * 1_000_000,
            returning: needs.returning * 1_000_000,
            weights: needs.weights * 1_000_000,
            two_blocks: needs.two_blocks * 1_000_000,
            residual_cache: needs.residual_cache * 1_000_000,
            wave: needs.wave * 1_000_000,
            least_wave: needs.least_wave * 1_000_000,
            stitch: needs.stitch * 1_000_000,
            threads: needs.threads,
        };
        let needs = mega(needs());
        assert_eq!(needs.least(), least * 1_000_000);
        for granted in (needs.least()..3_000_000_000).step_by(7_654_321) {
            let shares = needs.shares(granted);
            let peak = needs.peak(&shares);
            assert!(peak.always + peak.computing <= granted, "{granted}");
            assert!(shares.weights >= needs.two_blocks, "{granted}");
            assert!(shares.wave >= needs.least_wave, "{granted}");
        }
        // Less than the least is treated as the least.
        assert_eq!(needs.shares(0), needs.shares(needs.least()));
    }

    #[test]
    fn shortages_say_what_is_missing() {
        let granted = |bytes: u64, capacity: u64, limit: Limit| Granted {
            bytes,
            capacity,
            limit,
        };
        let enough = granted(1_000_000, 1_000_000, Limit::Machine);
        assert_eq!(shortage(&needs(), &enough), None);
        let needs = Needs {
            always: 7_000_000_000,
            ..needs()
        };
        let found = |bytes: u64, capacity: u64, limit: Limit| {
            shortage(&needs, &granted(bytes, capacity, limit)).unwrap()
        };
        let never = |sentence: &str| {
            Shortage::Never(format!(
                "a run needs at least 7001 MB of memory, and {sentence}"
            ))
        };
        let (five, six, eight) = (5_000_000_000, 6_000_000_000, 8_000_000_000);
        let grants = never("this machine and the limits on it grant 6000 MB");
        assert_eq!(found(five, six, Limit::ControlGroup), grants);
        let process = "only 5000 MB are left of this process's limit (ulimit)";
        assert_eq!(found(five, eight, Limit::Process), never(process));
        let Shortage::Now(sentence) = found(five, eight, Limit::ControlGroup) else {
            panic!("another run may end");
        };
        assert!(sentence.ends_with("only 5000 MB are left in this control group now"));
    }
}
