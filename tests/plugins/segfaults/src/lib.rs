//! A fitness for tests: like `perplexity` for two calls of `loss`, and a segmentation fault at the
//! third.

use std::sync::atomic::{AtomicU32, Ordering};

use evopress_plugin::{
    Chunk, Fitness, HeadOps, Info, PluginError, Target, TargetView, export_plugin,
};

export_plugin! { fitness: |_options: &str| Ok(Segfaults { num_calls: AtomicU32::new(0) }), info: info }

fn info() -> Info {
    Info {
        name: "segfaults".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "Reads from address 8 at the third loss.".to_owned(),
        options_schema: r#"{"type": "object", "additionalProperties": false}"#.to_owned(),
    }
}

struct Segfaults {
    num_calls: AtomicU32,
}

impl Fitness for Segfaults {
    fn target(&self, _: &dyn HeadOps, _: &Chunk<'_>) -> Result<Target, PluginError> {
        Ok(Target::default())
    }

    fn loss(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        _: &TargetView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        let mut losses = ops.log_sum_exp(&student.hidden)?;
        let logits = ops.token_logits(&student.hidden, student.next_tokens)?;
        losses
            .iter_mut()
            .zip(logits)
            .for_each(|(loss, logit)| *loss -= logit);
        if self.num_calls.fetch_add(1, Ordering::Relaxed) == 2 {
            // SAFETY: none, and on purpose: address 8 is never mapped, so this ends the process.
            losses[0] += unsafe { std::ptr::read_volatile(std::ptr::without_provenance::<f32>(8)) };
        }
        Ok(losses)
    }

    fn needs_target(&self) -> bool {
        false
    }
}
