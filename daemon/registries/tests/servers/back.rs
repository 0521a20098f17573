//! What was published comes back as a source: the same files, fetched once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use evopress_cache::{Cache, State};
use evopress_core::digest_path;
use evopress_registries::{Bundle, Endpoints, FetchError, Fetched, fetch, find_cached};
use evopress_spec::{Credentials, Origin, Secret};

/// A cache in a folder, and who fetches into it.
pub(crate) struct Back {
    pub(crate) cache: Cache,
    endpoints: Endpoints,
}

/// An origin without anything but its address.
pub(crate) fn origin(address: &str, credentials: Credentials) -> Origin {
    Origin {
        address: address.parse().unwrap(),
        url: None,
        plain_http: false,
        credentials,
        account: None,
        key: None,
        version: None,
    }
}

/// The origin of an address, with the keys of S3.
pub(crate) fn signed(mut origin: Origin, account: Secret, key: Secret) -> Origin {
    (origin.account, origin.key) = (Some(account), Some(key));
    origin
}

impl Back {
    pub(crate) fn new(folder: &Path, endpoints: Endpoints) -> Self {
        let cache = Cache::at(&folder.join("cache"));
        Self { cache, endpoints }
    }

    pub(crate) fn try_fetch(&self, origin: &Origin) -> Result<Fetched, FetchError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(fetch(origin, &self.cache, &self.endpoints, &|_| ()))
    }

    pub(crate) fn fetch(&self, origin: &Origin) -> Fetched {
        self.try_fetch(origin)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn hold(&self, origin: &Origin) -> Option<Fetched> {
        find_cached(origin, &self.cache, &self.endpoints).unwrap()
    }

    /// A refusal, which tells no secret.
    pub(crate) fn refused(&self, origin: &Origin, secret: &str) -> FetchError {
        let error = self.try_fetch(origin).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        error
    }

    /// Expects the model's files of a bundle, each with its SHA-256, and nothing to be fetched the
    /// second time.
    pub(crate) fn check(&self, origin: &Origin, bundle: &Bundle) -> Fetched {
        let first = self.fetch(origin);
        let is_of_model = |name: &&str| matches!(*name, "config.json" | "model.safetensors");
        let expected: BTreeMap<String, String> = bundle
            .files
            .iter()
            .filter(|file| is_of_model(&file.name.as_str()))
            .map(|file| (file.name.clone(), file.sha256.clone()))
            .collect();
        assert_eq!(digests(&first.path), expected);
        assert_eq!(first.digest, digest_path(&first.path).unwrap());
        let again = self.fetch(origin);
        assert_eq!((&again.path, again.fetched_bytes), (&first.path, 0));
        first
    }

    /// The state of every entry, and whether something in it is not what it was.
    pub(crate) fn entries(&self) -> Vec<(State, bool)> {
        let listed = self.cache.list().unwrap();
        let mut entries: Vec<_> = listed
            .iter()
            .map(|it| (it.state, it.entry.verify().is_empty()))
            .collect();
        entries.sort_by_key(|(state, _)| state.as_str());
        entries
    }
}

fn digests(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, digest_path(&entry.path()).unwrap())
        })
        .collect()
}
