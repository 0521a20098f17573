use std::path::Path;

use super::*;

fn new_run(id: &str, origin: Origin) -> NewRun<'_> {
    NewRun {
        id,
        name: "tiny",
        origin,
        spec_path: Path::new("/specs/tiny.yaml"),
    }
}

fn journal() -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&folder.path().join("journal.db")).unwrap();
    (folder, journal)
}

#[test]
fn a_run_is_added_once_and_claimed_in_order() {
    let (_folder, journal) = journal();
    assert!(journal.add(&new_run("b", Origin::Watch)).unwrap());
    assert!(journal.add(&new_run("a", Origin::Watch)).unwrap());
    assert!(journal.add(&new_run("c", Origin::Command)).unwrap());
    assert!(!journal.add(&new_run("b", Origin::Watch)).unwrap());
    assert_eq!(journal.claim_next().unwrap().unwrap().id, "b");
    assert_eq!(journal.claim_next().unwrap().unwrap().id, "a");
    assert_eq!(
        journal.claim_next().unwrap(),
        None,
        "a command's run is not the daemon's"
    );
    assert_eq!(journal.newest(Some("tiny")).unwrap().unwrap().id, "c");
    assert_eq!(journal.newest(Some("other")).unwrap(), None);
}

#[test]
fn a_restart_queues_what_ran_and_returns_what_was_publishing() {
    let (folder, journal) = journal();
    for id in ["running", "publishing", "interrupted", "queued", "done"] {
        journal.add(&new_run(id, Origin::Watch)).unwrap();
    }
    for id in ["running", "publishing", "interrupted", "done"] {
        journal
            .transition(
                id,
                RunState::Running,
                Change {
                    attempt: Some(2),
                    reason: None,
                },
            )
            .unwrap();
    }
    journal
        .transition("publishing", RunState::Publishing, Change::default())
        .unwrap();
    journal
        .transition(
            "interrupted",
            RunState::Interrupted,
            Change::because("SIGTERM"),
        )
        .unwrap();
    journal
        .transition("done", RunState::Publishing, Change::default())
        .unwrap();
    journal
        .transition("done", RunState::Done, Change::default())
        .unwrap();
    drop(journal);

    let journal = Journal::open(&folder.path().join("journal.db")).unwrap();
    let publishing = journal.recover().unwrap();
    assert_eq!(
        publishing
            .iter()
            .map(|run| run.id.as_str())
            .collect::<Vec<_>>(),
        ["publishing"]
    );
    let state = |id: &str| journal.get(id).unwrap().unwrap().state;
    assert_eq!(state("running"), RunState::Queued);
    assert_eq!(state("interrupted"), RunState::Queued);
    assert_eq!(state("queued"), RunState::Queued);
    assert_eq!(state("done"), RunState::Done);
    assert_eq!(
        journal.get("running").unwrap().unwrap().attempt,
        2,
        "a restart is no new attempt"
    );
}

#[test]
fn impossible_transitions_are_refused() {
    let (_folder, journal) = journal();
    journal.add(&new_run("a", Origin::Watch)).unwrap();
    let refusal = journal
        .transition("a", RunState::Done, Change::default())
        .unwrap_err()
        .to_string();
    assert_eq!(refusal, "run a is queued and cannot become done");
    assert_eq!(
        journal
            .transition("b", RunState::Done, Change::default())
            .unwrap_err()
            .to_string(),
        "there is no run b"
    );
}

#[test]
fn a_refused_spec_is_counted_once_until_it_is_mended() {
    let (_folder, journal) = journal();
    for reason in ["2 mistakes", "1 mistake"] {
        journal
            .add_rejected(&new_run("bad", Origin::Watch), reason)
            .unwrap();
    }
    let bad = journal.get("bad").unwrap().unwrap();
    assert_eq!(
        (bad.state, bad.reason.as_deref()),
        (RunState::Rejected, Some("1 mistake"))
    );
    assert!(bad.finished.is_some());
    assert!(journal.counts().unwrap().contains(&(RunState::Rejected, 1)));
    assert!(journal.forget_rejected("bad").unwrap());
    assert!(!journal.forget_rejected("bad").unwrap());
    assert!(
        journal
            .forget_rejected_of(Path::new("nowhere"))
            .unwrap()
            .is_empty()
    );
}
