//! A worker without a daemon.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use evopress_spec::events::{EventKind, Reader};
use evopress_spec::{Roots, RunDir};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::programs::programs;
use crate::scratch::{Scratch, yaml};
use crate::{eventually, read_json};

/// A run's folder, and at times a worker on it.
#[derive(Debug)]
pub struct Worker<'a> {
    scratch: &'a Scratch,
    dir: RunDir,
    child: Option<Child>,
    starts: u32,
}

impl<'a> Worker<'a> {
    /// Prepares the run `PLACE/ID` as the daemon would; nothing runs yet.
    pub fn prepare(scratch: &'a Scratch, place: &str, spec: &Value) -> Self {
        let text = yaml(spec);
        let roots = Roots {
            spec_dir: scratch.path().to_owned(),
            ..Roots::default()
        };
        let plan = evopress_spec::check(&text, "spec.yaml", &roots).unwrap();
        let folder = scratch
            .path()
            .join(place)
            .join(format!("{}-0123456789ab", plan.name));
        fs::create_dir_all(&folder).unwrap();
        let dir = RunDir::new(folder);
        fs::write(dir.spec(), text).unwrap();
        fs::write(dir.plan(), serde_json::to_vec(&plan).unwrap()).unwrap();
        Self {
            scratch,
            dir,
            child: None,
            starts: 0,
        }
    }

    /// The run's folder.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Starts a worker.
    pub fn start(&mut self) {
        self.starts += 1;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.worker_log())
            .unwrap();
        let child = Command::new(programs().worker())
            .arg("run")
            .arg(self.dir.path())
            .args([Path::new("--plugins"), &self.scratch.plugins()])
            .args(["--threads", "1", "--attempt", &self.starts.to_string()])
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().unwrap().try_wait().unwrap()
    }

    /// SIGKILL, whatever it is doing.
    pub fn kill(&mut self) {
        let child = self.child.as_mut().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to stop, and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        let child = self.child.as_mut().unwrap();
        kill_process(
            Pid::from_raw(child.id().cast_signed()).unwrap(),
            Signal::TERM,
        )
        .unwrap();
        child.wait().unwrap()
    }

    /// Waits for its end, which must be success.
    pub fn finish(&mut self) -> Value {
        let status = self.child.as_mut().unwrap().wait().unwrap();
        let log = fs::read_to_string(self.dir.worker_log()).unwrap();
        assert!(status.success(), "{status}\n{log}");
        read_json(&self.dir.report_json())
    }

    /// All events so far.
    pub fn events(&self) -> Vec<EventKind> {
        let events = Reader::new(&self.dir.events()).poll().unwrap_or_default();
        events.into_iter().map(|event| event.kind).collect()
    }

    /// Waits until this generation is done.
    pub fn wait_for_generation(&self, wanted: u32) {
        eventually(&format!("generation {wanted}"), || {
            let done = |event: &EventKind| matches!(event, EventKind::Generation { generation, .. } if *generation >= wanted);
            self.events().iter().any(done).then_some(())
        });
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
