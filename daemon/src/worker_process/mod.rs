//! The worker as a child process: how it is called and how its end is read. Nothing of it runs in
//! this process.

mod check;
mod end;
mod plugins;
mod spawn;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use evopress_spec::RunDir;
use tokio::process::{Child, Command};

use crate::config::{ByteSize, Tools};

pub use check::{CheckReply, Needs, Pointed};
pub use end::{End, describe_signal};
pub use plugins::Listed;
use spawn::Spawner;

/// Starts worker processes.
#[derive(Debug)]
pub struct Worker {
    tools: Tools,
    spawner: Spawner,
}

/// The reason why a worker gave no answer; one sentence.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The program did not even start.
    #[error("cannot start the worker {}: {error}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It ended otherwise than with an answer.
    #[error("the worker {end} while it {doing}{detail}")]
    Crashed {
        /// What the worker did, for the sentence: `checked the spec`.
        doing: &'static str,
        /// How it ended.
        end: End,
        /// ": " and the last line that it wrote, if any.
        detail: String,
    },
    /// It took too long.
    #[error("the worker did not come back within {seconds} s while it {doing}")]
    Hung {
        /// What the worker did, for the sentence: `checked the spec`.
        doing: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// It answered something else.
    #[error("the worker's answer is not what was expected while it {doing}: {error}")]
    Answer {
        /// What the worker did, for the sentence: `checked the spec`.
        doing: &'static str,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// A file that it needs cannot be written.
    #[error("cannot write a file for the worker: {0}")]
    File(#[from] io::Error),
}

impl Worker {
    /// A worker with these tools.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(tools: Tools) -> io::Result<Self> {
        Ok(Self {
            tools,
            spawner: Spawner::start()?,
        })
    }

    /// The tools.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Starts the run in `run_dir` with the cache folder that runs share. Its log is appended to
    /// the run's `worker.log`.
    ///
    /// # Errors
    /// The log cannot be opened or the program does not start.
    pub async fn start_run(
        &self,
        run_dir: &RunDir,
        cache: &Path,
        attempt: u32,
    ) -> Result<Child, WorkerError> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(run_dir.worker_log())?;
        let mut command = self.command("run");
        command
            .arg(run_dir.path())
            .arg("--plugins")
            .arg(&self.tools.plugins);
        command.arg("--cache").arg(cache);
        command.arg("--attempt").arg(attempt.to_string());
        self.add_resources(&mut command);
        command.stdout(log.try_clone()?).stderr(log);
        let child = self.spawn(command).await?;
        prefer_for_the_out_of_memory_killer(&child);
        Ok(child)
    }

    /// Tells a command what a run may take of the machine, where that is set.
    fn add_resources(&self, command: &mut Command) {
        let resources = &self.tools.resources;
        let bytes = |size: Option<ByteSize>| size.map(|size| size.0.to_string());
        let settings = [
            ("--threads", resources.threads.map(|it| it.to_string())),
            ("--memory", bytes(resources.memory)),
            ("--device-memory", bytes(resources.device_memory)),
        ];
        for (flag, value) in settings {
            if let Some(value) = value {
                command.arg(flag).arg(value);
            }
        }
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.tools.worker);
        // A group of its own, so that Ctrl-C in a terminal reaches us alone and we decide how the
        // worker stops.
        command
            .arg(subcommand)
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    async fn spawn(&self, command: Command) -> Result<Child, WorkerError> {
        let start = |error| WorkerError::Start {
            program: self.tools.worker.clone(),
            error,
        };
        self.spawner.spawn(command).await.map_err(start)
    }
}

/// When memory runs out the kernel shall take the worker, never the daemon.
fn prefer_for_the_out_of_memory_killer(child: &Child) {
    if let Some(pid) = child.id() {
        // It may have ended already; then there is nothing to prefer.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "500");
    }
}
