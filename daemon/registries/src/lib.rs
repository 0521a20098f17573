//! Model registries: a folder, MLflow, the Hugging Face Hub, OCI registries, and the object stores
//! of S3, GCS and Azure.
//!
//! In: the [`Bundle`] of a finished run. Out: where it is now, [`Published`]. Each registry
//! recognises a run that it has already, so publishing twice changes nothing; files are streamed,
//! and compared with their SHA-256 where they arrive. No error shows a secret.
//! [`fetch`] goes the other way: it brings a model from a registry into the cache.

mod bundle;
mod endpoints;
mod error;
mod facts;
mod folder;
mod http;
mod huggingface;
mod mlflow;
mod objects;
mod oci;
mod secrets;
mod sources;
mod transfer;

use evopress_spec::{Publish, Published};

pub use bundle::{Bundle, BundleFile};
pub use endpoints::Endpoints;
pub use error::PublishError;
pub use facts::{Facts, MetricPoint};
pub use folder::FolderRegistry;
pub use sources::{FetchError, FetchProgress, Fetched, fetch, find_cached, remove_damaged};

/// A registry that models are published to.
pub trait Registry {
    /// The word in a spec: `folder`.
    fn kind(&self) -> &'static str;

    /// Uploads the bundle, unless the registry has it. Calls `progress` with the bytes done so far.
    ///
    /// # Errors
    /// It is not there now; nobody sees a part of it as a version.
    fn publish(
        &self,
        bundle: &Bundle,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Published, PublishError>;
}

/// The registry that an entry of a plan names. Its secrets are read when it publishes.
#[must_use]
pub fn registry_of(target: &Publish, endpoints: &Endpoints) -> Box<dyn Registry> {
    match target.clone() {
        Publish::Folder { path, name } => Box::new(FolderRegistry { root: path, name }),
        Publish::Mlflow(to) => Box::new(mlflow::MlflowRegistry::new(to, endpoints)),
        Publish::Huggingface(to) => Box::new(huggingface::HubRegistry::new(to, endpoints)),
        Publish::Oci(to) => Box::new(oci::OciRegistry::new(to)),
        Publish::S3(to) => Box::new(objects::ObjectRegistry::new(
            objects::Store::S3,
            to,
            endpoints,
        )),
        Publish::Gcs(to) => Box::new(objects::ObjectRegistry::new(
            objects::Store::Gcs,
            to,
            endpoints,
        )),
        Publish::Azure(to) => Box::new(objects::ObjectRegistry::new(
            objects::Store::Azure,
            to,
            endpoints,
        )),
    }
}
