//! Finds what a path of a spec means: in the spec's folder first, then in each data root.

use std::io;
use std::path::{Path, PathBuf, absolute};

use crate::roots::Roots;
use crate::words::{clip, nearest};

/// What a path must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A Hugging Face folder or a `.gguf` file.
    Model,
    /// A text file.
    Text,
    /// A folder that may not be there yet.
    NewFolder,
}

/// The absolute path, or a sentence that says what is wrong with it.
pub(super) fn find(typed: &str, wanted: Wanted, roots: &Roots) -> Result<PathBuf, String> {
    if typed.contains("://") {
        return Err(format!(
            "found the address `{}`, expected the path of a file or folder on this machine",
            clip(typed)
        ));
    }
    let places = places(typed, roots);
    for path in &places {
        match path.metadata() {
            Ok(metadata) => return fits(path, &metadata, wanted).map(|()| path.clone()),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        }
    }
    match (wanted, places.first()) {
        (Wanted::NewFolder, Some(path)) => Ok(path.clone()),
        _ => Err(not_found(typed, &places)),
    }
}

fn places(typed: &str, roots: &Roots) -> Vec<PathBuf> {
    let dirs = std::iter::once(&roots.spec_dir).chain(&roots.data_roots);
    // Joining an absolute path gives that path itself.
    let mut places: Vec<PathBuf> = Vec::new();
    for path in dirs.filter_map(|dir| absolute(dir.join(typed)).ok()) {
        if !places.contains(&path) {
            places.push(path);
        }
    }
    places
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn fits(path: &Path, metadata: &std::fs::Metadata, wanted: Wanted) -> Result<(), String> {
    let shown = path.display();
    let is_gguf = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    match wanted {
        Wanted::Model if metadata.is_dir() && !path.join("config.json").is_file() => Err(format!(
            "{shown} is a folder without config.json, expected a Hugging Face folder or a .gguf file"
        )),
        Wanted::Model if !metadata.is_dir() && !is_gguf => Err(format!(
            "{shown} is a file that does not end in .gguf, expected a Hugging Face folder or a .gguf file"
        )),
        Wanted::Text if metadata.is_dir() => {
            Err(format!("{shown} is a folder, expected a text file"))
        }
        Wanted::Text if metadata.is_file() && metadata.len() == 0 => {
            Err(format!("{shown} is empty, expected a text file"))
        }
        Wanted::NewFolder if !metadata.is_dir() => {
            Err(format!("{shown} is a file, expected a folder"))
        }
        _ => Ok(()),
    }
}

fn not_found(typed: &str, places: &[PathBuf]) -> String {
    let shown: Vec<String> = places
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let hint = places.iter().find_map(|path| near_file(path, typed));
    let hint = hint
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default();
    format!(
        "`{}` is not there: looked for {}{hint}",
        clip(typed),
        shown.join(" and ")
    )
}

/// The path as typed, with the name of a file that is there and has a similar one.
fn near_file(path: &Path, typed: &str) -> Option<String> {
    const MAX_ENTRIES: usize = 10_000;
    let entries = path.parent()?.read_dir().ok()?.take(MAX_ENTRIES);
    let names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let name = path.file_name()?.to_str()?;
    let near = nearest(name, names.iter().map(String::as_str))?;
    let folder = typed
        .rsplit_once('/')
        .map(|(folder, _)| format!("{folder}/"))
        .unwrap_or_default();
    Some(clip(&format!("{folder}{near}")))
}
