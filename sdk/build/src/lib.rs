//! What the build scripts of crates that link libtorch share.
//!
//! Such a crate depends on `torch-sys` itself, since cargo tells only direct dependents where
//! libtorch is.

use std::path::PathBuf;

/// The folder with the libraries of libtorch that torch-sys links.
pub fn libtorch_folder() -> Option<PathBuf> {
    std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from)
}

/// Lets the programs, tests and libraries of this package find libtorch where it was linked from,
/// without `LD_LIBRARY_PATH`.
///
/// A library in `LD_LIBRARY_PATH` still comes first: in that way one binary serves a CUDA
/// installation too.
pub fn find_libtorch_where_it_was_linked() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(folder) = libtorch_folder() {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}
