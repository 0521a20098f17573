//! The pages, and where they lie.

use std::path::{Path, PathBuf};

use crate::markdown::Page;

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.unwrap().to_owned()
}

/// Every page that people read, in the order of their paths.
pub(crate) fn pages() -> Vec<Page> {
    let root = repository();
    let mut paths = vec![
        root.join("README.md"),
        root.join("CONTRIBUTING.md"),
        root.join("pipelines/text/README.md"),
    ];
    find(&root.join("docs"), &mut paths);
    find(&root.join("plugins"), &mut paths);
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// One page, by its path in the repository.
pub(crate) fn page(path: &str) -> Page {
    read(&repository().join(path))
}

fn read(path: &Path) -> Page {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Page::new(path.strip_prefix(repository()).unwrap(), &text)
}

fn find(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, paths);
        } else if path.extension().is_some_and(|it| it == "md") {
            paths.push(path);
        }
    }
}
