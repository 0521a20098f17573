//! What a run may take of a machine.

use serde::{Deserialize, Serialize};

/// Limits on memory, in bytes; none: what the machine grants. They change the time that a run
/// takes, never its result, and are no part of its identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of the machine's memory, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes of the GPU's memory, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_memory_bytes: Option<u64>,
}

impl Limits {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The tighter of both, each.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let tighter = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self {
            memory_bytes: tighter(self.memory_bytes, other.memory_bytes),
            device_memory_bytes: tighter(self.device_memory_bytes, other.device_memory_bytes),
        }
    }
}
