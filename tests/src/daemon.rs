//! A running daemon.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::eventually;
use crate::scratch::Scratch;

/// `evopressd serve` on a scratch folder, with short pauses between attempts.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    address: SocketAddr,
}

impl Daemon {
    /// Starts it, and waits until it is up.
    pub fn start(scratch: &Scratch) -> Self {
        let config = "watch: watched\nlisten: 127.0.0.1:0\nbackoff_seconds: 0.05\n";
        fs::write(scratch.path().join("evopressd.conf"), config).unwrap();
        let mut logs = (0..).map(|number| scratch.path().join(format!("log-{number}")));
        let log = logs.find(|path| !path.exists()).unwrap();
        let child = scratch
            .evopressd(&[
                "--log-format",
                "json",
                "serve",
                "--config",
                "evopressd.conf",
            ])
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let mut daemon = Self {
            child,
            log,
            address,
        };
        daemon.address = eventually("the daemon's address", || {
            daemon.logged("evopressd is up").pop()?["address"]
                .as_str()?
                .parse()
                .ok()
        });
        daemon
    }

    /// The lines of the log with this message.
    pub fn logged(&self, message: &str) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// GET: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let host = format!("localhost:{}", self.address.port());
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    /// `/metrics`.
    pub fn metrics(&self) -> String {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The value of a series, by its name and labels as they are printed.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.metrics();
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// The newest run of a pipeline, as the API shows it.
    pub fn run(&self, name: &str) -> Option<Value> {
        let (status, body) = self.get("/api/runs");
        assert_eq!(status, 200, "{body}");
        let runs: Vec<Value> = serde_json::from_str(&body).unwrap();
        runs.into_iter().find(|run| run["name"] == name)
    }

    /// Waits until the newest run of a pipeline has this state; one that failed otherwise is not
    /// waited for.
    pub fn wait_for(&self, name: &str, state: &str) -> Value {
        eventually(&format!("run {name} to be {state}"), || {
            let run = self.run(name)?;
            let ended = ["done", "failed", "gate_failed", "rejected"]
                .iter()
                .any(|end| run["state"] == *end);
            assert!(!ended || run["state"] == state, "{run:#}");
            (run["state"] == state).then_some(run)
        })
    }

    /// Waits until a run has done this many generations.
    pub fn wait_for_generation(&self, name: &str, wanted: u64) {
        eventually(&format!("generation {wanted} of {name}"), || {
            let run = self.run(name)?;
            (run["live"]["generation"].as_u64()? >= wanted).then_some(())
        });
    }

    /// Whether the process lives.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its end.
    pub fn stop(mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- the daemon's log\n{}",
                fs::read_to_string(&self.log).unwrap_or_default()
            );
        }
    }
}
