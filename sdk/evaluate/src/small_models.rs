//! Small models and a fitness of their own, for tests inside the crate.

use std::path::Path;
use std::sync::Arc;

use evopress_levels::{Database, rounded};
use evopress_model::{LevelSource, Model};
use evopress_plugin::{
    Chunk, Fitness, HeadOps, OwnedTensor, PluginError, Target, TargetView, TensorView,
};
use evopress_search::fixtures::{Bits, Drops, measure, space_over};
use evopress_search::genotype::SearchSpace;
use evopress_source::{Corpus, Source, fixtures};
use tch::Kind;

/// Tokens of a sequence.
pub(crate) const LENGTH: usize = 24;

/// The cross-entropy of the next token.
pub(crate) struct CrossEntropy {
    pub(crate) has_gradient: bool,
}

impl Fitness for CrossEntropy {
    fn target(&self, _: &dyn HeadOps, _: &Chunk<'_>) -> Result<Target, PluginError> {
        Ok(Target::default())
    }

    fn loss(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        _: &TargetView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        let sums = ops.log_sum_exp(&student.hidden)?;
        let logits = ops.token_logits(&student.hidden, student.next_tokens)?;
        Ok(sums
            .iter()
            .zip(logits)
            .map(|(sum, logit)| sum - logit)
            .collect())
    }

    fn gradient(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        _: &TargetView<'_>,
        own_gradient: &TensorView<'_>,
    ) -> Result<Option<OwnedTensor>, PluginError> {
        if !self.has_gradient {
            return Ok(None);
        }
        let rows = ops.token_gradients(&student.hidden, student.next_tokens)?;
        ops.difference(own_gradient, &rows.view()).map(Some)
    }

    fn needs_target(&self) -> bool {
        false
    }
}

/// A fixture in f32.
pub(crate) fn open(name: &str) -> Model {
    model(&source(name), vec![], Kind::Float, u64::MAX)
}

/// A fixture in f32 with every layer at 3 and 5 bits, in a database in `folder`, and the search for
/// 4.
pub(crate) fn open_with_levels(name: &str, folder: &Path) -> (Model, SearchSpace) {
    open_within(name, folder, Kind::Float, u64::MAX, |database| {
        Arc::new(database)
    })
}

/// As [`open_with_levels`], in `kind` and with at most `limit_bytes` of weights in memory; levels
/// are decoded by what `levels` makes of the database.
pub(crate) fn open_within(
    name: &str,
    folder: &Path,
    kind: Kind,
    limit_bytes: u64,
    levels: impl FnOnce(Database) -> Arc<dyn LevelSource>,
) -> (Model, SearchSpace) {
    let source = source(name);
    let outline = source.spec().outline(4);
    let target = measure("bits_per_weight", 4.0);
    let space = space_over(&outline, &[("bits", &Bits(&[3, 5]))], &target, None).unwrap();
    let database = rounded::database(folder, &source, &outline, space.variants(0));
    let levels = vec![levels(database)];
    (model(&source, levels, kind, limit_bytes), space)
}

/// A small model of each family, and ones that use what a family has in another way.
pub(crate) const FAMILIES: [&str; 15] = [
    "biased",
    "gqa-tied",
    "llama3",
    "gemma2",
    "gemma3",
    "granite",
    "mistral",
    "olmo3",
    "phi3-partial",
    "qwen2",
    "qwen3",
    "smollm3",
    "qwen2-moe",
    "granitemoe",
    "olmoe",
];

fn source(name: &str) -> Arc<Source> {
    let folders = ["models", "families", "experts"];
    let folders = folders.map(|folder| fixtures::folder().join(folder).join(name));
    let folder = folders.iter().find(|folder| folder.is_dir()).unwrap();
    Arc::new(Source::open(folder).unwrap())
}

fn model(
    source: &Arc<Source>,
    levels: Vec<Arc<dyn LevelSource>>,
    kind: Kind,
    limit_bytes: u64,
) -> Model {
    let device = evopress_tensor::device::of_tests();
    let mut model = Model::open(source, kind, device, levels, limit_bytes).unwrap();
    model.prepare_length(LENGTH).unwrap();
    model
}

/// Tokens without a meaning.
pub(crate) fn corpus(vocab_size: i64, num_sequences: usize) -> Arc<Corpus> {
    let tokens = (0..(LENGTH * num_sequences) as i64).map(|i| (i * 7919 + i * i) % vocab_size);
    Arc::new(Corpus::from_tokens(tokens.collect(), LENGTH))
}

/// Half of the sub-blocks may go.
pub(crate) fn drops(model: &Model) -> SearchSpace {
    let outline = model.spec().outline(4);
    space_over(&outline, &[("drop", &Drops)], &measure("drop", 0.5), None).unwrap()
}
