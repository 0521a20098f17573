//! `evopressd plugins`: lists the plugins that specs can name.

use evopressd::config::Tools;
use evopressd::worker_process::{Listed, Worker};

use super::{Exit, show, usage};
use crate::cli::PluginsFlags;

pub(crate) async fn plugins(flags: PluginsFlags) -> anyhow::Result<Exit> {
    let tools = Tools::resolve(flags.tools).map_err(usage)?;
    let folder = tools.plugins.clone();
    let worker = Worker::new(tools)?;
    let listed = worker.plugins().await?;
    if flags.json {
        show::json(&listed)?;
    } else if listed.is_empty() {
        eprintln!(
            "There are no plugins (libevopress_*.so) in {}.",
            folder.display()
        );
    } else {
        show::print(&listed.iter().map(line).collect::<String>())?;
    }
    Ok(Exit::Done)
}

fn line(plugin: &Listed) -> String {
    match (&plugin.error, &plugin.name) {
        (Some(error), _) => format!("{}: cannot be used: {error}\n", plugin.file),
        (None, Some(name)) => {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            format!(
                "{name:<14} {:<8} {:<8} {}\n",
                text(&plugin.kind),
                text(&plugin.version),
                text(&plugin.description)
            )
        }
        (None, None) => format!("{}: has no name\n", plugin.file),
    }
}
