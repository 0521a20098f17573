//! kill -9 of the daemon, in each state.

use std::fs;
use std::time::Duration;

use crate::support::{Daemon, Scratch, eventually};

#[test]
fn a_running_run_goes_on_from_its_checkpoint_and_its_worker_died_with_the_daemon() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("slow", "slow");
    daemon.wait_for_generation("slow");
    daemon.kill();
    let lock = fs::File::open(scratch.run_folder("slow").join("lock")).unwrap();
    eventually("the worker to die with its daemon", || lock.try_lock().ok());
    drop(lock);
    scratch.go("slow");

    let daemon = Daemon::start(&scratch);
    let run = daemon.wait_for_state("slow", "done");
    assert_eq!(
        run["attempt"], 1,
        "the death of a daemon is not the run's fault"
    );
    assert_eq!(scratch.starts("slow"), ["1 0", "1 1"]);
}

#[test]
fn a_queued_run_stays_in_the_queue() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("first", "slow");
    daemon.wait_for_generation("first");
    scratch.drop_spec("second", "done");
    daemon.wait_for_state("second", "queued");
    daemon.kill();
    fs::remove_file(scratch.watched().join("second.yaml")).unwrap();
    scratch.go("first");
    let daemon = Daemon::start(&scratch);
    daemon.wait_for_state("first", "done");
    daemon.wait_for_state("second", "done");
}

#[test]
fn a_pending_publication_is_made_after_the_restart_without_running_again() {
    let scratch = Scratch::new();
    // Where the model's folder should be there is a file: publishing fails, and is tried again
    // after a while.
    fs::create_dir(scratch.registry()).unwrap();
    fs::write(scratch.registry().join("stuck"), "in the way").unwrap();
    let daemon = Daemon::start_with(&scratch, "attempts: 9\nbackoff_seconds: 30");
    scratch.drop_spec("stuck", "done");
    let run = daemon.wait_for_state("stuck", "done");
    assert!(
        run["reason"]
            .as_str()
            .unwrap()
            .contains("publication is pending"),
        "{run}"
    );
    assert_eq!(
        daemon.metric("evopress_publications_pending{registry=\"folder\"}"),
        Some(1.0)
    );
    daemon.kill();
    fs::remove_file(scratch.registry().join("stuck")).unwrap();
    // What a publisher leaves behind that died in the middle.
    let staging = scratch.registry().join("stuck/.staging");
    fs::create_dir_all(&staging).unwrap();
    fs::write(staging.join("model.safetensors"), "half").unwrap();

    let daemon = Daemon::start(&scratch);
    eventually("the publication", || {
        let is_told = daemon.run("stuck").unwrap()["reason"].is_null();
        is_told.then_some(())
    });
    let pending = "evopress_publications_pending{registry=\"folder\"}";
    assert_eq!(daemon.metric(pending), Some(0.0));
    assert_eq!(scratch.starts("stuck").len(), 1);
    assert!(!staging.exists());
    assert!(
        scratch
            .registry()
            .join("stuck/latest/model.safetensors")
            .is_file()
    );
}

#[test]
fn a_daemon_that_is_killed_while_it_copies_publishes_the_whole_model_after_the_restart() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("big", "big");
    let home = scratch.registry().join("big");
    eventually("the copy to begin", || {
        home.join(".staging/model.safetensors")
            .exists()
            .then_some(())
    });
    daemon.kill();
    assert!(
        !home.join("v1").exists() && !home.join("latest").exists(),
        "a part was visible"
    );

    let daemon = Daemon::start(&scratch);
    daemon.wait_for_state("big", "done");
    assert_eq!(
        fs::metadata(home.join("latest/model.safetensors"))
            .unwrap()
            .len(),
        300 << 20
    );
    assert!(!home.join(".staging").exists());
    assert_eq!(scratch.starts("big").len(), 1);
}

#[test]
fn a_run_that_is_through_stays_so_and_is_not_published_twice() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    for (name, behaviour, state) in [
        ("good", "done", "done"),
        ("bad", "refuse", "failed"),
        ("gate", "gate", "gate_failed"),
    ] {
        scratch.drop_spec(name, behaviour);
        daemon.wait_for_state(name, state);
    }
    daemon.kill();
    let daemon = Daemon::start(&scratch);
    eventually("all files to be seen again", || {
        (daemon.metric("evopress_specs_total{outcome=\"known\"}") == Some(3.0)).then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    for name in ["good", "bad", "gate"] {
        assert_eq!(scratch.starts(name).len(), 1);
    }
    assert!(!scratch.registry().join("good/v2").exists());
}

#[test]
fn a_failed_run_whose_folder_was_deleted_runs_again_when_its_spec_is_seen() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("bad", "refuse");
    daemon.wait_for_state("bad", "failed");
    fs::remove_dir_all(scratch.run_folder("bad")).unwrap();
    scratch.drop_spec("bad", "refuse");
    eventually("the second run", || {
        (daemon.logged("worker started").len() == 2).then_some(())
    });
    daemon.wait_for_state("bad", "failed");
}

#[test]
fn one_daemon_has_the_state_folder() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    let second = scratch
        .evopressd(&["serve", "--watch", "watched", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let sentence = String::from_utf8(second.stderr).unwrap();
    assert!(
        sentence.contains(&format!(
            "is in use by another evopressd (process {})",
            daemon.pid()
        )),
        "{sentence}"
    );
}
