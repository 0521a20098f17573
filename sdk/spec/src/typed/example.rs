//! A spec that shows what one looks like.

use serde_json::{Value, json};

/// A whole spec, which the schema shows as its example.
pub(super) fn example() -> Value {
    json!({
        "apiVersion": "evopress/v1",
        "kind": "Pipeline",
        "metadata": {"name": "smollm2-depth"},
        "model": {"source": "models/SmolLM2-135M-Instruct.gguf"},
        "calibration": {"source": "text/calibration.txt"},
        "methods": [{"plugin": "drop", "options": {"granularity": "sub-block"}}],
        "target": {"drop": 0.25},
        "evaluation": [{"source": "text/evaluation.txt", "gate": {"max_perplexity_ratio": 3.0}}],
        "publish": [{"registry": "folder", "path": "registry"}]
    })
}
