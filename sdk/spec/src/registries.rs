//! The entries of `publish`: which fields each kind of registry has, and what they come to.

use crate::lookup::Wanted;
use crate::resolve::Resolver;
use crate::typed::{self, Registry};
use crate::words::list;
use crate::{Credentials, Publish, Secret, ToHub, ToMlflow, ToObjects, ToOci};

/// What is wrong with plain http to elsewhere.
pub(crate) const PLAIN_HTTP: &str = "plain http beyond this machine shows everybody on the way what is sent: expected https, or \
                                     `plain_http: true`";

/// Which fields an entry must and may have besides `registry`.
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

/// What an entry comes to; its mistakes go to the resolver.
pub(crate) fn resolve(
    idx: usize,
    typed: &typed::Publish,
    pipeline: &str,
    resolver: &mut Resolver<'_>,
) -> Publish {
    let at = format!("/publish/{idx}");
    check_fields(&at, typed, resolver);
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
    if let Some(url) = typed.url.as_deref().filter(|_| !plain_http)
        && url.starts_with("http:")
        && !is_loopback(url)
    {
        resolver.fault(&[&format!("{at}/url")], PLAIN_HTTP);
    }
    let url = typed
        .url
        .as_ref()
        .map(|url| url.trim_end_matches('/').to_owned());
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
        Registry::Huggingface => {
            if typed.repository.is_some() && repository.matches('/').count() != 1 {
                let message = format!("found \"{repository}\", expected ORGANIZATION/NAME");
                resolver.fault(&[&format!("{at}/repository")], &message);
            }
            Publish::Huggingface(ToHub {
                repository,
                private: typed.private.unwrap_or(true),
                credentials: sign_in.credentials(resolver),
                url,
                plain_http,
            })
        }
        Registry::Oci => {
            let path = repository.split_once('/').map_or("", |(_, path)| path);
            if path.contains(|c: char| c.is_ascii_uppercase() || c == ':') {
                let message = format!(
                    "found \"{repository}\", expected HOST[:PORT]/PATH with a path in lower case; the tag is `tag`"
                );
                resolver.fault(&[&format!("{at}/repository")], &message);
            }
            Publish::Oci(ToOci {
                repository,
                tag: typed.tag.clone().unwrap_or_else(|| "latest".to_owned()),
                plain_http,
                credentials: sign_in.credentials(resolver),
            })
        }
        Registry::S3 => Publish::S3(objects(resolver)),
        Registry::Gcs => Publish::Gcs(objects(resolver)),
        Registry::Azure => Publish::Azure(objects(resolver)),
    }
}

/// Whether a URL, or a `HOST:PORT`, leads to this machine.
pub(crate) fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = |ip: std::net::IpAddr| ip.is_loopback();
    host == "localhost" || host.parse().is_ok_and(is_loopback)
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

/// An account and its key go together.
pub(crate) fn check_keys(at: &str, account: bool, key: bool, resolver: &mut Resolver<'_>) {
    need(at, ("account", account), ("key", key), resolver);
    need(at, ("key", key), ("account", account), resolver);
}

/// Reports that of two fields only the first is given.
fn need(at: &str, given: (&str, bool), other: (&str, bool), resolver: &mut Resolver<'_>) {
    if given.1 && !other.1 {
        let (field, missing) = (given.0, other.0);
        let message = format!("`{field}` is given without `{missing}`: expected both");
        let (missing, field) = (format!("{at}/{missing}"), format!("{at}/{field}"));
        resolver.fault_at_key(&missing, &field, &message);
    }
}

/// The fields that say how to prove who asks.
pub(crate) struct SignIn<'a> {
    pub(crate) token: Option<&'a typed::Secret>,
    pub(crate) username: Option<&'a String>,
    pub(crate) password: Option<&'a typed::Secret>,
}

impl SignIn<'_> {
    pub(crate) fn check(&self, at: &str, resolver: &mut Resolver<'_>) {
        let username = ("username", self.username.is_some());
        let password = ("password", self.password.is_some());
        need(at, username, password, resolver);
        need(at, password, username, resolver);
        if self.token.is_some() && (username.1 || password.1) {
            let message =
                "`token` is given beside `username` and `password`: expected one or the other";
            let field = format!("{at}/token");
            resolver.fault_at_key(&field, &field, message);
        }
    }

    pub(crate) fn credentials(&self, resolver: &Resolver<'_>) -> Credentials {
        let token = secret(self.token, resolver);
        let password = secret(self.password, resolver);
        match (token, self.username, password) {
            (Some(token), ..) => Credentials::Bearer { token },
            (None, Some(username), Some(password)) => Credentials::Basic {
                username: username.clone(),
                password,
            },
            _ => Credentials::None,
        }
    }
}

pub(crate) fn secret(typed: Option<&typed::Secret>, resolver: &Resolver<'_>) -> Option<Secret> {
    match typed? {
        typed::Secret {
            env: Some(name), ..
        } => Some(Secret::Env(name.clone())),
        typed::Secret {
            file: Some(path), ..
        } => Some(Secret::File(resolver.beside_spec(path))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_the_rest() {
        let check = |url: &str, expected: bool| assert_eq!(is_loopback(url), expected, "{url}");
        check("http://127.0.0.1:5000", true);
        check("http://localhost/api", true);
        check("http://[::1]:9000/x", true);
        check("http://mlflow.example.org", false);
        check("http://127.0.0.1.example.org", false);
        check("http://localhost.example.org:80", false);
    }
}
