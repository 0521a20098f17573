//! Lets this package's programs and tests find libtorch where it was linked from, without `LD_LIBRARY_PATH`.
//! (A library in `LD_LIBRARY_PATH` still comes first: that is how one binary serves a CUDA installation too.)

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by torch-sys for its direct dependents.
    if let Some(folder) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}
