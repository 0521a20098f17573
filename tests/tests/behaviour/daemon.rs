//! The daemon with real workers: from a file in the folder to a published model, with a page and
//! metrics.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use evopress_spec::{EventKind, digest_path, events::Reader};
use evopress_tests::{Daemon, Scratch, debian, eventually, read_json, tiny};
use serde_json::Value;

/// The manifest is right about every file, and there is no other.
fn check_published(version: &Path, run: &str) {
    let manifest = read_json(&version.join("manifest.json"));
    assert_eq!(manifest["run"], run);
    let mut listed = Vec::new();
    for file in manifest["files"].as_array().unwrap() {
        let path = version.join(file["path"].as_str().unwrap());
        assert_eq!(
            file["sha256"],
            digest_path(&path).unwrap(),
            "{}",
            path.display()
        );
        assert_eq!(
            file["size_bytes"],
            path.metadata().unwrap().len(),
            "{}",
            path.display()
        );
        listed.push(path);
    }
    listed.push(version.join("manifest.json"));
    listed.sort();
    let mut present: Vec<_> = fs::read_dir(version)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    present.sort();
    assert_eq!(present, listed);
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "README.md",
    ] {
        assert!(version.join(name).is_file(), "{name}");
    }
}

#[test]
fn a_dropped_file_becomes_a_published_model() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    assert_eq!(daemon.get("/healthz"), (200, "ok\n".into()));
    eventually("the daemon to be ready", || {
        (daemon.get("/readyz").0 == 200).then_some(())
    });
    let mut spec = tiny("dropped");
    spec["publish"] = scratch.publish();
    scratch.drop_spec(&spec);
    let run = daemon.wait_for("dropped", "done");
    let id = run["id"].as_str().unwrap();

    let home = scratch.registry().join("dropped");
    assert_eq!(fs::read_link(home.join("latest")).unwrap(), Path::new("v1"));
    check_published(&home.join("v1"), id);
    let dir = scratch.run_dir("dropped");
    let report = read_json(&dir.report_json());
    assert_eq!(
        report["published"][0]["digest"],
        digest_path(&home.join("v1/manifest.json")).unwrap()
    );
    assert_eq!(
        report["published"][0]["location"],
        home.join("v1").display().to_string()
    );
    assert_eq!(daemon.get(&format!("/api/runs/{id}/report")).0, 200);
    assert_eq!(daemon.get(&format!("/runs/{id}/report.html")).0, 200);
    assert!(daemon.get("/").1.contains(id));

    let kinds: Vec<EventKind> = Reader::new(&dir.events())
        .poll()
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert!(matches!(
        kinds.first(),
        Some(EventKind::Started { attempt: 1, .. })
    ));
    let generations: Vec<u32> = kinds
        .iter()
        .filter_map(|kind| match kind {
            EventKind::Generation { generation, .. } => Some(*generation),
            _ => None,
        })
        .collect();
    assert_eq!(generations, (1..=8).collect::<Vec<_>>());

    // The same again, by a touch and under another name, is the same run.
    let path = scratch.watched().join("dropped.yaml");
    File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    fs::copy(&path, scratch.watched().join("copy.yaml")).unwrap();
    eventually("the copy to be looked at", || {
        daemon
            .metric("evopress_specs_total{outcome=\"known\"}")
            .filter(|count| *count >= 1.0)
    });
    assert_eq!(
        daemon.metric("evopress_specs_total{outcome=\"queued\"}"),
        Some(1.0)
    );
    let runs: Vec<Value> = serde_json::from_str(&daemon.get("/api/runs").1).unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(
        fs::read_dir(scratch.state().join("runs")).unwrap().count(),
        1
    );
    assert!(!home.join("v2").exists());
}

#[test]
fn metrics_tell_of_a_search_while_it_runs_and_after() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    let mut spec = tiny("measured");
    spec["search"]["generations"] = 60.into();
    scratch.drop_spec(&spec);
    daemon.wait_for_generation("measured", 2);
    let during = daemon.metrics();
    check_with_promtool(&during);
    let value = |series: &str| {
        let line = during.lines().find(|line| line.starts_with(series));
        let line = line.unwrap_or_else(|| panic!("{series} is not in\n{during}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!(value("evopress_runs{state=\"running\"}"), 1.0);
    assert_eq!(value("evopress_watcher_healthy"), 1.0);
    assert_eq!(value("evopress_queue_length_runs"), 0.0);
    assert_eq!(value("evopress_build_info"), 1.0);
    assert!(value("evopress_run_generation{") >= 2.0);
    assert!(value("evopress_run_best_fitness") > 0.0);
    assert!(value("evopress_run_forward_tokens_per_second") > 0.0);
    assert!(value("evopress_forward_tokens_total") > 0.0);
    daemon.wait_for("measured", "done");
    let after = daemon.metrics();
    check_with_promtool(&after);
    assert!(
        after.contains("evopress_runs{state=\"done\"} 1\n"),
        "{after}"
    );
    assert!(
        after.contains("evopress_stage_duration_seconds_count{stage=\"search\"} 1\n"),
        "{after}"
    );
}

/// `promtool check metrics` finds nothing wrong.
fn check_with_promtool(metrics: &str) {
    let mut promtool = debian("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("promtool is missing: `make test` sets it up");
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_daemon_killed_while_it_publishes_has_published_once_after_a_restart() {
    let scratch = Scratch::new();
    let home = scratch.registry().join("interrupted");
    fs::create_dir_all(&home).unwrap();
    // Another publisher's turn, so that the daemon is surely in the middle.
    let turn = File::create(home.join(".lock")).unwrap();
    turn.lock().unwrap();
    let mut spec = tiny("interrupted");
    spec["publish"] = scratch.publish();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec(&spec);
    daemon.wait_for("interrupted", "publishing");
    daemon.kill();
    // What a publisher leaves behind that is killed while it copies.
    fs::create_dir(home.join(".staging")).unwrap();
    fs::write(home.join(".staging/model.safetensors"), "half").unwrap();
    drop(turn);

    let daemon = Daemon::start(&scratch);
    let run = daemon.wait_for("interrupted", "done");
    check_published(&home.join("v1"), run["id"].as_str().unwrap());
    assert_eq!(fs::read_link(home.join("latest")).unwrap(), Path::new("v1"));
    assert!(!home.join("v2").exists() && !home.join(".staging").exists());
    let starts = Reader::new(&scratch.run_dir("interrupted").events())
        .poll()
        .unwrap();
    let starts = starts
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Started { .. }))
        .count();
    assert_eq!(starts, 1, "no worker is started again for it");
}
