//! Files in the watched folder: whatever way they come, each content runs once and whole.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{Daemon, Scratch, eventually};

/// Time in which something that should not happen would have.
const NOTHING: Duration = Duration::from_millis(700);

#[test]
fn a_dropped_file_runs_and_is_published() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("tiny", "done");
    let run = daemon.wait_for_state("tiny", "done");
    assert!(run["id"].as_str().unwrap().starts_with("tiny-"));
    assert!(scratch.registry().join("tiny/latest/config.json").is_file());
    assert_eq!(scratch.starts("tiny"), ["1 0"]);
    assert!(
        scratch.report("tiny")["published"][0]["location"]
            .as_str()
            .unwrap()
            .ends_with("registry/tiny/v1")
    );
}

#[test]
fn a_file_that_was_there_before_the_daemon_runs() {
    let scratch = Scratch::new();
    scratch.drop_spec("early", "done");
    let daemon = Daemon::start(&scratch);
    daemon.wait_for_state("early", "done");
}

#[test]
fn a_file_starts_within_a_second() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    sleep(Duration::from_millis(300));
    let start = Instant::now();
    scratch.drop_spec("quick", "done");
    eventually("the worker's start", || {
        (!daemon.logged("worker started").is_empty()).then_some(())
    });
    // The promise is one second; a machine that is busy with other tests gets some more, and a
    // rescan would take ten.
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_file_that_is_written_slowly_in_place_is_taken_whole() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    let text = scratch.spec("slowly", "done", 0);
    let mut file = File::create(scratch.watched().join("slowly.yaml")).unwrap();
    for part in text.as_bytes().chunks(text.len() / 4) {
        file.write_all(part).unwrap();
        file.flush().unwrap();
        sleep(Duration::from_millis(400));
    }
    drop(file);
    daemon.wait_for_state("slowly", "done");
    assert!(
        daemon.logged("spec is rejected").is_empty(),
        "half a file was read"
    );
}

#[test]
fn a_file_that_is_open_is_waited_for_before_its_first_byte() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    sleep(Duration::from_millis(300));
    let text = scratch.spec("opened", "done", 0);
    let mut file = File::create(scratch.watched().join("opened.yaml")).unwrap();
    sleep(Duration::from_millis(1500));
    file.write_all(text.as_bytes()).unwrap();
    drop(file);
    daemon.wait_for_state("opened", "done");
    assert!(
        daemon.logged("spec is rejected").is_empty(),
        "an empty file was read"
    );
}

#[test]
fn names_in_capitals_are_those_of_specs() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    for (file, name) in [("UPPER.YAML", "upper"), ("Mixed.Yml", "mixed")] {
        let text = scratch.spec(name, "done", 0);
        fs::write(scratch.watched().join(file), text).unwrap();
        daemon.wait_for_state(name, "done");
    }
}

#[test]
fn a_touched_saved_again_or_removed_file_changes_nothing_and_a_changed_one_is_a_new_run() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    let path = scratch.watched().join("same.yaml");
    scratch.drop_spec("same", "done");
    daemon.wait_for_state("same", "done");

    File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(5))
        .unwrap();
    eventually("the touched file to be seen", || {
        (daemon
            .logged("spec is known: the same with the same inputs is not run twice")
            .len()
            == 1)
            .then_some(())
    });
    fs::write(&path, fs::read(&path).unwrap()).unwrap();
    eventually("the saved file to be seen", || {
        (daemon
            .logged("spec is known: the same with the same inputs is not run twice")
            .len()
            == 2)
            .then_some(())
    });
    fs::remove_file(&path).unwrap();
    sleep(NOTHING);
    assert_eq!(scratch.starts("same"), ["1 0"]);
    assert_eq!(daemon.run("same").unwrap()["state"], "done");

    fs::write(&path, scratch.spec("same", "done", 1)).unwrap();
    eventually("a second run", || {
        let runs = daemon.json("/api/runs");
        let done = runs
            .as_array()
            .unwrap()
            .iter()
            .filter(|run| run["name"] == "same" && run["state"] == "done")
            .count();
        (done == 2).then_some(())
    });
    assert!(scratch.registry().join("same/v2/manifest.json").is_file());
}

#[test]
fn other_files_are_left_alone() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    for name in [".hidden.yaml", "half.yaml.tmp", "notes.txt", "backup.yaml~"] {
        fs::write(scratch.watched().join(name), "not: a spec").unwrap();
    }
    fs::create_dir(scratch.watched().join("folder.yaml")).unwrap();
    symlink("nowhere", scratch.watched().join("dangling.yaml")).unwrap();
    scratch.drop_spec("real", "done");
    daemon.wait_for_state("real", "done");
    sleep(NOTHING);
    assert_eq!(daemon.json("/api/runs").as_array().unwrap().len(), 1);
}

#[test]
fn a_kubernetes_configmap_swap_is_seen_without_waiting_for_the_rescan() {
    let scratch = Scratch::new();
    let watched = scratch.watched();
    let version = |number: u64| {
        let folder = watched.join(format!("..2026_{number}"));
        fs::create_dir(&folder).unwrap();
        fs::write(
            folder.join("mapped.yaml"),
            scratch.spec("mapped", "done", number),
        )
        .unwrap();
        symlink(format!("..2026_{number}"), watched.join("..data_tmp")).unwrap();
        fs::rename(watched.join("..data_tmp"), watched.join("..data")).unwrap();
    };
    version(1);
    symlink("..data/mapped.yaml", watched.join("mapped.yaml")).unwrap();
    let daemon = Daemon::start_with(&scratch, "rescan_seconds: 3600");
    daemon.wait_for_state("mapped", "done");
    version(2);
    eventually("the run of the swapped spec", || {
        (daemon.metric("evopress_runs{state=\"done\"}") == Some(2.0)).then_some(())
    });
}

#[test]
fn a_folder_that_is_deleted_and_made_again_is_watched_again() {
    let scratch = Scratch::new();
    let daemon = Daemon::start_with(&scratch, "rescan_seconds: 3600");
    // The daemon answers before it watches.
    eventually("the first subscription", || {
        (daemon.metric("evopress_watcher_subscriptions_total") == Some(1.0)).then_some(())
    });
    fs::remove_dir(scratch.watched()).unwrap();
    eventually("the watcher to be unwell", || {
        (daemon.metric("evopress_watcher_healthy") == Some(0.0)).then_some(())
    });
    assert_eq!(daemon.get("/readyz").0, 503);
    assert_eq!(daemon.get("/healthz").0, 200);
    fs::create_dir(scratch.watched()).unwrap();
    eventually("the watcher to be well", || {
        (daemon.metric("evopress_watcher_healthy") == Some(1.0)).then_some(())
    });
    sleep(Duration::from_millis(300));
    scratch.drop_spec("again", "done");
    daemon.wait_for_state("again", "done");
    assert_eq!(
        daemon.metric("evopress_watcher_subscriptions_total"),
        Some(2.0)
    );
}

#[test]
fn without_hints_the_rescan_finds_the_file() {
    let scratch = Scratch::new();
    let elsewhere = scratch.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let target = elsewhere.join("far.yaml");
    fs::write(&target, scratch.spec("far", "done", 0)).unwrap();
    symlink(&target, scratch.watched().join("far.yaml")).unwrap();
    let daemon = Daemon::start_with(&scratch, "rescan_seconds: 0.5");
    daemon.wait_for_state("far", "done");
    // The change happens outside the folder, so that nothing hints at it.
    fs::write(&target, scratch.spec("far", "done", 1)).unwrap();
    eventually("the changed file", || {
        (daemon.metric("evopress_runs{state=\"done\"}") == Some(2.0)).then_some(())
    });
}
