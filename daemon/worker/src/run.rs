//! One run: stages in order, each of them skipped where an earlier attempt has finished it.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use evopress::baselines::Baseline;
use evopress::evaluator::Engine;
use evopress::genotype::SearchSpace;
use evopress::model::Model;
use evopress::search::Settings;
use evopress::source::Source;
use evopress::{EngineError, device};
use evopress_plugin::host::PluginDir;
use evopress_spec::{EventKind, Plan, RunDir, Stage, Status};

use crate::checkpoint::{self, Checkpoint};
use crate::cli::RunOptions;
use crate::database::Databases;
use crate::find::find;
use crate::loading::Loading;
use crate::manifest::Manifest;
use crate::recorder::Recorder;
use crate::setup::UsedMethod;
use crate::{artifact, card, process, quality, report, report_html, setup};

/// What every stage works with.
pub(crate) struct Run {
    pub(crate) dir: RunDir,
    pub(crate) plan: Plan,
    pub(crate) source: Arc<Source>,
    pub(crate) plugins: PluginDir,
    pub(crate) methods: Vec<UsedMethod>,
    /// The cache's folder.
    pub(crate) cache: PathBuf,
    pub(crate) space: SearchSpace,
    pub(crate) settings: Settings,
    pub(crate) manifest: Manifest,
    pub(crate) kind: tch::Kind,
    pub(crate) device: tch::Device,
    pub(crate) threads: usize,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) recorder: Recorder,
}

/// Runs the plan and turns what became of it into events and an exit code.
pub(crate) fn main(options: &RunOptions) -> ExitCode {
    process::die_with_parent();
    let run_dir = RunDir::new(&options.run_dir);
    let result = lock(&run_dir).and_then(|lock| {
        let recorder = Recorder::open(&run_dir)?;
        Ok((lock, recorder))
    });
    let (_lock, recorder) = match result {
        Ok(both) => both,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    match execute(options, run_dir.clone(), recorder) {
        Ok(Status::GateFailed) => ExitCode::from(3),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let Ok(recorder) = Recorder::open(&run_dir) else {
                return ExitCode::FAILURE;
            };
            if matches!(error.downcast_ref(), Some(EngineError::Interrupted)) {
                tracing::info!("interrupted; the run goes on from its checkpoint");
                recorder.event(EventKind::Interrupted { generation: None });
                return ExitCode::from(75);
            }
            let reason = format!("{error:#}");
            tracing::error!(%reason, "the run failed");
            recorder.event(EventKind::Failed { reason });
            ExitCode::FAILURE
        }
    }
}

fn execute(options: &RunOptions, dir: RunDir, recorder: Recorder) -> Result<Status> {
    let run = Run::prepare(options, dir, recorder)?;
    let checkpoint = Checkpoint::open(run.dir.checkpoint(), run.manifest.identity()?)?;
    let saved: Option<checkpoint::Search> = checkpoint.load("search")?;
    run.recorder.event(EventKind::Started {
        attempt: options.attempt,
        device: format!("{:?}", run.device).to_lowercase(),
        dtype: run.plan.model.dtype.to_string(),
        threads: run.threads as u32,
        resumed_generation: saved.as_ref().map(|search| search.state.generation),
    });
    let databases = run.databases()?;
    let engine = run
        .recorder
        .stage(Stage::Load, false, || run.load(&databases))?;
    let (baselines, found) = find(&run, &engine, &databases, &checkpoint, saved)?;
    run.recorder
        .stage(Stage::Stitch, run.dir.model().exists(), || {
            artifact::write(&run, &databases, &found.state.parent)
        })?;
    let outcome = run.recorder.stage(Stage::Evaluate, false, || {
        quality::evaluate(&run, engine, &databases, &baselines, &found.state.parent)
    })?;
    conclude(&run, databases, &baselines, &found, outcome)
}

impl Run {
    /// Reads everything but weights, and writes the manifest.
    fn prepare(options: &RunOptions, dir: RunDir, recorder: Recorder) -> Result<Self> {
        let stop = process::stop_flag()?;
        let path = dir.plan();
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let plan: Plan =
            serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        let device = device::resolve(&plan.model.device.to_string())?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let default = if device.is_cuda() { 1 } else { cores };
        let threads = options.threads.unwrap_or(default).max(1);
        let model = plan.model.location.path();
        let source = Source::open(model.context("the model of the plan is not fetched yet")?)?;
        let source = Arc::new(source);
        if let Some((_, sentence)) = setup::unwritable(&plan, &source) {
            bail!(sentence);
        }
        let plugins = PluginDir::open(&options.plugins)?;
        let methods = setup::methods(&plan, &plugins)?;
        if let Some(sentence) = methods
            .iter()
            .find_map(|it| setup::wrong_measure(&plan, it))
        {
            bail!(sentence);
        }
        let units = methods.iter().map(|it| setup::units(&plan, it, &source));
        let units: Vec<_> = units.collect::<Result<_>>()?;
        let space = setup::search_space(&plan, &units, &source)?;
        drop(units);
        if let Some((_, sentence)) = setup::misplaced(&plan, &space) {
            bail!(sentence);
        }
        let spec = std::fs::read(dir.spec()).unwrap_or_default();
        let hardware = process::hardware(device, threads);
        let manifest = Manifest::new(dir.id(), &spec, &plan, &source, &plugins, hardware)?;
        evopress_spec::atomic_write(&dir.manifest(), &serde_json::to_vec_pretty(&manifest)?)?;
        Ok(Self {
            settings: setup::search_settings(&plan, &space),
            kind: device::kind(&plan.model.dtype.to_string())?,
            dir,
            plan,
            source,
            plugins,
            methods,
            cache: options.cache(),
            space,
            manifest,
            device,
            threads,
            stop,
            recorder,
        })
    }

    /// The level databases, a stage only where there are any.
    fn databases(&self) -> Result<Databases> {
        let is_needed =
            (0..self.methods.len()).any(|method_idx| !self.space.variants(method_idx).is_empty());
        if !is_needed {
            return Databases::prepare(self);
        }
        self.recorder.stage_that_may_be_reused(Stage::Database, || {
            let databases = Databases::prepare(self)?;
            let reused = databases.results.iter().all(|result| result.reused);
            Ok((databases, reused))
        })
    }

    /// What a model's weights may take of the memory of the device: half of what is free.
    pub(crate) fn weights_limit_bytes(&self) -> u64 {
        device::free_gpu_bytes(self.device).unwrap_or_else(process::available_memory_bytes) / 2
    }

    /// The model on its compute threads: dense weights in memory, levels in the databases.
    fn load(&self, databases: &Databases) -> Result<Engine> {
        let num_blocks = self.source.config().num_blocks as u64;
        let limit_bytes = self.weights_limit_bytes();
        let open = databases.open.clone();
        let model = Model::open(&self.source, self.kind, self.device, open, limit_bytes)?;
        model.preload(|done| {
            self.recorder
                .progress(Stage::Load, done as u64, num_blocks, "blocks");
        })?;
        let longest = self.plan.evaluation.iter().map(|set| set.sequence_length);
        let length = longest
            .chain([self.plan.calibration.sequence_length])
            .max()
            .unwrap_or(1);
        Ok(Engine::new(
            model,
            self.threads,
            length as usize,
            Arc::clone(&self.stop),
        )?)
    }
}

/// Report, page and card; the last event comes when all of them are on disk.
fn conclude(
    run: &Run,
    databases: Databases,
    baselines: &[Baseline],
    found: &checkpoint::Search,
    outcome: quality::Outcome,
) -> Result<Status> {
    for name in &outcome.beaten_by {
        run.recorder.warn(format!(
            "baseline `{name}` has a lower perplexity on held-out text than the searched model: search longer, start from the \
             baselines (`search.initial.baselines: true`) or use more calibration text"
        ));
    }
    if found
        .memory
        .as_ref()
        .is_some_and(|memory| memory.lacks_gradients)
    {
        run.recorder.warn(format!(
            "fitness `{}` has no usable gradient: the search went without predictions and took longer",
            run.plan.search.fitness.plugin
        ));
    }
    let loading = Loading::of(run, &found.state.parent);
    for warning in loading.warnings() {
        run.recorder.warn(warning);
    }
    let mut report = report::build(run, databases.results, baselines, found, outcome)?;
    card::write(run, &report, &loading)?;
    report.artifacts = artifact::describe(run)?;
    evopress_spec::atomic_write(
        &run.dir.report_html(),
        report_html::render(&report).as_bytes(),
    )?;
    evopress_spec::atomic_write(&run.dir.report_json(), &serde_json::to_vec_pretty(&report)?)?;
    run.recorder.event(EventKind::Finished {
        status: report.status,
    });
    tracing::info!(status = %report.status, "finished");
    Ok(report.status)
}

/// Two workers on one run would mix their checkpoints.
fn lock(run_dir: &RunDir) -> Result<File> {
    let path = run_dir.lock();
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    if file.try_lock().is_err() {
        bail!(
            "{}: another worker is on this run",
            run_dir.path().display()
        );
    }
    Ok(file)
}
