//! Compiles the few lines of C++ behind this crate against libtorch's headers.

use std::path::PathBuf;

fn main() {
    const SOURCE: &str = "src/borrowed.cpp";
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
    // Set by torch-sys for its direct dependents; libtorch's headers lie beside its libraries.
    let lib = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from);
    let lib = lib.expect("torch-sys says where libtorch is");
    let include = match std::env::var_os("LIBTORCH_INCLUDE") {
        Some(root) => PathBuf::from(root).join("include"),
        None => lib.with_file_name("include"),
    };
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(include)
        .flag("-w")
        .file(SOURCE)
        .compile("evopress_borrowed");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
