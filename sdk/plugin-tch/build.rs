//! Compiles the few lines of C++ behind this crate against libtorch's headers.

use std::path::PathBuf;

fn main() {
    const SOURCE: &str = "src/storage.cpp";
    evopress_build::find_libtorch_where_it_was_linked();
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
    let include = match std::env::var_os("LIBTORCH_INCLUDE") {
        Some(root) => PathBuf::from(root).join("include"),
        // libtorch's headers lie beside its libraries.
        None => evopress_build::libtorch_folder()
            .expect("torch-sys says where libtorch is")
            .with_file_name("include"),
    };
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(include)
        .flag("-w")
        .file(SOURCE)
        .compile("evopress_storage");
}
