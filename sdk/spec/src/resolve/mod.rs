//! From what was typed to what is run: defaults filled in, paths found.

mod defaults;
mod lookup;
mod names;
mod origin;
mod plan;
mod publish;
mod resolver;
mod server;

pub(crate) use plan::resolve;
pub(crate) use resolver::Resolver;
