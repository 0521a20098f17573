//! Workers that end badly: a crash is tried again, a reason is not; the daemon lives.

use crate::support::{Daemon, Scratch};

#[test]
fn a_worker_that_gives_a_reason_is_not_tried_again() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("refuse", "refuse");
    scratch.drop_spec("silent", "silent");
    assert_eq!(
        daemon.wait_for_state("refuse", "failed")["reason"],
        "the model is truncated"
    );
    let silent = daemon.wait_for_state("silent", "failed");
    let reason =
        "the worker ended with exit code 1 in stage search and gave no reason; see worker.log";
    assert_eq!(silent["reason"], reason);
    assert_eq!(
        scratch.starts("refuse").len() + scratch.starts("silent").len(),
        2
    );
    let report = scratch.report("refuse");
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&"failed".into(), &"the model is truncated".into())
    );
}

#[test]
fn a_worker_that_crashes_is_tried_three_times_and_the_reason_says_how_it_ended() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("segv", "segv");
    let run = daemon.wait_for_state("segv", "failed");
    let reason = "the worker was killed by signal 11 (SIGSEGV) in stage search, attempt 3 of 3; see worker.log";
    assert_eq!(run["reason"], reason);
    assert_eq!(scratch.starts("segv"), ["1 0", "2 0", "3 0"]);
    assert_eq!(scratch.report("segv")["reason"], reason);
    assert_eq!(
        daemon.metric("evopress_worker_attempts_total{outcome=\"crashed\"}"),
        Some(2.0)
    );
    assert_eq!(
        daemon.metric("evopress_worker_attempts_total{outcome=\"failed\"}"),
        Some(1.0)
    );
    let log = std::fs::read_to_string(scratch.run_folder("segv").join("worker.log")).unwrap();
    assert_eq!(log.matches("attempt ").count(), 3, "{log}");

    scratch.drop_spec("after", "done");
    daemon.wait_for_state("after", "done");
}

#[test]
fn an_unknown_exit_code_is_a_crash_and_the_limit_is_configurable() {
    let scratch = Scratch::new();
    let daemon = Daemon::start_with(&scratch, "attempts: 1");
    scratch.drop_spec("code", "code");
    let reason =
        "the worker ended with exit code 134 in stage search, attempt 1 of 1; see worker.log";
    assert_eq!(daemon.wait_for_state("code", "failed")["reason"], reason);
}

#[test]
fn a_second_attempt_goes_on_from_the_checkpoint() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("once", "segv-once");
    let run = daemon.wait_for_state("once", "done");
    assert_eq!(run["attempt"], 2);
    assert_eq!(scratch.starts("once"), ["1 0", "2 2"]);
    // Generations 1 to 5 of 1000 tokens each, none counted twice.
    assert_eq!(daemon.metric("evopress_forward_tokens_total"), Some(5000.0));
}

#[test]
fn a_missed_gate_is_an_end_without_publication() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("gate", "gate");
    let run = daemon.wait_for_state("gate", "gate_failed");
    assert_eq!(
        run["reason"],
        "set held-out: 1.797 misses max_perplexity_ratio 3"
    );
    assert!(!scratch.registry().exists());
    assert_eq!(scratch.starts("gate").len(), 1);
}

#[test]
fn runs_wait_for_a_free_slot_and_two_slots_run_two() {
    let scratch = Scratch::new();
    let daemon = Daemon::start_with(&scratch, "max_concurrent_runs: 2");
    for name in ["one", "two", "three"] {
        scratch.drop_spec(name, "slow");
        if name != "three" {
            daemon.wait_for_generation(name);
        }
    }
    daemon.wait_for_state("three", "queued");
    assert_eq!(daemon.metric("evopress_queue_length_runs"), Some(1.0));
    assert_eq!(
        daemon.metric("evopress_run_generation{slot=\"1\"}"),
        Some(1.0)
    );
    scratch.go("two");
    daemon.wait_for_generation("three");
    assert_eq!(daemon.run("one").unwrap()["state"], "running");
}
