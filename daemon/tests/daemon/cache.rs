//! The cache: its commands beside a daemon that works, and its limit.

use std::fs;
use std::process::Command;

use evopress_cache::{Cache, Entry, Manifest};
use serde_json::{Value, json};

use crate::support::{Daemon, Scratch, eventually};

fn output(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    (output.status.code().unwrap(), stdout, stderr)
}

/// A complete level database of one file.
fn database(scratch: &Scratch, key: &str, num_bytes: usize) -> Entry {
    let cache = Cache::open(&scratch.state().join("cache")).unwrap();
    let entry = cache.entry("levels", key).unwrap();
    let mut manifest = Manifest::new("levels", key, &format!("gptq on {key}"), json!({}));
    let record = entry.commit_file("layer-0.bin", vec![1; num_bytes].as_slice());
    manifest
        .files
        .insert("layer-0.bin".to_owned(), record.unwrap());
    manifest.is_complete = true;
    entry.save_manifest(&manifest).unwrap();
    entry.touch().unwrap();
    entry
}

#[test]
fn an_empty_cache_is_told_and_not_made() {
    let scratch = Scratch::new();
    for arguments in [&["cache", "list"][..], &["cache", "prune"]] {
        let (exit, stdout, stderr) = output(&mut scratch.evopressd(arguments));
        assert_eq!(exit, 0, "{stderr}");
        assert!(
            stdout.contains("is empty") || stdout.starts_with("0 entries are left"),
            "{stdout}"
        );
    }
    assert_eq!(output(&mut scratch.evopressd(&["cache", "verify"])).0, 0);
    assert!(!scratch.state().exists());
    let (exit, _, stderr) =
        output(&mut scratch.evopressd(&["cache", "prune", "--max-size", "much"]));
    assert_eq!(exit, 2);
    assert!(stderr.contains("expected a size such as 50GiB"), "{stderr}");
}

#[test]
fn list_verify_and_prune_tell_what_is_there_and_what_they_do() {
    let scratch = Scratch::new();
    let one = database(&scratch, "0123456789abcdef", 3_000_000);
    let two = database(&scratch, "fedcba9876543210", 1_000_000);
    let building = two.lock_exclusive().unwrap();
    let (exit, stdout, _) = output(&mut scratch.evopressd(&["cache", "list"]));
    assert_eq!(exit, 0);
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(
        lines[0].starts_with("gptq on 0123456789abcdef  0123456789ab      3.0 MB"),
        "{stdout}"
    );
    assert!(
        lines[0].ends_with("s ago  complete") && lines[1].ends_with("being built"),
        "{stdout}"
    );
    assert!(lines[2].starts_with("2 entries in ") && lines[2].ends_with("4.0 MB of 53.7 GB"));

    fs::write(one.path().join("layer-0.bin"), "cut").unwrap();
    let (exit, stdout, _) = output(&mut scratch.evopressd(&["cache", "verify"]));
    assert_eq!(exit, 1);
    assert_eq!(
        stdout,
        "gptq on 0123456789abcdef  0123456789ab: layer-0.bin: it has 3 bytes, expected 3000000\n\
         gptq on fedcba9876543210  fedcba987654: being built, so not verified\n\
         1 file is damaged. The next run that uses this makes just these layers, or fetches just these files, anew.\n"
    );
    let (exit, stdout, _) = output(&mut scratch.evopressd(&["cache", "verify", "--json"]));
    let answers: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(exit, 1);
    assert_eq!(answers[0]["damaged"][0]["file"], "layer-0.bin");
    assert_eq!(answers[1]["damaged"], Value::Null);

    let (exit, stdout, _) = output(&mut scratch.evopressd(&["cache", "prune", "--all"]));
    assert_eq!(exit, 0);
    assert_eq!(
        stdout,
        "removed gptq on 0123456789abcdef  0123456789ab  0.0 MB\n\
         1 entry is left, 1.0 MB: in use now\n"
    );
    drop(building);
    let (_, stdout, _) =
        output(&mut scratch.evopressd(&["cache", "prune", "--max-size", "1GB", "--json"]));
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&answer["removed"], &answer["entries"]),
        (&json!([]), &json!(1))
    );
    fs::write(
        scratch.path().join("conf"),
        "state: state\ncache: {max_size_bytes: 1000}\n",
    )
    .unwrap();
    let (_, stdout, _) = output(
        scratch
            .evopressd(&["cache", "prune", "--config", "conf"])
            .env_remove("EVOPRESS_STATE"),
    );
    assert!(
        stdout.starts_with("removed gptq on fedcba9876543210"),
        "{stdout}"
    );
}

#[test]
fn a_daemon_holds_the_cache_against_its_limit_and_leaves_what_is_used() {
    let scratch = Scratch::new();
    let used = database(&scratch, "aa", 2_000_000);
    let in_use = used.lock_shared().unwrap();
    let unused = database(&scratch, "bb", 2_000_000);
    let daemon = Daemon::start_with(&scratch, "cache: {max_size_bytes: 1MB}");
    eventually("the first look at the cache", || {
        (daemon.metric("evopress_cache_entries")? == 1.0).then_some(())
    });
    assert!(used.path().is_dir() && !unused.path().exists());
    let size = daemon.metric("evopress_cache_size_bytes").unwrap();
    assert!((2_000_000.0..2_100_000.0).contains(&size), "{size}");
    assert_eq!(
        daemon.logged("cache entry is removed: it was not used for longest")[0]["key"],
        "bb"
    );
    let (_, stdout, _) = output(&mut scratch.evopressd(&["cache", "list"]));
    assert!(stdout.contains("gptq on aa"), "beside a daemon: {stdout}");
    drop(in_use);
    scratch.drop_spec("tiny", "done");
    daemon.wait_for_state("tiny", "done");
    eventually("the look after the run", || {
        (daemon.metric("evopress_cache_entries")? == 0.0).then_some(())
    });
    assert!(!used.path().exists());
}

#[test]
fn a_worker_is_told_where_the_cache_is_and_a_cache_that_cannot_be_used_stops_no_run() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.state()).unwrap();
    fs::write(
        scratch.state().join("cache"),
        "a file where the folder should be",
    )
    .unwrap();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("tiny", "done");
    daemon.wait_for_state("tiny", "done");
    let told = fs::read_to_string(scratch.run_folder("tiny").join("arguments.txt")).unwrap();
    let cache = scratch.state().join("cache").display().to_string();
    assert!(told.contains(&format!("--cache {cache}")), "{told}");
    assert!(
        !daemon
            .logged("the cache cannot be pruned to its limit")
            .is_empty()
    );
    let (exit, _, stderr) = output(&mut scratch.evopressd(&["cache", "list"]));
    assert_eq!(exit, 1);
    assert!(stderr.starts_with("evopressd: cannot read "), "{stderr}");
}

#[test]
fn a_full_disk_is_the_reason_of_the_run_and_the_daemon_lives() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("full", "full-disk");
    let run = daemon.wait_for_state("full", "failed");
    let reason = "cannot write /cache/levels/ab/layer-3: the disk is full";
    assert!(run["reason"].as_str().unwrap().starts_with(reason), "{run}");
    assert_eq!(scratch.report("full")["reason"], run["reason"]);
    assert_eq!(
        scratch.starts("full").len(),
        1,
        "no second try fills the disk again"
    );
    scratch.drop_spec("tiny", "done");
    daemon.wait_for_state("tiny", "done");
}
