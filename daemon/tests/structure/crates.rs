//! Crates lie on the way of the data: each uses only what stands below it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::root;

/// From the top down. Crates of one row do not use each other. Method and fitness plugins are
/// `PLUGINS`.
const ROWS: &[&[&str]] = &[
    &["evopressd"],
    &["evopress-worker", "evopress-registries"],
    &["evopress"],
    &["evopress-export", "evopress-evaluate"],
    &["evopress-levels"],
    &["evopress-model"],
    &["evopress-search", "evopress-tensor"],
    &["evopress-source"],
    &[PLUGINS],
    &["evopress-obs", "evopress-layerwise"],
    &["evopress-plugin-tch"],
    &["evopress-plugin"],
    &["evopress-spec", "evopress-cache"],
    &["evopress-core", "evopress-build"],
];

/// Stands for every crate in `plugins/`.
const PLUGINS: &str = "plugins/*";

/// Crates that may use everything: tests and examples.
const ANYWHERE: &[&str] = &["tests", "examples", "fuzz"];

struct Package {
    /// The crate's folder, relative to the root.
    folder: String,
    /// What it is always built with, our own and others'; not what its tests or features need.
    uses: Vec<String>,
}

fn packages() -> BTreeMap<String, Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata fails");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let packages = packages.map(|package| {
        let manifest = package["manifest_path"].as_str().unwrap();
        let folder = std::path::Path::new(manifest).parent().unwrap();
        let folder = folder.strip_prefix(root()).unwrap();
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let built_with = dependencies.filter(|it| {
            it["kind"].as_str() != Some("dev") && it["optional"] == Value::Bool(false)
        });
        let uses = built_with.map(|it| it["name"].as_str().unwrap().to_owned());
        let package_of = Package {
            folder: folder.to_str().unwrap().to_owned(),
            uses: uses.collect(),
        };
        (package["name"].as_str().unwrap().to_owned(), package_of)
    });
    packages.collect()
}

/// The row of a crate; none for tests and examples.
fn row(name: &str, package: &Package) -> Option<usize> {
    let top = package.folder.split('/').next().unwrap();
    if ANYWHERE.contains(&top) {
        return None;
    }
    let label = if top == "plugins" { PLUGINS } else { name };
    let row = ROWS.iter().position(|row| row.contains(&label));
    Some(row.unwrap_or_else(|| panic!("`{name}` has no row in the table of crates")))
}

#[test]
fn a_crate_uses_only_what_stands_below_it() {
    let packages = packages();
    let mut wrong = Vec::new();
    for (name, package) in &packages {
        let Some(above) = row(name, package) else {
            continue;
        };
        for used in &package.uses {
            let Some(other) = packages.get(used) else {
                continue;
            };
            match row(used, other) {
                Some(below) if below > above => {}
                _ => wrong.push(format!("{name} uses {used}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_row_of_the_table_is_a_crate() {
    let packages = packages();
    let names = ROWS.iter().copied().flatten();
    let gone: Vec<&&str> = names
        .filter(|name| **name != PLUGINS && !packages.contains_key(**name))
        .collect();
    assert!(gone.is_empty(), "{gone:?}");
}

/// All that a crate is built with, however deep, as far as it is ours; and others' crates that ours
/// name.
fn all_uses(name: &str, packages: &BTreeMap<String, Package>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![name.to_owned()];
    while let Some(next) = open.pop() {
        let Some(package) = packages.get(&next) else {
            continue;
        };
        for used in &package.uses {
            if found.insert(used.clone()) {
                open.push(used.clone());
            }
        }
    }
    found
}

#[test]
fn libtorch_stays_where_numbers_are_computed() {
    let packages = packages();
    for name in [
        "evopressd",
        "evopress-registries",
        "evopress-search",
        "evopress-source",
    ] {
        let uses = all_uses(name, &packages);
        for libtorch in ["tch", "torch-sys"] {
            assert!(!uses.contains(libtorch), "{name} is built with {libtorch}");
        }
    }
    let of_search = all_uses("evopress-search", &packages);
    for files in ["safetensors", "memmap2", "tokenizers", "tempfile"] {
        assert!(
            !of_search.contains(files),
            "the search is built with {files}"
        );
    }
}
