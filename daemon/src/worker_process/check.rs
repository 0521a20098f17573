//! `evopress-worker check`: the mistakes of a spec that only its plugins can see, and what a run
//! would need.

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use evopress_spec::{Delivered, Plan, SequenceStart};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{End, Worker, WorkerError};

/// The answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CheckReply {
    /// Mistakes; none when the spec is good.
    pub mistakes: Vec<Pointed>,
    /// How the sequences of each text begin; none where the model is not here.
    #[serde(default)]
    pub sequences: Vec<SequenceStart>,
    /// What the user should know all the same.
    #[serde(default)]
    pub warnings: Vec<Pointed>,
    /// What a run would need.
    #[serde(default)]
    pub needs: Option<Needs>,
    /// How the model's weights came, where they were quantized already.
    #[serde(default)]
    pub delivered: Option<Delivered>,
}

/// A mistake or a warning, by its place in the spec.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pointed {
    /// JSON pointer into the spec: `/methods/0/options/granularity`.
    pub pointer: String,
    /// A whole sentence.
    pub message: String,
}

/// What a run would need; `None` where it cannot be told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Needs {
    /// Wall time.
    pub seconds: Option<f64>,
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Memory of the GPU.
    pub device_memory_bytes: Option<u64>,
    /// Space under the state folder.
    pub disk_bytes: Option<u64>,
    /// The least memory of the device that computes, with which a run is slower.
    pub least_bytes: Option<u64>,
    /// Memory that the device which computes has left.
    pub granted_bytes: Option<u64>,
    /// What limits it: `free on this machine`.
    pub granted_by: Option<String>,
}

impl Worker {
    /// Has a plan checked; nothing is said of the values that the JSON pointers `unsure` lead to. A
    /// plugin that crashes or hangs takes down only the child.
    ///
    /// # Errors
    /// The child gave no answer; that too is a reason to refuse the spec.
    pub async fn check(&self, plan: &Plan, unsure: &[String]) -> Result<CheckReply, WorkerError> {
        let doing = "checked the spec";
        let mut file = tempfile::Builder::new()
            .prefix("evopress-plan-")
            .suffix(".json")
            .tempfile()?;
        serde_json::to_writer(&mut file, plan).map_err(std::io::Error::from)?;
        file.flush()?;
        let mut command = self.command("check");
        command
            .arg(file.path())
            .arg("--plugins")
            .arg(&self.tools.plugins);
        if let Some(cache) = &self.tools.cache {
            command.arg("--cache").arg(cache);
        }
        for pointer in unsure {
            command.arg("--unsure").arg(pointer);
        }
        self.add_resources(&mut command);
        let output = self.output(command, doing).await?;
        serde_json::from_slice(&output.stdout).map_err(|error| WorkerError::Answer { doing, error })
    }

    pub(super) async fn output(
        &self,
        mut command: Command,
        doing: &'static str,
    ) -> Result<Output, WorkerError> {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let limit: Duration = self.tools.check_timeout;
        let answer = async {
            self.spawn(command)
                .await?
                .wait_with_output()
                .await
                .map_err(WorkerError::File)
        };
        let output =
            tokio::time::timeout(limit, answer)
                .await
                .map_err(|_| WorkerError::Hung {
                    doing,
                    seconds: limit.as_secs(),
                })??;
        match End::from(output.status) {
            End::Done => Ok(output),
            end => Err(WorkerError::Crashed {
                doing,
                end,
                detail: last_line(&output.stderr),
            }),
        }
    }
}

fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .map_or_else(String::new, |line| format!(": {}", line.trim()))
}
