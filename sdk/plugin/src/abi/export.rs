//! What [`export_plugin!`](crate::export_plugin) expands to.

use abi_stable::{
    library::{__call_root_module_loader, CheckTypeLayout, RootModuleResult},
    prefix_type::PrefixTypeTrait,
    std_types::{RResult, RStr},
};

use super::{
    Fault, InfoTwin, InstanceTwin, PluginModule, PluginModuleRef, fitness, guard::catch, method,
};
use crate::{Fitness, Info, Method, PluginError, PluginKind};

pub use abi_stable::library::LibHeader;

/// A plugin's two functions. [`export_plugin!`](crate::export_plugin) implements it.
pub trait Export: 'static {
    /// What the plugin does.
    const KIND: PluginKind;

    /// What the plugin says of itself.
    fn info() -> Info;

    /// A method or a fitness from options in JSON.
    ///
    /// # Errors
    /// When the options are refused.
    fn create(options: &str) -> Result<Instance, PluginError>;
}

/// A method or a fitness.
pub enum Instance {
    /// A method.
    Method(Box<dyn Method>),
    /// A fitness.
    Fitness(Box<dyn Fitness>),
}

/// The header that a plugin exports under `abi_stable`'s name for it.
pub const fn library_header<E: Export>() -> LibHeader {
    // SAFETY: `root_module` returns what `__call_root_module_loader` makes of a PluginModuleRef.
    unsafe {
        LibHeader::from_constructor::<PluginModuleRef>(root_module::<E>, CheckTypeLayout::Yes)
    }
}

extern "C" fn root_module<E: Export>() -> RootModuleResult {
    __call_root_module_loader(|| {
        PluginModule {
            info: info::<E>,
            create: create::<E>,
        }
        .leak_into_prefix()
    })
}

extern "C" fn info<E: Export>() -> RResult<InfoTwin, Fault> {
    catch(|| Ok(InfoTwin::new(E::info(), E::KIND)))
}

extern "C" fn create<E: Export>(options: RStr<'_>) -> RResult<InstanceTwin, Fault> {
    catch(|| {
        Ok(match E::create(options.as_str())? {
            Instance::Method(method) => InstanceTwin::Method(method::export(method)),
            Instance::Fitness(fitness) => InstanceTwin::Fitness(fitness::export(fitness)),
        })
    })
}

/// Makes a library a plugin.
///
/// `info` is a `fn() -> Info`; `method` or `fitness` is a `fn(&str) -> Result<M, PluginError>`,
/// with `M` a [`Method`](crate::Method) or a [`Fitness`](crate::Fitness), which gets the options as
/// JSON text. They have been checked against the plugin's schema by then. The crate's type is
/// `cdylib`, its library is called `evopress_NAME`, and the macro is used once.
///
/// ```
/// use evopress_plugin::{Chunk, Fitness, HeadOps, Info, PluginError, Target, TargetView};
///
/// struct LogSumExp;
///
/// impl Fitness for LogSumExp {
///     fn target(&self, _: &dyn HeadOps, _: &Chunk<'_>) -> Result<Target, PluginError> {
///         Ok(Target::default())
///     }
///     fn loss(&self, ops: &dyn HeadOps, student: &Chunk<'_>, _: &TargetView<'_>) -> Result<Vec<f32>, PluginError> {
///         ops.log_sum_exp(&student.hidden)
///     }
///     fn needs_target(&self) -> bool {
///         false
///     }
/// }
///
/// fn info() -> Info {
///     Info {
///         name: "log-sum-exp".to_owned(),
///         version: env!("CARGO_PKG_VERSION").to_owned(),
///         description: "The log-sum-exp of the logits.".to_owned(),
///         options_schema: r#"{"type": "object", "additionalProperties": false}"#.to_owned(),
///     }
/// }
///
/// evopress_plugin::export_plugin! { fitness: |_options| Ok(LogSumExp), info: info }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_plugin {
    (method: $create:expr, info: $info:expr $(,)?) => {
        $crate::export_plugin!(@export Method, $create, $info);
    };
    (fitness: $create:expr, info: $info:expr $(,)?) => {
        $crate::export_plugin!(@export Fitness, $create, $info);
    };
    (@export $kind:ident, $create:expr, $info:expr) => {
        const _: () = {
            struct Exported;

            impl $crate::abi::Export for Exported {
                const KIND: $crate::PluginKind = $crate::PluginKind::$kind;

                fn info() -> $crate::Info {
                    ($info)()
                }

                fn create(options: &str) -> ::std::result::Result<$crate::abi::Instance, $crate::PluginError> {
                    ($create)(options).map(|made| $crate::abi::Instance::$kind(::std::boxed::Box::new(made)))
                }
            }

            #[unsafe(no_mangle)]
            extern "C" fn evopress_plugin_abi_version() -> u32 {
                $crate::abi::ABI_VERSION
            }

            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static LIBRARY_HEADER: $crate::abi::LibHeader = $crate::abi::library_header::<Exported>();
        };
    };
}
