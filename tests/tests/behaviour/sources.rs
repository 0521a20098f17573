//! A model from a registry: what comes of it is what comes of the same files on this disk.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};

use evopress_tests::{Scratch, eventually, fixture, repository, tiny, yaml};
use serde_json::{Value, json};

const TOKEN: &str = "hf_7d1c90aa";

/// The stand-in for the Hugging Face Hub, with the tiny model in `acme/tiny`, uploaded by the
/// official client.
struct Hub {
    child: Child,
    url: String,
    commit: String,
}

impl Hub {
    fn start(folder: &Path) -> Self {
        let packages = std::env::var_os("EVOPRESS_TEST_PYTHONPATH").expect(
            "EVOPRESS_TEST_PYTHONPATH is not set: `make test` sets it in .cargo/config.toml",
        );
        let python = |script: &str| {
            let scripts = repository().join("daemon/registries/tests/servers/scripts");
            let mut command = Command::new("python3");
            command
                .arg(scripts.join(script))
                .env("PYTHONPATH", &packages);
            command
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let store = folder.join("hub");
        fs::create_dir(&store).unwrap();
        let log = File::create(folder.join("hub.log")).unwrap();
        let child = python("hub.py")
            .args([&port.to_string(), TOKEN, store.to_str().unwrap()])
            .stderr(log)
            .spawn()
            .unwrap();
        let mut hub = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            commit: String::new(),
        };
        eventually("the hub", || TcpStream::connect(("127.0.0.1", port)).ok());
        let upload = python("hub_upload.py")
            .args(["acme/tiny", fixture("tiny").to_str().unwrap()])
            .env("HF_ENDPOINT", &hub.url)
            .env("HF_TOKEN", TOKEN)
            .env("HF_HOME", folder.join("hub-home"))
            .env("HF_HUB_DISABLE_XET", "1")
            .env_remove("HF_HUB_OFFLINE")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&upload.stderr);
        assert!(upload.status.success(), "{said}");
        hub.commit = String::from_utf8(upload.stdout).unwrap().trim().to_owned();
        hub
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `evopressd run --json` with the hub in its environment: exit code, report, and what it said.
fn run(scratch: &Scratch, hub: &str, spec: &Value) -> (Option<i32>, Value, String) {
    let name = spec["metadata"]["name"].as_str().unwrap();
    let path = scratch.write(name, &yaml(spec));
    let mut command = scratch.evopressd(&["run", "--json", path.to_str().unwrap()]);
    let output = command
        .env("HF_ENDPOINT", hub)
        .env("HF_TOKEN", TOKEN)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report, stderr)
}

#[test]
fn a_model_from_the_hub_runs_to_its_end_and_is_the_same_run_as_from_this_disk() {
    let scratch = Scratch::new();
    let hub = Hub::start(scratch.path());
    let mut spec = tiny("from-hub");
    spec["model"]["source"] = json!("hf://acme/tiny@main");
    let (code, report, said) = run(&scratch, &hub.url, &spec);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("fetched hf://acme/tiny@main: "), "{said}");
    assert_eq!(report["status"], "done");

    let dir = scratch.run_dir("from-hub");
    let plan = evopress_tests::read_json(&dir.plan());
    assert_eq!(plan["model"]["origin"]["version"], hub.commit.as_str());
    let source = Path::new(plan["model"]["source"].as_str().unwrap());
    assert!(source.starts_with(scratch.state().join("cache/models")));
    for entry in fs::read_dir(dir.path()).unwrap() {
        let text = fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains(TOKEN));
    }

    // The same files on this disk are the same run.
    let (code, same, said) = run(&scratch, &hub.url, &tiny("from-hub"));
    assert_eq!((code, &same["run"]), (Some(0), &report["run"]), "{said}");
    assert!(said.contains("is not run twice"), "{said}");
    let artifacts = |report: &Value| report["artifacts"][0]["digest"].clone();
    assert_eq!(artifacts(&same), artifacts(&report));

    // What is in the cache is not fetched again, and a commit needs no hub at all.
    let commit = format!("hf://acme/tiny@{}", hub.commit);
    drop(hub);
    spec["model"]["source"] = json!(commit);
    spec["search"]["seed"] = json!(1);
    let (code, other, said) = run(&scratch, "http://127.0.0.1:9", &spec);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("fetch"), "{said}");
    assert_ne!(other["run"], report["run"]);

    let cache = scratch.evopressd(&["cache", "list"]).output().unwrap();
    let listed = String::from_utf8(cache.stdout).unwrap();
    assert!(listed.contains("hf://acme/tiny@main at "), "{listed}");
}
