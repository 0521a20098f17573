//! A whole fitness plugin, to copy: `regret`.
//!
//! It asks how much *more* surprised than the dense model the compressed one is by each next token
//! of the text, and forgives a surprise that the dense model shares:
//!
//! ```text
//! loss = max(0, CE_student − CE_dense − tolerance)
//! CE = −log softmax(W h)_next = logsumexp(W h) − ⟨h, W_next⟩
//! ```
//!
//! Unlike `perplexity` it gives no credit for tokens that the compressed model happens to guess
//! better. A spec uses it like this:
//!
//! ```yaml
//! search:
//!   fitness: {plugin: regret, options: {tolerance: 0.1}}
//! ```

use evopress_plugin::{
    Chunk, Fitness, HeadOps, Info, PluginError, Target, TargetView, export_plugin,
};
use serde::Deserialize;

// Makes the library a plugin. A method says `method:` in place of `fitness:`.
export_plugin! { fitness: create, info: info }

fn info() -> Info {
    Info {
        // What specs call it; lower-case letters, digits and hyphens.
        name: "regret".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description:
            "How much more surprised than the dense model the compressed one is, in nats a token."
                .to_owned(),
        // evopressd checks the options of a spec against this before it calls `create`, and reports
        // all mistakes at once.
        options_schema: r#"{
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "tolerance": {
                    "description": "Surprise beyond the dense model's that costs nothing, in nats.",
                    "type": "number",
                    "minimum": 0,
                    "default": 0
                }
            }
        }"#
        .to_owned(),
    }
}

/// The fitness is its options: it keeps nothing between calls.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Regret {
    tolerance: f32,
}

/// Options come as JSON text. An error's message ends up before the user, so it is a sentence that
/// helps.
fn create(options: &str) -> Result<Regret, PluginError> {
    serde_json::from_str(options).map_err(|error| PluginError::new(error.to_string()))
}

impl Fitness for Regret {
    /// Called once for every chunk of calibration text, with the dense model's final hidden states.
    /// What it returns is kept for the whole search: here one number a token.
    fn target(&self, ops: &dyn HeadOps, dense: &Chunk<'_>) -> Result<Target, PluginError> {
        Ok(Target {
            scalars: vec![cross_entropy(ops, dense)?],
            vectors: Vec::new(),
        })
    }

    /// Called for every candidate of the search, with its hidden states and the target of the same
    /// tokens.
    fn loss(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        target: &TargetView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        let surprises = cross_entropy(ops, student)?;
        // Shapes are checked: a mistake in the engine is then a message, not a wrong result.
        let [dense_surprises] = target.scalars.as_slice() else {
            return Err(format!(
                "expected a target of 1 scalar, found {}",
                target.scalars.len()
            )
            .into());
        };
        if dense_surprises.len() != surprises.len() {
            let (expected, found) = (surprises.len(), dense_surprises.len());
            return Err(format!("expected a target for {expected} tokens, found {found}").into());
        }
        let losses = surprises.iter().zip(*dense_surprises);
        Ok(losses
            .map(|(student, dense)| (student - dense - self.tolerance).max(0.0))
            .collect())
    }
}

/// `−log softmax(W h)_next`, and 0 where no token follows. The vocabulary's size never shows up
/// here: the host computes what needs the head, on the device that holds it, so the same plugin
/// serves a CPU and a GPU.
fn cross_entropy(ops: &dyn HeadOps, chunk: &Chunk<'_>) -> Result<Vec<f32>, PluginError> {
    let log_sum_exps = ops.log_sum_exp(&chunk.hidden)?;
    let logits = ops.token_logits(&chunk.hidden, chunk.next_tokens)?;
    let terms = log_sum_exps.iter().zip(&logits).zip(chunk.next_tokens);
    Ok(terms
        .map(|((log_sum_exp, logit), next)| {
            if *next == -1 {
                0.0
            } else {
                log_sum_exp - logit
            }
        })
        .collect())
}
