//! Plugins, their options, and the device.

use evopress_plugin::PluginKind;
use evopress_plugin::host::PluginDir;
use evopress_spec::{Plan, PluginUse};

use super::placed::{Placed, Unsure};

/// Everything that is wrong with the plugins and the device that a plan names.
pub(super) fn mistakes(plan: &Plan, plugins: &PluginDir, unsure: &Unsure) -> Vec<Placed> {
    let methods = plan.methods.iter().enumerate();
    let methods = methods.map(|(idx, used)| (used, PluginKind::Method, format!("/methods/{idx}")));
    let fitness = (
        &plan.search.fitness,
        PluginKind::Fitness,
        "/search/fitness".to_owned(),
    );
    let named = methods.chain([fitness]);
    // The options of a plugin that is not known yet are nobody's.
    let named = named.filter(|(_, _, pointer)| !unsure.touches(&format!("{pointer}/plugin")));
    let mut mistakes: Vec<Placed> = named
        .flat_map(|(used, kind, pointer)| of_plugin(plugins, used, kind, &pointer))
        .collect();
    let device = evopress::device::resolve(&plan.model.device.to_string());
    mistakes.extend(
        device
            .err()
            .map(|error| Placed::new("/model/device", error.to_string())),
    );
    mistakes
}

fn of_plugin(
    plugins: &PluginDir,
    used: &PluginUse,
    kind: PluginKind,
    pointer: &str,
) -> Vec<Placed> {
    match plugins.check_options(&used.plugin, kind, &used.options) {
        // Methods are made once there is a model for them.
        Ok(mistakes) if mistakes.is_empty() && kind == PluginKind::Fitness => {
            let made = plugins.fitness(&used.plugin, &used.options);
            let refused = made.err().map(|error| error.to_string());
            let placed = refused.map(|it| Placed::new(format!("{pointer}/options"), it));
            placed.into_iter().collect()
        }
        Ok(mistakes) => mistakes
            .into_iter()
            .map(|it| Placed::new(format!("{pointer}/options{}", it.pointer), it.message))
            .collect(),
        Err(error) => vec![Placed::new(format!("{pointer}/plugin"), error.to_string())],
    }
}
