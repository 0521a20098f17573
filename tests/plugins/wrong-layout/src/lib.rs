//! A library for tests that has the right ABI version and another layout behind it: what a fork of
//! the SDK could look like that forgot to count the version up.
// The module is for others to read.
#![allow(dead_code)]

use abi_stable::{
    StableAbi, declare_root_module_statics, export_root_module, library::RootModule,
    prefix_type::PrefixTypeTrait, sabi_types::VersionStrings, std_types::RString,
};

/// The host's version, as a number: `evopress_plugin` would bring a root module of its own.
#[unsafe(no_mangle)]
extern "C" fn evopress_plugin_abi_version() -> u32 {
    5
}

/// Not the host's module.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(panic))]
struct PluginModule {
    info: extern "C" fn() -> RString,
    #[sabi(last_prefix_field)]
    create: extern "C" fn(u32) -> u64,
}

impl RootModule for PluginModuleRef {
    declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "evopress_plugin";
    const NAME: &'static str = "evopress_plugin";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

#[export_root_module]
fn root_module() -> PluginModuleRef {
    PluginModule { info, create }.leak_into_prefix()
}

extern "C" fn info() -> RString {
    RString::from("wrong-layout")
}

extern "C" fn create(number: u32) -> u64 {
    u64::from(number)
}
