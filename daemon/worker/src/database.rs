//! Level databases of a run: found in the cache, or built there, and held while the run uses them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use evopress::EngineError;
use evopress::baselines::Scores;
use evopress::corpus::Corpus;
use evopress::evaluator::Engine;
use evopress::genotype::{LayerVariants, WeightId};
use evopress::levels::{Build, Database};
use evopress::model::Model;
use evopress_cache::{Cache, Entry, Guard, Manifest};
use evopress_plugin::{PluginKind, Statistics};
use evopress_spec::{DatabaseResult, Stage, digest_bytes, digest_path};
use serde_json::{Value, json};

use crate::process;
use crate::run::Run;

/// Version of what is built: a change of the files or of the arithmetic makes other keys.
const VERSION: u32 = 1;
const KIND: &str = "levels";
/// Between two looks at whether another process has finished the same database.
const POLL: Duration = Duration::from_millis(500);

/// The databases of all methods, in their order; those of methods that compress nothing are empty.
#[derive(Default)]
pub(crate) struct Databases {
    pub(crate) open: Vec<Arc<Database>>,
    /// Of the methods that compress weights.
    pub(crate) results: Vec<DatabaseResult>,
    _held: Vec<Guard>,
}

impl Databases {
    /// Finds or builds what the run's methods need.
    pub(crate) fn prepare(run: &Run) -> Result<Self> {
        let mut databases = Self::default();
        for method_idx in 0..run.methods.len() {
            let layers = run.space.variants(method_idx);
            if layers.is_empty() {
                let empty = Database::open(run.dir.path(), run.space.outline(), &[])?;
                databases.open.push(Arc::new(empty));
                continue;
            }
            databases.add(run, method_idx, &layers)?;
        }
        Ok(databases)
    }

    fn add(&mut self, run: &Run, method_idx: usize, layers: &[LayerVariants]) -> Result<()> {
        let method = &run.methods[method_idx].name;
        let inputs = inputs(run, method_idx, layers)?;
        let key = digest_bytes(&serde_json::to_vec(&inputs)?);
        let entry = Cache::open(&run.cache)?.entry(KIND, &key)?;
        let (held, manifest, reused) = ready(run, method_idx, layers, &entry, &inputs)?;
        entry.touch()?;
        let database = Database::open(entry.path(), run.space.outline(), layers)?;
        self.open.push(Arc::new(database));
        self._held.push(held);
        self.results.push(DatabaseResult {
            method: method.clone(),
            key,
            bytes: manifest.files.values().map(|file| file.bytes).sum(),
            build_seconds: manifest.details["build_seconds"].as_f64().unwrap_or(0.0),
            reused,
            tokens: manifest.details["tokens"].as_u64().unwrap_or(0),
        });
        Ok(())
    }
}

impl Databases {
    /// What the databases know of single layers, for the baselines that go by it.
    pub(crate) fn with_scores<T>(&self, run: &Run, use_scores: impl FnOnce(&Scores<'_>) -> T) -> T {
        let weight_error = |id: WeightId| self.open[usize::from(id.method_idx)].relative_error(id);
        let num_layers = run.space.outline().layers.len() as u32;
        let outlier_ratios: Option<Vec<f64>> = (0..num_layers)
            .map(|layer_idx| {
                let mut databases = self.open.iter();
                databases.find_map(|database| database.outlier_ratio(layer_idx))
            })
            .collect();
        let scores = Scores {
            weight_error: (!self.results.is_empty()).then_some(&weight_error),
            outlier_ratios: outlier_ratios.as_deref(),
        };
        use_scores(&scores)
    }
}

/// All that shapes a database.
fn inputs(run: &Run, method_idx: usize, layers: &[LayerVariants]) -> Result<Value> {
    let used = &run.plan.methods[method_idx];
    let text = &run.plan.database;
    let needs_text = run.methods[method_idx].method.statistics() != Statistics::None;
    let digest =
        |path: &std::path::PathBuf| digest_path(path).with_context(|| path.display().to_string());
    let model: Vec<String> = run
        .source
        .digest_files()
        .iter()
        .map(digest)
        .collect::<Result<_>>()?;
    Ok(json!({
        "version": VERSION,
        "model": model,
        "dtype": run.plan.model.dtype.to_string(),
        "text": match needs_text {
            true => json!({
                "sha256": digest(&text.source)?,
                "tokens": text.tokens,
                "sequence_length": text.sequence_length,
                "first_token_share": text.first_token_share,
            }),
            false => Value::Null,
        },
        "plugin": used.plugin,
        "plugin_sha256": run.plugins.find(&used.plugin, PluginKind::Method)?.sha256,
        "options": used.options,
        // A method may choose its levels around the target.
        "levels": digest_bytes(format!("{layers:?}").as_bytes()),
    }))
}

/// The entry, complete, verified and held beside others; built first where it is not.
fn ready(
    run: &Run,
    method_idx: usize,
    layers: &[LayerVariants],
    entry: &Entry,
    inputs: &Value,
) -> Result<(Guard, Manifest, bool)> {
    let mut reused = true;
    loop {
        let held = wait(run, || entry.try_lock_shared())?;
        if let Some(manifest) = complete(run, entry) {
            return Ok((held, manifest, reused));
        }
        drop(held);
        let _alone = wait(run, || entry.try_lock_exclusive())?;
        // Another process may have built it meanwhile.
        if complete(run, entry).is_none() {
            build(run, method_idx, layers, entry, inputs)?;
            reused = false;
        }
    }
}

/// Takes a lock as soon as it is free, unless the run is asked to stop.
fn wait(
    run: &Run,
    take: impl Fn() -> Result<Option<Guard>, evopress_cache::CacheError>,
) -> Result<Guard> {
    let mut has_said = false;
    loop {
        if let Some(guard) = take()? {
            return Ok(guard);
        }
        if !has_said {
            tracing::info!("another run is building the same level database: waiting for it");
            has_said = true;
        }
        if run.stop.load(Ordering::Relaxed) {
            return Err(EngineError::Interrupted.into());
        }
        std::thread::sleep(POLL);
    }
}

/// The manifest of an entry that has everything, intact.
fn complete(run: &Run, entry: &Entry) -> Option<Manifest> {
    let manifest = entry.load_manifest().manifest?;
    if !manifest.is_complete {
        return None;
    }
    let damages = entry.verify();
    for damage in &damages {
        run.recorder.warn(format!(
            "{}: {}; this layer of the level database is built again",
            entry.path().join(&damage.file).display(),
            damage.reason
        ));
    }
    damages.is_empty().then_some(manifest)
}

/// Builds what is missing of an entry that is held alone.
fn build(
    run: &Run,
    method_idx: usize,
    layers: &[LayerVariants],
    entry: &Entry,
    inputs: &Value,
) -> Result<()> {
    let began = Instant::now();
    let method = &run.methods[method_idx];
    let text = &run.plan.database;
    let title = format!("{} on {}", method.name, model_name(run));
    let loaded = entry.load_manifest();
    let mut manifest = loaded
        .manifest
        .unwrap_or_else(|| Manifest::new(KIND, entry.key(), &title, inputs.clone()));
    let before = manifest.details["build_seconds"].as_f64().unwrap_or(0.0);
    manifest.is_complete = false;
    let wanted = method.method.statistics();
    let length = text.sequence_length as usize;
    let corpus = if wanted == Statistics::None {
        Corpus::from_tokens(Vec::new(), length)
    } else {
        let tokenizer = run.source.tokenizer()?;
        Corpus::spread(&text.source, &tokenizer, text.tokens as usize, length)?
    };
    let tokens = (corpus.num_sequences() * length) as u64;
    let widest = layers
        .iter()
        .map(|layer| run.space.outline().layers[layer.layer_idx as usize].in_features);
    let widest = widest.max().unwrap_or(0);
    if wanted == Statistics::Hessian && tokens < widest {
        run.recorder.warn(format!(
            "method `{}` sees {tokens} tokens, fewer than the {widest} input features of the widest layer: give `database.tokens` more",
            method.name
        ));
    }
    let model = Model::open(&run.source, run.kind, run.device, Vec::new(), 0)?;
    let engine = Engine::new(model, run.threads, length, Arc::clone(&run.stop))?;
    let build = Build::new(
        &engine,
        &run.source,
        run.space.outline(),
        &method.method,
        layers,
        entry,
        manifest,
    )
    .with_first_token_share(text.first_token_share);
    tracing::info!(method = %method.name, missing = build.num_missing(), "building a level database");
    let limit_bytes = process::available_memory_bytes() / 4;
    let mut manifest = build.run(&corpus, limit_bytes, |done, total| {
        let (done, total) = (done as u64, total as u64);
        run.recorder
            .progress(Stage::Database, done, total, "layers");
    })?;
    let seconds = before + began.elapsed().as_secs_f64();
    manifest.details = json!({"build_seconds": seconds, "tokens": tokens});
    manifest.is_complete = true;
    entry.save_manifest(&manifest)?;
    tracing::info!(method = %method.name, seconds, "the level database is complete");
    Ok(())
}

fn model_name(run: &Run) -> String {
    let path = run.source.path();
    let name = path.file_stem().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
