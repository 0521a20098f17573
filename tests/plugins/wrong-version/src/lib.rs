//! A library for tests that says it is a plugin of another ABI version.

/// A version that no host has.
#[unsafe(no_mangle)]
extern "C" fn evopress_plugin_abi_version() -> u32 {
    4_000_000
}
