//! A fitness for tests: it panics where its option `in` says, by default in `loss`.

use evopress_plugin::{
    Chunk, Fitness, HeadOps, Info, PluginError, Target, TargetView, export_plugin,
};

export_plugin! { fitness: create, info: info }

fn info() -> Info {
    Info {
        name: "panics".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "Panics.".to_owned(),
        options_schema: r#"{
            "type": "object",
            "additionalProperties": false,
            "properties": {"in": {"enum": ["create", "needs_target", "target", "loss", "drop"], "default": "loss"}}
        }"#
        .to_owned(),
    }
}

fn create(options: &str) -> Result<Panics, PluginError> {
    // The schema leaves one place at most.
    let places = ["create", "needs_target", "target", "drop"];
    let fitness = Panics {
        place: places
            .into_iter()
            .find(|place| options.contains(place))
            .unwrap_or("loss"),
    };
    fitness.panic_in("create");
    Ok(fitness)
}

struct Panics {
    place: &'static str,
}

impl Panics {
    fn panic_in(&self, place: &str) {
        assert!(self.place != place, "the fixture panics in {place}");
    }
}

impl Fitness for Panics {
    fn target(&self, _: &dyn HeadOps, _: &Chunk<'_>) -> Result<Target, PluginError> {
        self.panic_in("target");
        Ok(Target::default())
    }

    fn loss(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        _: &TargetView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        self.panic_in("loss");
        ops.log_sum_exp(&student.hidden)
    }

    fn needs_target(&self) -> bool {
        self.panic_in("needs_target");
        true
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        self.panic_in("drop");
    }
}
