//! The command line: what it prints where, and how it exits.

use std::borrow::BorrowMut;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Daemon, Scratch, eventually};

fn output(mut command: impl BorrowMut<Command>) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.borrow_mut().output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn run_exits_with_what_happened() {
    let scratch = Scratch::new();
    for (behaviour, code) in [
        ("done", 0),
        ("refuse", 1),
        ("gate", 3),
        ("check-mistake", 78),
        ("check-segv", 78),
    ] {
        let spec = scratch.write_spec(behaviour, behaviour);
        let (exit, stdout, stderr) = output(scratch.evopressd(&["run"]).arg(&spec));
        assert_eq!(exit, code, "{behaviour}: {stdout}{stderr}");
    }
    assert_eq!(output(scratch.evopressd(&["run", "missing.yaml"])).0, 2);
    assert_eq!(output(scratch.evopressd(&["run"])).0, 2);
    assert_eq!(output(scratch.evopressd(&["serve"])).0, 2);
    assert_eq!(
        output(scratch.evopressd(&["serve", "--config", "missing.yaml"])).0,
        2
    );
    assert_eq!(output(scratch.evopressd(&["follow", "no-such-run"])).0, 2);
    assert_eq!(
        output(
            scratch
                .evopressd(&["validate", "done.yaml"])
                .env("EVOPRESS_WORKER", "nowhere")
        )
        .0,
        2
    );
}

#[test]
fn run_ends_with_a_table_and_is_not_done_twice() {
    let scratch = Scratch::new();
    scratch.write_spec("tiny", "done");
    let (_, first, progress) = output(scratch.evopressd(&["run", "tiny.yaml"]));
    assert!(
        progress.contains("search: generation 5/5") || progress.contains("running"),
        "{progress}"
    );
    let shown = first
        .replace(&scratch.path().display().to_string(), "SCRATCH")
        .replace(
            scratch
                .run_folder("tiny")
                .file_name()
                .unwrap()
                .to_str()
                .unwrap(),
            "tiny-ID",
        );
    insta::assert_snapshot!(shown);
    let (exit, again, note) = output(scratch.evopressd(&["run", "tiny.yaml"]));
    assert_eq!((exit, again), (0, first));
    assert!(
        note.contains("The same spec with the same inputs is not run twice"),
        "{note}"
    );
    assert_eq!(scratch.starts("tiny").len(), 1);
}

#[test]
fn a_command_tries_a_failed_run_again() {
    let scratch = Scratch::new();
    scratch.write_spec("bad", "refuse");
    for _ in 0..2 {
        let (exit, stdout, _) = output(scratch.evopressd(&["run", "bad.yaml"]));
        assert_eq!(exit, 1);
        assert!(
            stdout.contains("failed: the model is truncated"),
            "{stdout}"
        );
    }
    assert_eq!(scratch.starts("bad").len(), 2);
}

#[test]
fn json_is_the_report_alone() {
    let scratch = Scratch::new();
    scratch.write_spec("tiny", "done");
    let (exit, stdout, _) = output(scratch.evopressd(&["run", "tiny.yaml", "--json"]));
    assert_eq!(exit, 0);
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report, scratch.report("tiny"));
    let (exit, stdout, _) = output(scratch.evopressd(&["follow", "--json"]));
    assert_eq!(
        (
            exit,
            serde_json::from_str::<serde_json::Value>(&stdout).unwrap()
        ),
        (0, report)
    );
}

#[test]
fn an_interrupted_command_is_continued_by_the_same_command() {
    let scratch = Scratch::new();
    scratch.write_spec("slow", "slow");
    let mut command = scratch.evopressd(&["run", "slow.yaml"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the first start", || {
        (scratch.state().join("runs").exists()
            && std::fs::read_dir(scratch.state().join("runs"))
                .ok()?
                .next()
                .is_some()
            && scratch.run_folder("slow").join("checkpoint.txt").exists())
        .then_some(())
    });
    kill_process(
        Pid::from_raw(child.id().cast_signed()).unwrap(),
        Signal::INT,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(75));
    scratch.go("slow");
    // A daemon leaves a command's run alone.
    let daemon = Daemon::start(&scratch);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(daemon.run("slow").unwrap()["state"], "interrupted");
    let (exit, _, sentence) = output(scratch.evopressd(&["run", "slow.yaml"]));
    assert_eq!(exit, 1);
    assert!(
        sentence.contains("in use by another evopressd"),
        "{sentence}"
    );
    daemon.stop();
    assert_eq!(output(scratch.evopressd(&["run", "slow.yaml"])).0, 0);
    assert_eq!(scratch.starts("slow"), ["1 0", "1 1"]);
}

#[test]
fn follow_shows_a_run_of_the_daemon_to_its_end() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    let mut command = scratch.evopressd(&["follow", "--name", "tiny"]);
    let follower = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    scratch.drop_spec("tiny", "done");
    daemon.wait_for_state("tiny", "done");
    let Output {
        status,
        stdout,
        stderr,
    } = follower.wait_with_output().unwrap();
    assert!(status.success());
    assert!(String::from_utf8_lossy(&stderr).starts_with("waiting for a run of tiny"));
    assert!(String::from_utf8_lossy(&stdout).contains("published: "));
}

#[test]
fn follow_tells_that_the_spec_was_rejected() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("bad", "check-mistake");
    daemon.wait_for_state("bad", "rejected");
    for arguments in [&["follow"][..], &["follow", "--name", "bad"]] {
        let (exit, _, stderr) = output(scratch.evopressd(arguments));
        assert_eq!(exit, 78);
        assert!(
            stderr.contains("was rejected:") && stderr.contains("granularity"),
            "{stderr}"
        );
    }
}

#[test]
fn validate_tells_all_and_plugins_and_schema_print() {
    let scratch = Scratch::new();
    scratch.write_spec("good", "done");
    std::fs::write(scratch.path().join("bad.yaml"), "kind: Pipline\n").unwrap();
    let (exit, stdout, stderr) = output(scratch.evopressd(&["validate", "good.yaml", "bad.yaml"]));
    assert_eq!(exit, 78);
    assert_eq!(
        stdout,
        format!(
            "good.yaml: good; a run needs about 2 min, 800.0 MB memory, 500.0 MB disk\n{}{}  publishes to {} (folder)\n",
            "  sequences begin with BOS: yes (tokenizer.json)\n",
            "  dense means as delivered: the weights of the model come as gptq (4-bit), 90.0 MB\n",
            scratch.registry().join("good").display()
        )
    );
    assert!(stderr.contains("--> bad.yaml:1:7"), "{stderr}");
    let (_, stdout, _) =
        output(scratch.evopressd(&["validate", "--json", "good.yaml", "bad.yaml"]));
    let answers: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&answers[0]["valid"], &answers[1]["valid"]),
        (&true.into(), &false.into())
    );
    assert_eq!(answers[0]["sequences"][0]["bos"], true);
    assert!(answers[1]["mistakes"].as_array().unwrap().len() > 1);

    let (exit, stdout, _) = output(scratch.evopressd(&["plugins"]));
    assert_eq!(exit, 0);
    assert!(
        stdout.contains("drops sub-blocks")
            && stdout.contains("libevopress_bad.so: cannot be used"),
        "{stdout}"
    );
    let (_, schema, _) = output(scratch.evopressd(&["schema"]));
    assert!(
        serde_json::from_str::<serde_json::Value>(&schema).unwrap()["properties"]["methods"]
            .is_object()
    );
    assert!(
        !scratch.state().exists(),
        "none of these needs the state folder"
    );
}
