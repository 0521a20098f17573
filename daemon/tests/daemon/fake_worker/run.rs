//! `run`: events, a checkpoint, an artifact and a report, as the behaviour has it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use evopress_spec::events::Writer;
use evopress_spec::{EventKind, RunDir, Stage, Status};
use tokio::signal::unix::{SignalKind, signal};

use crate::behaviour::Behaviour;
use crate::report::report;
use crate::{die_of_segmentation_fault, write};

const GENERATIONS: u32 = 5;
const FAILED: u8 = 1;
const GATE_FAILED: u8 = 3;
const INTERRUPTED: u8 = 75;

/// One attempt at the run in `run_dir`.
pub(crate) async fn run(run_dir: &Path, attempt: u32) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(3).collect();
    write(&run_dir.join("arguments.txt"), &arguments.join(" "));
    let dir = RunDir::new(run_dir);
    let lock = File::create(dir.lock()).unwrap();
    if let Err(TryLockError::WouldBlock) = lock.try_lock() {
        eprintln!("another worker holds the run");
        return ExitCode::from(FAILED);
    }
    let mut events = Writer::open(&dir.events()).unwrap();
    let checkpoint = run_dir.join("checkpoint.txt");
    let done_before = std::fs::read_to_string(&checkpoint)
        .map_or(0, |generation| generation.trim().parse().unwrap());
    eprintln!("attempt {attempt} after generation {done_before}");
    note_start(run_dir, attempt, done_before);
    for kind in beginning(attempt) {
        events.write(kind).unwrap();
    }
    let behaviour = Behaviour::of_plan(&dir.plan());
    let mut attempt = Attempt {
        dir,
        events,
        checkpoint,
    };
    match attempt.search(behaviour, done_before).await {
        Ok(()) => attempt.finish(behaviour),
        Err(code) => ExitCode::from(code),
    }
}

/// Appends `ATTEMPT LAST_GENERATION` for the test to read.
fn note_start(run_dir: &Path, attempt: u32, done_before: u32) {
    let path = run_dir.join("starts.txt");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    write(&path, &format!("{before}{attempt} {done_before}\n"));
}

fn beginning(attempt: u32) -> [EventKind; 4] {
    [
        EventKind::Started {
            attempt,
            device: "cpu".to_owned(),
            dtype: "bf16".to_owned(),
            threads: 1,
            resumed_generation: None,
        },
        EventKind::StageStarted { stage: Stage::Load },
        EventKind::StageFinished {
            stage: Stage::Load,
            seconds: 0.25,
            reused: false,
        },
        EventKind::StageStarted {
            stage: Stage::Search,
        },
    ]
}

struct Attempt {
    dir: RunDir,
    events: Writer,
    checkpoint: PathBuf,
}

impl Attempt {
    /// Goes through the generations, or ends with an exit code before the last.
    async fn search(&mut self, behaviour: Behaviour, done_before: u32) -> Result<(), u8> {
        let is_first = done_before == 0;
        match behaviour {
            Behaviour::Refuse => self.fail("the model is truncated"),
            Behaviour::FullDisk => {
                self.generations(1, 1);
                self.fail("cannot write /cache/levels/ab/layer-3: the disk is full; make room")
            }
            Behaviour::Silent => Err(FAILED),
            Behaviour::Code => Err(134),
            Behaviour::Segv => die_of_segmentation_fault(),
            Behaviour::SegvOnce if is_first => {
                self.generations(1, 2);
                die_of_segmentation_fault();
            }
            Behaviour::SegvOnce => {
                self.generations(done_before + 1, GENERATIONS);
                Ok(())
            }
            Behaviour::Slow | Behaviour::Deaf => {
                let mut stop = signal(SignalKind::terminate()).unwrap();
                if is_first || behaviour == Behaviour::Deaf {
                    self.generations(1, 1);
                }
                let is_deaf = behaviour == Behaviour::Deaf;
                while !self.dir.path().join("go").exists() {
                    tokio::select! {
                        _ = stop.recv(), if !is_deaf => return Err(self.interrupted()),
                        () = tokio::time::sleep(Duration::from_millis(20)) => {}
                    }
                }
                self.generations(2, GENERATIONS);
                Ok(())
            }
            _ => {
                self.generations(1, GENERATIONS);
                Ok(())
            }
        }
    }

    fn generations(&mut self, first: u32, last: u32) {
        for generation in first..=last {
            self.event(EventKind::Generation {
                generation,
                generations: GENERATIONS,
                best_fitness: f64::from(60 - generation) / 100.0,
                accepted: true,
                forward_tokens: u64::from(generation) * 1000,
                search_seconds: f64::from(generation) + 0.5,
                held_out: Some(0.75),
            });
            write(&self.checkpoint, &generation.to_string());
        }
    }

    fn fail(&mut self, reason: &str) -> Result<(), u8> {
        let reason = reason.to_owned();
        self.event(EventKind::Failed { reason });
        Err(FAILED)
    }

    fn interrupted(&mut self) -> u8 {
        let generation = Some(1);
        self.event(EventKind::Interrupted { generation });
        INTERRUPTED
    }

    /// Writes the artifact and the report.
    fn finish(&mut self, behaviour: Behaviour) -> ExitCode {
        let (status, code) = match behaviour {
            Behaviour::Gate => (Status::GateFailed, ExitCode::from(GATE_FAILED)),
            _ => (Status::Done, ExitCode::SUCCESS),
        };
        self.event(EventKind::StageFinished {
            stage: Stage::Search,
            seconds: 5.5,
            reused: false,
        });
        let model = self.dir.model();
        std::fs::create_dir_all(model.join("onnx")).unwrap();
        write(&model.join("config.json"), "{\"num_hidden_layers\": 22}\n");
        write(&model.join("onnx/extra.txt"), "nested\n");
        let weights = File::create(model.join("model.safetensors")).unwrap();
        let size_bytes = match behaviour {
            Behaviour::Big => 300 << 20,
            _ => 3_000_000,
        };
        weights.set_len(size_bytes).unwrap();
        write(
            &self.dir.report_html(),
            "<!doctype html><title>report</title>\n",
        );
        let report = serde_json::to_vec(&report(&self.dir, status)).unwrap();
        evopress_core::atomic_write(&self.dir.report_json(), &report).unwrap();
        self.event(EventKind::Finished { status });
        code
    }

    fn event(&mut self, kind: EventKind) {
        self.events.write(kind).unwrap();
    }
}
