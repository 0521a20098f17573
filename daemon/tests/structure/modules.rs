//! Modules of a crate form no circles. A parent and its children may use each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::{read, rust_files};

type ModulePath = Vec<String>;

/// By crate: the module of each file below its `src` folder.
fn crates() -> BTreeMap<PathBuf, BTreeMap<ModulePath, PathBuf>> {
    let mut crates: BTreeMap<PathBuf, BTreeMap<ModulePath, PathBuf>> = BTreeMap::new();
    for file in rust_files() {
        let parts: Vec<&str> = file.iter().map(|part| part.to_str().unwrap()).collect();
        let Some(at) = parts.iter().position(|part| *part == "src") else {
            continue;
        };
        let mut module: ModulePath = parts[at + 1..].iter().map(|&it| it.to_owned()).collect();
        let last = module.pop().unwrap();
        match last.trim_end_matches(".rs") {
            "lib" | "main" | "mod" => {}
            name => module.push(name.to_owned()),
        }
        let folder: PathBuf = parts[..=at].iter().collect();
        crates.entry(folder).or_default().insert(module, file);
    }
    crates
}

/// The paths in a file that begin with `crate::` or `super::`, absolute. Braces give a path for
/// each of what they hold.
fn named_paths(text: &str, module: &ModulePath) -> Vec<ModulePath> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let line = text[..at].rfind('\n').map_or(0, |it| it + 1);
            if text[line..at].contains("//") {
                continue;
            }
            expand(&text[at..], &ModulePath::new(), &mut |path: ModulePath| {
                found.extend(absolute(&path, module));
            });
        }
    }
    found
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`; returns how many bytes were read.
fn expand(text: &str, prefix: &ModulePath, found: &mut dyn FnMut(ModulePath)) -> usize {
    let mut path = prefix.clone();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if let Some(inner) = rest.strip_prefix('{') {
            let mut read = at + 1;
            let mut left = inner;
            loop {
                let trimmed = left.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
                read += left.len() - trimmed.len();
                if trimmed.is_empty() || trimmed.starts_with('}') {
                    return read + 1;
                }
                let length = expand(trimmed, &path, found).max(1);
                read += length;
                left = &trimmed[length.min(trimmed.len())..];
            }
        }
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        if end == 0 {
            return at;
        }
        path.push(rest[..end].to_owned());
        at += end;
        if !text[at..].starts_with("::") {
            found(path);
            // `as` and a new name.
            let to_next = text[at..].find([',', '}', ';', '\n']).unwrap_or(0);
            return match text[at..].trim_start().starts_with("as ") {
                true => at + to_next,
                false => at,
            };
        }
        at += 2;
    }
}

fn absolute(path: &ModulePath, module: &ModulePath) -> Option<ModulePath> {
    let supers = path.iter().take_while(|it| *it == "super").count();
    let base = match supers {
        0 => return (path[0] == "crate").then(|| path[1..].to_vec()),
        _ => module.get(..module.len().checked_sub(supers)?)?,
    };
    Some([base, &path[supers..]].concat())
}

/// The deepest module that a path begins with.
fn owner(path: &[String], modules: &BTreeMap<ModulePath, PathBuf>) -> ModulePath {
    let prefixes = (0..=path.len()).rev().map(|length| path[..length].to_vec());
    let mut known = prefixes.filter(|prefix| modules.contains_key(prefix));
    known.next().unwrap_or_default()
}

fn is_relative(a: &ModulePath, b: &ModulePath) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

#[test]
fn modules_form_no_circles() {
    let mut circles = Vec::new();
    for (folder, modules) in crates() {
        let mut uses: BTreeMap<ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
        for (module, file) in &modules {
            let text = read(file);
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let is_test = module.last().is_some_and(|it| it == "tests") || is_below_tests(module);
            if is_test {
                continue;
            }
            let named = named_paths(text, module);
            let owners = named.iter().map(|path| owner(path, &modules));
            let others = owners.filter(|other| !is_relative(module, other));
            uses.insert(module.clone(), others.collect());
        }
        circles.extend(in_circles(&folder, &uses));
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

fn is_below_tests(module: &ModulePath) -> bool {
    module.iter().any(|part| part == "tests")
}

/// Modules that reach themselves.
fn in_circles(folder: &Path, uses: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> Vec<String> {
    let mut found = Vec::new();
    for start in uses.keys() {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&ModulePath> = uses[start].iter().collect();
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(uses.get(next).into_iter().flatten());
            }
        }
        if seen.contains(start) {
            found.push(format!("{}: {}", folder.display(), start.join("::")));
        }
    }
    found
}

#[test]
fn paths_in_braces_are_followed() {
    let text = "use crate::a::{b, c::{d as e, f}};\nuse super::g;";
    let found = named_paths(text, &vec!["x".into(), "y".into()]);
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a::b", "a::c::d", "a::c::f", "x::g"]);
}
