//! How a process ended, in words.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The end of a worker, as its command line defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Exit code 0.
    Done,
    /// Exit code 1: the run failed, and its events say why.
    Failed,
    /// Exit code 3: the model misses a quality gate.
    GateFailed,
    /// Exit code 75: it was asked to stop and can go on from its checkpoint.
    Interrupted,
    /// Killed by a signal.
    Signal(i32),
    /// Any other exit code.
    Code(i32),
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Done,
            (Some(1), _) => Self::Failed,
            (Some(3), _) => Self::GateFailed,
            (Some(75), _) => Self::Interrupted,
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("finished"),
            Self::Failed => f.write_str("ended with exit code 1"),
            Self::GateFailed => f.write_str("ended with exit code 3"),
            Self::Interrupted => f.write_str("stopped with a checkpoint"),
            Self::Signal(signal) => write!(f, "was killed by {}", describe_signal(*signal)),
            Self::Code(code) => write!(f, "ended with exit code {code}"),
        }
    }
}

/// `signal 11 (SIGSEGV)`.
#[must_use]
pub fn describe_signal(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL, perhaps by the kernel because memory ran out",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_from_the_wait_status() {
        let check = |raw: i32, end: End, words: &str| {
            assert_eq!(End::from(ExitStatus::from_raw(raw)), end);
            assert_eq!(end.to_string(), words);
        };
        check(0, End::Done, "finished");
        check(75 << 8, End::Interrupted, "stopped with a checkpoint");
        check(134 << 8, End::Code(134), "ended with exit code 134");
        check(11, End::Signal(11), "was killed by signal 11 (SIGSEGV)");
        check(64, End::Signal(64), "was killed by signal 64");
    }
}
