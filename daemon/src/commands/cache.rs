//! `evopressd cache`: lists, verifies and prunes the cache of level databases and models.
//!
//! The locks of the entries keep these commands and running workers out of each other's way.

use std::time::{Duration, SystemTime};

use evopress_cache::{Cache, Damage, Listed, Removed, State};
use evopress_core::time::moment;
use evopressd::config::{DEFAULT_CACHE_BYTES, ServeFile, default_state};
use evopressd::progress::megabytes;
use serde_json::{Value, json};

use super::{Exit, show, usage};
use crate::cli::{CacheCommand, CacheFlags, PruneFlags};

pub(crate) fn cache(command: CacheCommand) -> anyhow::Result<Exit> {
    match command {
        CacheCommand::List(flags) => list(&flags),
        CacheCommand::Verify(flags) => verify(&flags),
        CacheCommand::Prune(flags) => prune(&flags),
    }
}

/// The cache that the flags name, and its configured limit.
fn open(flags: &CacheFlags) -> anyhow::Result<(Cache, u64)> {
    let file = flags.config.as_deref().map(ServeFile::read).transpose();
    let file = file.map_err(usage)?.unwrap_or_default();
    let state = flags
        .state
        .clone()
        .or(file.state)
        .unwrap_or_else(default_state);
    let state = std::path::absolute(state)?;
    let limit = file.cache.max_size_bytes;
    let limit = limit.map_or(DEFAULT_CACHE_BYTES, |size| size.0);
    Ok((Cache::at(&state.join("cache")), limit))
}

fn list(flags: &CacheFlags) -> anyhow::Result<Exit> {
    let (cache, limit) = open(flags)?;
    let listed = cache.list()?;
    if flags.json {
        show::json(&listed.iter().map(as_json).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    let wide = listed.iter().map(|it| title(it).chars().count()).max();
    for it in &listed {
        text += &format!(
            "{:<width$}  {}  {:>10}  {:>14}  {}\n",
            title(it),
            short(it.entry.key()),
            megabytes(it.size_bytes),
            ago(it.last_used),
            words(it.state),
            width = wide.unwrap_or(0),
        );
        if let Some(warning) = &it.warning {
            eprintln!("{warning}");
        }
    }
    let size_bytes = listed.iter().map(|it| it.size_bytes).sum();
    text += &match listed.len() {
        0 => format!("The cache {} is empty.\n", cache.root().display()),
        count => format!(
            "{} in {}, {} of {}\n",
            counted(count, "entry", "entries"),
            cache.root().display(),
            megabytes(size_bytes),
            megabytes(limit)
        ),
    };
    show::print(&text)?;
    Ok(Exit::Done)
}

fn verify(flags: &CacheFlags) -> anyhow::Result<Exit> {
    let (cache, _) = open(flags)?;
    let mut answers = Vec::new();
    let mut num_damaged = 0;
    for it in cache.list()? {
        // An entry that is being built has no complete manifest yet. One that is verified is held.
        let held = it.entry.try_lock_shared()?;
        let damages = held.as_ref().map(|_| it.entry.verify());
        num_damaged += damages.as_ref().map_or(0, Vec::len);
        if flags.json {
            answers.push(verified_json(&it, damages.as_deref()));
        } else {
            show::print(&verified(&it, damages.as_deref()))?;
        }
    }
    if flags.json {
        show::json(&answers)?;
    } else if num_damaged > 0 {
        show::print(&format!(
            "{} damaged. The next run that uses this makes just these layers, or fetches just these files, anew.\n",
            counted(num_damaged, "file is", "files are")
        ))?;
    }
    Ok(if num_damaged > 0 {
        Exit::Failed
    } else {
        Exit::Done
    })
}

fn prune(flags: &PruneFlags) -> anyhow::Result<Exit> {
    let (cache, configured) = open(&flags.cache)?;
    let limit = match flags.max_size {
        _ if flags.all => 0,
        Some(size) => size.0,
        None => configured,
    };
    let pruned = cache.prune(limit, &|_| false)?;
    for failure in &pruned.failures {
        eprintln!("evopressd: {failure}");
    }
    if flags.cache.json {
        show::json(&json!({
            "removed": pruned.removed,
            "freed_bytes": pruned.freed_bytes(),
            "entries": pruned.num_entries,
            "size_bytes": pruned.size_bytes,
            "failures": pruned.failures,
        }))?;
    } else {
        let mut text: String = pruned.removed.iter().map(gone).collect();
        if pruned.leftover_bytes > 0 {
            let bytes = megabytes(pruned.leftover_bytes);
            text += &format!("removed what interrupted builds had left: {bytes}\n");
        }
        let left = counted(pruned.num_entries, "entry is", "entries are");
        text += &format!("{left} left, {}", megabytes(pruned.size_bytes));
        text += if pruned.size_bytes > limit {
            ": in use now\n"
        } else {
            "\n"
        };
        show::print(&text)?;
    }
    Ok(if pruned.failures.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn gone(entry: &Removed) -> String {
    let title = if entry.title.is_empty() {
        &entry.kind
    } else {
        &entry.title
    };
    format!(
        "removed {title}  {}  {}\n",
        short(&entry.key),
        megabytes(entry.bytes)
    )
}

fn verified(it: &Listed, damages: Option<&[Damage]>) -> String {
    let name = format!("{}  {}", title(it), short(it.entry.key()));
    match damages {
        None => format!("{name}: being built, so not verified\n"),
        Some([]) => format!("{name}: whole, {}\n", megabytes(it.size_bytes)),
        Some(damages) => damages
            .iter()
            .map(|damage| format!("{name}: {}: {}\n", damage.file, damage.reason))
            .collect(),
    }
}

fn verified_json(it: &Listed, damages: Option<&[Damage]>) -> Value {
    let mut answer = as_json(it);
    answer["damaged"] = damages.map_or(Value::Null, |damages| {
        let each = damages.iter();
        each.map(|it| json!({ "file": it.file, "reason": it.reason }))
            .collect()
    });
    answer
}

fn as_json(it: &Listed) -> Value {
    json!({
        "kind": it.entry.kind(),
        "key": it.entry.key(),
        "title": it.manifest.as_ref().map(|manifest| &manifest.title),
        "size_bytes": it.size_bytes,
        "last_used": moment(it.last_used),
        "state": it.state.as_str(),
        "warning": it.warning,
    })
}

fn title(it: &Listed) -> String {
    let titled = it.manifest.as_ref().map(|manifest| &manifest.title);
    let title = titled.filter(|title| !title.is_empty());
    title.map_or_else(
        || format!("{} without a title", it.entry.kind()),
        |title| {
            // Written by a worker, but perhaps from a file name that a user chose.
            title.chars().filter(|c| !c.is_control()).collect()
        },
    )
}

fn words(state: State) -> &'static str {
    match state {
        State::Complete => "complete",
        State::Building => "being built",
        State::Unfinished => "unfinished: the next run that needs it completes it",
    }
}

/// The first 12 characters of a key.
fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `3 min ago`.
fn ago(when: SystemTime) -> String {
    let passed = SystemTime::now()
        .duration_since(when)
        .unwrap_or(Duration::ZERO);
    match passed.as_secs() {
        seconds @ 0..60 => format!("{seconds} s ago"),
        seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
