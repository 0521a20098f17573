//! SIGTERM: workers write their checkpoints, runs go on after a restart.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Daemon, Scratch, eventually};

#[test]
fn a_run_is_interrupted_and_goes_on_after_a_restart() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("slow", "slow");
    daemon.wait_for_generation("slow");
    assert!(daemon.stop().success());
    let followed = scratch
        .evopressd(&["follow", "--name", "slow"])
        .output()
        .unwrap();
    assert_eq!(followed.status.code(), Some(75));
    assert!(
        String::from_utf8_lossy(&followed.stderr).contains("the worker stopped with a checkpoint")
    );

    scratch.go("slow");
    let daemon = Daemon::start(&scratch);
    daemon.wait_for_state("slow", "done");
    assert_eq!(scratch.starts("slow"), ["1 0", "1 1"]);
}

#[test]
fn a_worker_that_does_not_stop_is_killed_after_the_time_for_it() {
    let scratch = Scratch::new();
    let mut daemon = Daemon::start_with(&scratch, "drain_seconds: 0.7");
    scratch.drop_spec("deaf", "deaf");
    daemon.wait_for_generation("deaf");
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    // While it drains it says so, and takes nothing new.
    eventually("the daemon to drain", || {
        (daemon.metric("evopress_draining") == Some(1.0)).then_some(())
    });
    assert_eq!(daemon.get("/readyz").0, 503);
    assert!(daemon.wait().success());
    assert!(start.elapsed() >= Duration::from_millis(600));

    scratch.go("deaf");
    let daemon = Daemon::start(&scratch);
    daemon.wait_for_state("deaf", "done");
    assert_eq!(scratch.starts("deaf").len(), 2);
}

#[test]
fn a_second_signal_ends_at_once() {
    let scratch = Scratch::new();
    let mut daemon = Daemon::start(&scratch);
    scratch.drop_spec("deaf", "deaf");
    daemon.wait_for_generation("deaf");
    daemon.signal(Signal::INT);
    eventually("the daemon to drain", || {
        (daemon.metric("evopress_draining") == Some(1.0)).then_some(())
    });
    let start = Instant::now();
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(130));
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "it did not wait for the worker"
    );
}
