//! The entries of `publish`: which fields each kind of registry has, and how they are resolved.

use super::lookup::Wanted;
use super::names;
use super::resolver::Resolver;
use super::server::{SignIn, check_keys, secret, server_url};
use crate::typed::{self, Registry};
use crate::words::{clip, list};
use crate::{Publish, ToHub, ToMlflow, ToObjects, ToOci};

/// The fields that an entry must have and those that it may have, besides `registry`.
fn fields(registry: Registry) -> (&'static [&'static str], &'static [&'static str]) {
    match registry {
        Registry::Folder => (&["path"], &["name"]),
        Registry::Mlflow => (
            &[],
            &[
                "name",
                "url",
                "plain_http",
                "experiment",
                "alias",
                "token",
                "username",
                "password",
            ],
        ),
        Registry::Huggingface => (&["repository"], &["url", "plain_http", "private", "token"]),
        Registry::Oci => (
            &["repository"],
            &["tag", "plain_http", "token", "username", "password"],
        ),
        Registry::S3 => (
            &["bucket"],
            &[
                "name",
                "url",
                "plain_http",
                "prefix",
                "region",
                "account",
                "key",
            ],
        ),
        Registry::Gcs => (&["bucket"], &["name", "url", "plain_http", "prefix", "key"]),
        Registry::Azure => (
            &["bucket"],
            &["name", "url", "plain_http", "prefix", "account", "key"],
        ),
    }
}

/// Resolves an entry; its mistakes go to the resolver.
pub(super) fn resolve(
    idx: usize,
    typed: &typed::Publish,
    pipeline: &str,
    resolver: &mut Resolver<'_>,
) -> Publish {
    let at = format!("/publish/{idx}");
    check_fields(&at, typed, resolver);
    check_names(&at, typed, resolver);
    if matches!(typed.registry, Registry::S3 | Registry::Azure) {
        check_keys(&at, typed.account.is_some(), typed.key.is_some(), resolver);
    }
    let sign_in = SignIn {
        token: typed.token.as_ref(),
        username: typed.username.as_ref(),
        password: typed.password.as_ref(),
    };
    sign_in.check(&at, resolver);
    let name = typed.name.clone().unwrap_or_else(|| pipeline.to_owned());
    let plain_http = typed.plain_http.unwrap_or(false);
    let url = server_url(&at, typed.url.as_deref(), plain_http, resolver);
    let repository = typed.repository.clone().unwrap_or_default();
    let objects = |resolver: &Resolver<'_>| ToObjects {
        url: url.clone(),
        plain_http,
        bucket: typed.bucket.clone().unwrap_or_default(),
        prefix: typed.prefix.clone().unwrap_or_default(),
        name: name.clone(),
        region: typed.region.clone(),
        account: secret(typed.account.as_ref(), resolver),
        key: secret(typed.key.as_ref(), resolver),
    };
    match typed.registry {
        Registry::Folder => Publish::Folder {
            path: match &typed.path {
                Some(path) => resolver.find(&format!("{at}/path"), path, Wanted::NewFolder),
                None => Default::default(),
            },
            name,
        },
        Registry::Mlflow => Publish::Mlflow(ToMlflow {
            experiment: typed
                .experiment
                .clone()
                .unwrap_or_else(|| pipeline.to_owned()),
            alias: typed.alias.clone(),
            credentials: sign_in.credentials(resolver),
            url,
            plain_http,
            name,
        }),
        Registry::Huggingface => Publish::Huggingface(ToHub {
            repository,
            private: typed.private.unwrap_or(true),
            credentials: sign_in.credentials(resolver),
            url,
            plain_http,
        }),
        Registry::Oci => Publish::Oci(ToOci {
            repository,
            tag: typed.tag.clone().unwrap_or_else(|| "latest".to_owned()),
            plain_http,
            credentials: sign_in.credentials(resolver),
        }),
        Registry::S3 => Publish::S3(objects(resolver)),
        Registry::Gcs => Publish::Gcs(objects(resolver)),
        Registry::Azure => Publish::Azure(objects(resolver)),
    }
}

/// Refuses names that the registry would refuse after the whole search.
fn check_names(at: &str, typed: &typed::Publish, resolver: &mut Resolver<'_>) {
    let registry = typed.registry;
    let given = [
        ("alias", &typed.alias),
        ("repository", &typed.repository),
        ("bucket", &typed.bucket),
        ("prefix", &typed.prefix),
    ];
    for (field, name) in given {
        let Some(name) = name else { continue };
        let expected = match (field, registry) {
            ("alias", Registry::Mlflow) => names::mlflow_alias(name),
            ("repository", Registry::Huggingface) => names::hub_repository(name),
            ("repository", Registry::Oci) => names::oci_repository(name),
            ("bucket", Registry::S3 | Registry::Gcs | Registry::Azure) => {
                names::bucket(registry, name)
            }
            ("prefix", Registry::S3 | Registry::Gcs | Registry::Azure) => names::prefix(name),
            _ => None,
        };
        if let Some(expected) = expected {
            let message = format!("found \"{}\", expected {expected}", clip(name));
            resolver.fault(&[&format!("{at}/{field}")], &message);
        }
    }
}

fn check_fields(at: &str, typed: &typed::Publish, resolver: &mut Resolver<'_>) {
    let (required, optional) = fields(typed.registry);
    let written = serde_json::json!(typed);
    let kind = written["registry"].as_str().unwrap_or_default().to_owned();
    for name in required {
        if written[name].is_null() {
            let message =
                format!("an item of `publish` lacks `{name}`, which the registry {kind} needs");
            resolver.fault_at_key(&format!("{at}/{name}"), at, &message);
        }
    }
    let given = written.as_object().into_iter().flatten();
    for (name, _) in given.filter(|(_, value)| !value.is_null()) {
        let known = required.iter().chain(optional);
        if name != "registry" && known.clone().all(|known| known != name) {
            let names = std::iter::once("registry").chain(known.copied());
            let message = format!(
                "`{name}` is not a field of the registry {kind}, which has {}",
                list(names, "and")
            );
            let field = format!("{at}/{name}");
            resolver.fault_at_key(&field, &field, &message);
        }
    }
}
