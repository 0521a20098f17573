//! A search that is killed, stopped or restarted ends like an undisturbed one.

use std::fs;
use std::time::{Duration, Instant};

use evopress_spec::EventKind;
use evopress_tests::{Daemon, Scratch, Worker, eventually, timeless, tiny};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const GENERATIONS: u32 = 20;
const MAX_KILLS: usize = 5;

/// Half of the sub-blocks, so that there is something to search for.
fn pipeline(name: &str, seed: u64) -> Value {
    let mut spec = tiny(name);
    spec["target"]["drop"] = json!(0.5);
    spec["search"]["generations"] = json!(GENERATIONS);
    spec["search"]["seed"] = json!(seed);
    spec
}

fn undisturbed(scratch: &Scratch, spec: &Value) -> Value {
    let mut worker = Worker::prepare(scratch, "undisturbed", spec);
    worker.start();
    timeless(worker.finish())
}

#[test]
fn a_worker_killed_at_random_moments_ends_like_an_undisturbed_one() {
    let scratch = Scratch::new();
    let spec = pipeline("random-kills", 0);
    let mut worker = Worker::prepare(&scratch, "undisturbed", &spec);
    let began = Instant::now();
    worker.start();
    let expected = timeless(worker.finish());
    let whole = began.elapsed();

    let mut rng = ChaCha8Rng::seed_from_u64(20240610);
    for sample in 0..2 {
        let mut worker = Worker::prepare(&scratch, &format!("killed-{sample}"), &spec);
        let mut kills = 0;
        loop {
            worker.start();
            if kills == MAX_KILLS {
                break;
            }
            let delay = whole.mul_f64(rng.random_range(0.05..0.95));
            if ends_within(&mut worker, delay) {
                break;
            }
            worker.kill();
            kills += 1;
        }
        let report = timeless(worker.finish());
        assert_eq!(report, expected, "sample {sample} after {kills} kills");
    }
}

fn ends_within(worker: &mut Worker<'_>, delay: Duration) -> bool {
    let began = Instant::now();
    while began.elapsed() < delay {
        if worker.ended().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

#[test]
fn a_worker_killed_right_after_a_generation_goes_on_with_the_next() {
    let scratch = Scratch::new();
    let spec = pipeline("kills-after-generations", 1);
    let expected = undisturbed(&scratch, &spec);
    let mut worker = Worker::prepare(&scratch, "killed", &spec);
    for generation in [1, 7, GENERATIONS] {
        worker.start();
        worker.wait_for_generation(generation);
        worker.kill();
    }
    worker.start();
    assert_eq!(timeless(worker.finish()), expected);

    let resumed: Vec<Option<u32>> = worker
        .events()
        .iter()
        .filter_map(|event| match event {
            EventKind::Started {
                resumed_generation, ..
            } => Some(*resumed_generation),
            _ => None,
        })
        .collect();
    assert_eq!(resumed[0], None);
    assert!(
        resumed[1] >= Some(1) && resumed[2] >= Some(7) && resumed[3] == Some(GENERATIONS),
        "{resumed:?}"
    );
    let mut done: Vec<u32> = worker
        .events()
        .iter()
        .filter_map(|event| match event {
            EventKind::Generation { generation, .. } => Some(*generation),
            _ => None,
        })
        .collect();
    done.dedup();
    assert!(
        done.is_sorted(),
        "no generation is done again after a later one: {done:?}"
    );
}

#[test]
fn a_worker_killed_while_it_writes_the_model_card_leaves_nothing_in_the_artifact() {
    let scratch = Scratch::new();
    let spec = pipeline("half-a-card", 6);
    let expected = undisturbed(&scratch, &spec);
    let mut worker = Worker::prepare(&scratch, "killed", &spec);
    worker.start();
    let model = worker.dir().model();
    eventually("the artifact", || model.exists().then_some(()));
    worker.kill();
    fs::write(model.join(".README.md.1-0.tmp"), "---\nlib").unwrap();
    worker.start();
    assert_eq!(timeless(worker.finish()), expected, "with its digest");
    assert!(!model.join(".README.md.1-0.tmp").exists());
}

#[test]
fn a_worker_that_is_asked_to_stop_keeps_its_checkpoint() {
    let scratch = Scratch::new();
    let spec = pipeline("asked-to-stop", 2);
    let expected = undisturbed(&scratch, &spec);
    let mut worker = Worker::prepare(&scratch, "stopped", &spec);
    worker.start();
    worker.wait_for_generation(2);
    assert_eq!(worker.terminate().code(), Some(75));
    assert!(matches!(
        worker.events().last(),
        Some(EventKind::Interrupted { .. })
    ));
    worker.start();
    assert_eq!(timeless(worker.finish()), expected);
}

#[test]
fn the_seed_decides() {
    let scratch = Scratch::new();
    let of_seed = |place: &str, seed: u64| {
        let mut worker = Worker::prepare(&scratch, place, &pipeline("seeds", seed));
        worker.start();
        timeless(worker.finish())
    };
    let first = of_seed("first", 3);
    assert_eq!(first, of_seed("again", 3));
    let other = of_seed("other", 4);
    assert_ne!(
        first["search"]["history"], other["search"]["history"],
        "another seed searches elsewhere"
    );
}

#[test]
fn a_daemon_killed_or_stopped_during_a_search_finishes_it_after_a_restart() {
    let calm = Scratch::new();
    let spec = pipeline("restarted", 5);
    let expected = timeless(calm.report(&spec));

    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec(&spec);
    daemon.wait_for_generation("restarted", 2);
    daemon.kill();

    let daemon = Daemon::start(&scratch);
    daemon.wait_for_generation("restarted", 5);
    let status = daemon.stop();
    assert_eq!(status.code(), Some(0), "SIGTERM drains");

    let daemon = Daemon::start(&scratch);
    let run = daemon.wait_for("restarted", "done");
    assert_eq!(run["attempt"], 1, "an interruption is no failed attempt");
    let report = evopress_tests::read_json(&scratch.run_dir("restarted").report_json());
    assert_eq!(timeless(report), expected);
}
