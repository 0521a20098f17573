//! Events, one line each.

use std::fs::{self, OpenOptions};
use std::io::Write;

use evopress_spec::events::{Reader, Writer};
use evopress_spec::{Event, EventKind, Stage, Status};

fn every_event() -> Vec<EventKind> {
    let stage = Stage::Search;
    vec![
        EventKind::Started {
            attempt: 2,
            device: "cpu".into(),
            dtype: "bf16".into(),
            threads: 2,
            resumed_generation: Some(7),
        },
        EventKind::StageStarted { stage },
        EventKind::StageFinished {
            stage,
            seconds: 1.5,
            reused: false,
        },
        EventKind::Progress {
            stage: Stage::Load,
            done: 3,
            total: 10,
            unit: "MiB".into(),
        },
        EventKind::Generation {
            generation: 1,
            generations: 40,
            best_fitness: 0.5,
            accepted: true,
            forward_tokens: 4096,
            search_seconds: 2.25,
            held_out: Some(0.75),
        },
        EventKind::Baseline {
            name: "window".into(),
            kl_divergence: 0.25,
            perplexity: 70.5,
        },
        EventKind::Warning {
            message: "one line\nand another".into(),
        },
        EventKind::Finished {
            status: Status::GateFailed,
        },
        EventKind::Failed {
            reason: "no".into(),
        },
        EventKind::Interrupted { generation: None },
    ]
}

#[test]
fn events_come_back_from_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let mut reader = Reader::new(&path);
    assert_eq!(reader.poll().unwrap(), [], "the file is not there yet");
    let mut writer = Writer::open(&path).unwrap();
    for kind in every_event() {
        writer.write(kind).unwrap();
    }
    let read: Vec<EventKind> = reader
        .poll()
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(read, every_event());
    assert_eq!(
        fs::read_to_string(&path).unwrap().lines().count(),
        every_event().len()
    );
    assert_eq!(reader.poll().unwrap(), []);
    writer
        .write(EventKind::Failed {
            reason: "late".into(),
        })
        .unwrap();
    assert_eq!(
        Reader::from_offset(&path, reader.offset())
            .poll()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn events_are_written_as_agreed() {
    let event = Event {
        time: "2026-01-31T09:30:00.125Z".into(),
        kind: EventKind::StageFinished {
            stage: Stage::Stitch,
            seconds: 1.5,
            reused: true,
        },
    };
    insta::assert_snapshot!(
        serde_json::to_string(&event).unwrap(),
        @r#"{"time":"2026-01-31T09:30:00.125Z","event":"stage_finished","stage":"stitch","seconds":1.5,"reused":true}"#
    );
}

#[test]
fn an_infinite_fitness_is_read_as_not_a_number() {
    let kind = EventKind::Baseline {
        name: "random".into(),
        kl_divergence: f64::NAN,
        perplexity: f64::INFINITY,
    };
    let line = serde_json::to_string(&Event::now(kind)).unwrap();
    let EventKind::Baseline {
        kl_divergence,
        perplexity,
        ..
    } = serde_json::from_str::<Event>(&line).unwrap().kind
    else {
        panic!("{line}");
    };
    assert!(kl_divergence.is_nan() && perplexity.is_nan());
}

#[test]
fn a_torn_last_line_waits_for_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let line = serde_json::to_string(&Event::now(EventKind::Warning {
        message: "ä".into(),
    }))
    .unwrap()
        + "\n";
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    let mut reader = Reader::new(&path);
    for cut in 0..line.len() {
        file.write_all(&line.as_bytes()[..cut]).unwrap();
        assert_eq!(reader.poll().unwrap(), [], "cut at {cut}");
        file.write_all(&line.as_bytes()[cut..]).unwrap();
        assert_eq!(reader.poll().unwrap().len(), 1, "cut at {cut}");
    }
    // A crash tears a line for good; the next writer ends it, and the reader leaves it out.
    file.write_all(&line.as_bytes()[..9]).unwrap();
    Writer::open(&path)
        .unwrap()
        .write(EventKind::Failed {
            reason: "no".into(),
        })
        .unwrap();
    assert_eq!(reader.poll().unwrap().len(), 1);
    assert_eq!(reader.skipped(), 1);
    // Events of a later version are no reason to stop.
    file.write_all(b"{\"time\":\"\",\"event\":\"dreamt\"}\n\n[1]\n")
        .unwrap();
    file.write_all(line.as_bytes()).unwrap();
    assert_eq!(reader.poll().unwrap().len(), 1);
    assert_eq!(reader.skipped(), 3);
    // A file that was begun anew is read anew.
    fs::write(&path, &line).unwrap();
    assert_eq!(reader.poll().unwrap().len(), 1);
}

#[test]
fn a_long_file_is_read_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let message = "x".repeat(1 << 16);
    let mut writer = Writer::open(&path).unwrap();
    for _ in 0..200 {
        writer
            .write(EventKind::Warning {
                message: message.clone(),
            })
            .unwrap();
    }
    assert_eq!(Reader::new(&path).poll().unwrap().len(), 200);
}
