//! The boundary: ABI-stable twins of the plain types and traits, and the conversions between them.
//!
//! Everything that knows `abi_stable` is in this module, so that it could be replaced. The author's
//! side wraps a plain [`Method`](crate::Method) or [`Fitness`](crate::Fitness) in a guard that
//! catches panics and offers the twin trait; the host's side wraps the twin back into the plain
//! trait. Tensors cross as pointers to DLPack structures.
//!
//! Any change to a type in here is a new [`ABI_VERSION`].
// What `#[sabi_trait]` and `#[derive(StableAbi)]` expand to.
#![allow(
    non_local_definitions,
    missing_docs,
    unreachable_pub,
    clippy::needless_pass_by_value
)]

mod compress;
mod export;
mod fitness;
mod ggml;
mod guard;
#[cfg(feature = "host")]
mod host;
mod method;
mod tensor;
#[cfg(test)]
mod tests;

use abi_stable::{
    StableAbi, declare_root_module_statics,
    library::RootModule,
    sabi_types::VersionStrings,
    std_types::{RResult, RStr, RString},
};

use crate::{Info, PluginError, PluginKind};

pub use export::{Export, Instance, LibHeader, library_header};
use fitness::FitnessTwin;
#[cfg(feature = "host")]
pub(crate) use host::{HostFitness, HostMethod, Module, ModuleError};
use method::MethodTwin;

/// Version of everything that crosses the boundary. Host and plugin must agree on it.
pub const ABI_VERSION: u32 = 5;

/// Name of the plain C function that returns [`ABI_VERSION`], read before anything else of a plugin
/// is touched.
pub const ABI_VERSION_SYMBOL: &str = "evopress_plugin_abi_version";

/// What a plugin library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    pub info: extern "C" fn() -> RResult<InfoTwin, Fault>,
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(RStr<'_>) -> RResult<InstanceTwin, Fault>,
}

impl RootModule for PluginModuleRef {
    declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "evopress_plugin";
    const NAME: &'static str = "evopress_plugin";
    // The version that counts is ABI_VERSION, and it has been compared by the time that this one
    // is.
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

/// A method or a fitness.
#[repr(u8)]
#[derive(StableAbi)]
pub enum InstanceTwin {
    Method(MethodTwin),
    Fitness(FitnessTwin),
}

/// Twin of [`Info`], with the kind that the export macro adds.
#[repr(C)]
#[derive(StableAbi)]
pub struct InfoTwin {
    name: RString,
    version: RString,
    description: RString,
    options_schema: RString,
    is_method: bool,
}

impl InfoTwin {
    fn new(info: Info, kind: PluginKind) -> Self {
        InfoTwin {
            name: info.name.into(),
            version: info.version.into(),
            description: info.description.into(),
            options_schema: info.options_schema.into(),
            is_method: kind == PluginKind::Method,
        }
    }

    #[cfg(feature = "host")]
    pub(crate) fn into_plain(self) -> (Info, PluginKind) {
        let kind = if self.is_method {
            PluginKind::Method
        } else {
            PluginKind::Fitness
        };
        let info = Info {
            name: self.name.into(),
            version: self.version.into(),
            description: self.description.into(),
            options_schema: self.options_schema.into(),
        };
        (info, kind)
    }
}

/// Twin of [`PluginError`], which also says whether it was a panic.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct Fault {
    panicked: bool,
    message: RString,
}

#[cfg(feature = "host")]
impl Fault {
    pub(crate) fn panicked(&self) -> bool {
        self.panicked
    }

    pub(crate) fn message(&self) -> String {
        self.message.to_string()
    }
}

impl From<PluginError> for Fault {
    fn from(error: PluginError) -> Self {
        Fault {
            panicked: false,
            message: error.message.into(),
        }
    }
}

impl From<crate::TensorError> for Fault {
    fn from(error: crate::TensorError) -> Self {
        PluginError::from(error).into()
    }
}
