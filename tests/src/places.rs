//! Where things lie.

use std::path::{Path, PathBuf};

/// The root of this repository.
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the package lies in the repository").to_owned()
}

/// A file or folder of `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path
}

/// The folder with the demo's model, which `make test` fetches.
pub fn data_root() -> PathBuf {
    let folder = variable("EVOPRESS_DATA").unwrap_or_else(|| {
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        cache.unwrap_or_default().join("evopress/data")
    });
    let model = folder.join("models/SmolLM2-135M-Instruct.gguf");
    assert!(
        model.is_file(),
        "{} is missing: run `make test` once, or set EVOPRESS_DATA",
        model.display()
    );
    folder
}

pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}
