//! Specs with mistakes are recorded and refused; the daemon goes on.

use std::fs;

use crate::support::{Daemon, Scratch, eventually};

fn record(scratch: &Scratch, name: &str) -> String {
    let mut found = fs::read_dir(scratch.state().join("rejected"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let folder = found
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(&format!("{name}-"))
        })
        .unwrap();
    assert!(folder.join("spec.yaml").is_file());
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("mistakes.json")).unwrap()).unwrap();
    assert!(json[0]["line"].is_u64());
    fs::read_to_string(folder.join("mistakes.txt")).unwrap()
}

#[test]
fn all_mistakes_are_recorded_at_once_with_their_places() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    let text = scratch
        .spec("bad", "done", 0)
        .replace("target: {drop: 0.25}", "target: {drop: 7}\ntragets: 1");
    scratch.drop_text("bad", &text);
    let run = daemon.wait_for_state("bad", "rejected");
    let mistakes = record(&scratch, "bad");
    assert_eq!(mistakes.lines().count(), 2, "{mistakes}");
    assert!(
        mistakes.contains("bad.yaml:8:") && mistakes.contains("tragets"),
        "{mistakes}"
    );
    assert!(run["reason"].as_str().unwrap().ends_with("(and 1 more)"));
    assert_eq!(daemon.logged("spec has a mistake").len(), 2);

    scratch.drop_spec("good", "done");
    daemon.wait_for_state("good", "done");
}

#[test]
fn a_plugins_mistake_has_its_place_in_the_spec() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("option", "check-mistake");
    daemon.wait_for_state("option", "rejected");
    let mistakes = record(&scratch, "option");
    assert!(
        mistakes.contains(
            "option.yaml:7:43: $.methods[0].options.granularity: granularity is \"atom\""
        ),
        "{mistakes}"
    );
}

#[test]
fn a_check_that_crashes_hangs_or_talks_nonsense_rejects_the_spec() {
    let scratch = Scratch::new();
    let daemon = Daemon::start_with(&scratch, "check_seconds: 1");
    for (name, expected) in [
        (
            "check-segv",
            "the worker was killed by signal 11 (SIGSEGV) while it checked the spec: loading libevopress_bad.so",
        ),
        (
            "check-hang",
            "the worker did not come back within 1 s while it checked the spec",
        ),
        (
            "check-nonsense",
            "the worker's answer is not what was expected while it checked the spec",
        ),
    ] {
        scratch.drop_spec(name, name);
        let run = daemon.wait_for_state(name, "rejected");
        assert!(run["reason"].as_str().unwrap().contains(expected), "{run}");
    }
    scratch.drop_spec("good", "done");
    daemon.wait_for_state("good", "done");
}

#[test]
fn files_that_are_no_text_are_refused() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    fs::write(scratch.watched().join("binary.yaml"), b"name: \xff\xfe").unwrap();
    fs::write(scratch.watched().join("huge.yaml"), vec![b'#'; 3 << 20]).unwrap();
    fs::write(scratch.watched().join("empty.yaml"), "").unwrap();
    for name in ["binary", "huge", "empty"] {
        daemon.wait_for_state(name, "rejected");
    }
    scratch.drop_spec("good", "done");
    daemon.wait_for_state("good", "done");
}

#[test]
fn a_spec_whose_missing_file_came_later_runs_when_it_is_touched() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    let model = scratch.path().join("model.gguf");
    fs::remove_file(&model).unwrap();
    scratch.drop_spec("later", "done");
    let run = daemon.wait_for_state("later", "rejected");
    assert!(
        run["reason"].as_str().unwrap().contains("model.gguf"),
        "{run}"
    );
    fs::write(&model, "here now").unwrap();
    scratch.drop_spec("later", "done");
    daemon.wait_for_state("later", "done");
    eventually("the record to go", || {
        (daemon.metric("evopress_runs{state=\"rejected\"}") == Some(0.0)).then_some(())
    });
    assert_eq!(
        fs::read_dir(scratch.state().join("rejected"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn the_record_of_an_earlier_text_goes_when_the_file_turns_out_well() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_text("mended", "kind: Pipelin\n");
    daemon.wait_for_state("mended", "rejected");
    scratch.drop_spec("mended", "done");
    daemon.wait_for_state("mended", "done");
    eventually("the record to go", || {
        (daemon.metric("evopress_runs{state=\"rejected\"}") == Some(0.0)).then_some(())
    });
    let left = fs::read_dir(scratch.state().join("rejected")).unwrap();
    assert_eq!(left.count(), 0);
}
