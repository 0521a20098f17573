//! A running daemon.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Scratch, eventually};

pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    address: SocketAddr,
}

impl Daemon {
    /// Starts a daemon on the scratch folder, with short pauses.
    pub(crate) fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, "")
    }

    /// Starts a daemon with more settings (YAML).
    pub(crate) fn start_with(scratch: &Scratch, settings: &str) -> Self {
        let usual = "watch: watched\nstate: state\nlisten: 127.0.0.1:0\n";
        let usual = if settings.contains("backoff_seconds") {
            usual.to_owned()
        } else {
            format!("{usual}backoff_seconds: 0.05\n")
        };
        fs::write(
            scratch.path().join("evopressd.conf"),
            format!("{usual}{settings}\n"),
        )
        .unwrap();
        let number = (0..)
            .find(|n| !scratch.path().join(format!("log-{n}")).exists())
            .unwrap();
        let log = scratch.path().join(format!("log-{number}"));
        let mut command = scratch.evopressd(&[
            "--log-format",
            "json",
            "serve",
            "--config",
            "evopressd.conf",
        ]);
        let child = command
            .env_remove("EVOPRESS_STATE")
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut daemon = Self {
            child,
            log,
            address: "127.0.0.1:0".parse().unwrap(),
        };
        daemon.address = eventually("the daemon's address", || {
            let line = daemon.logged("evopressd is up").pop()?;
            line["address"].as_str()?.parse().ok()
        });
        daemon
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines of the log with this message.
    pub(crate) fn logged(&self, message: &str) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// GET with the usual host.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.get_as(path, &format!("localhost:{}", self.address.port()))
    }

    /// GET with another `Host`; the status and everything after it, headers included.
    pub(crate) fn get_as(&self, path: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, answer) = self.get(path);
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    pub(crate) fn metrics(&self) -> String {
        let (status, answer) = self.get("/metrics");
        assert_eq!(status, 200);
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// The value of a metric, by its name and labels as they are printed.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.metrics();
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// The newest run of a pipeline, as the API shows it.
    pub(crate) fn run(&self, name: &str) -> Option<Value> {
        self.json("/api/runs")
            .as_array()
            .unwrap()
            .iter()
            .find(|run| run["name"] == name)
            .cloned()
    }

    pub(crate) fn wait_for_state(&self, name: &str, state: &str) -> Value {
        eventually(&format!("run {name} to be {state}"), || {
            self.run(name).filter(|run| run["state"] == state)
        })
    }

    /// Waits until the worker is in its search.
    pub(crate) fn wait_for_generation(&self, name: &str) -> Value {
        eventually(&format!("run {name} to search"), || {
            self.run(name).filter(|run| run["live"]["generation"] == 1)
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(
            Pid::from_raw(self.child.id().cast_signed()).unwrap(),
            signal,
        )
        .unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and wait for the end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
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
