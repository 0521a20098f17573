//! What can go wrong in tensor operations.

/// Result of a tensor operation.
pub type Result<T, E = TensorError> = std::result::Result<T, E>;

/// An error of libtorch or of the device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// libtorch refused an operation (shapes, memory, device): in its words, without its trace.
    #[error("libtorch: {0}")]
    Torch(String),
    /// The requested device is not there.
    #[error("device `{requested}` is not available: {reason}")]
    Device {
        /// As the spec names it.
        requested: String,
        /// What keeps it from being used.
        reason: String,
    },
    /// The system has no memory left.
    #[error("no memory for {bytes} bytes: {source}")]
    Memory {
        /// How much was asked for.
        bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file behind a tensor cannot be made.
    #[error("{}: {source}", folder.display())]
    Spill {
        /// The folder of the file.
        folder: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The caller asked to stop (SIGTERM); everything so far is in the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// The error itself is not kept: libtorch appends a C++ backtrace to its messages, and whoever
/// shows the causes of an error would show that.
impl From<tch::TchError> for TensorError {
    fn from(error: tch::TchError) -> Self {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let plain = first.strip_prefix("Internal torch error: ");
        Self::Torch(plain.unwrap_or(first).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn libtorchs_trace_is_not_shown() {
        let trace = "index out of range in self\nException raised from f at a.cpp:1\nframe #0: g";
        let error = TensorError::from(tch::TchError::Torch(trace.to_owned()));
        assert_eq!(error.to_string(), "libtorch: index out of range in self");
        assert!(error.source().is_none());
    }
}
