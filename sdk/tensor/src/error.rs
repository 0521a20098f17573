//! What can go wrong in tensor operations.

/// Result of a tensor operation.
pub type Result<T, E = TensorError> = std::result::Result<T, E>;

/// An error of libtorch or of the device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// libtorch refused an operation (shapes, memory, device).
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
    /// The requested device is not there.
    #[error("device `{requested}` is not available: {reason}")]
    Device {
        /// As the spec names it.
        requested: String,
        /// What keeps it from being used.
        reason: String,
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

/// libtorch appends a C++ backtrace to its messages.
fn first_line(error: &tch::TchError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
