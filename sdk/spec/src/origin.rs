//! Models that come from a registry: the fields of `model` that say how to get there.

use serde::{Deserialize, Serialize};

use crate::registries::{self, PLAIN_HTTP};
use crate::resolve::Resolver;
use crate::{Address, Credentials, Secret, typed};

/// Where a model comes from that is not on this machine, and what proves who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The place.
    pub address: Address,
    /// The server; where it is `None`, the daemon's own setting says, else it is the service's own.
    pub url: Option<String>,
    /// Whether plain http may lead beyond this machine.
    pub plain_http: bool,
    /// How to prove who asks; where it is [`Credentials::None`], the environment says.
    pub credentials: Credentials,
    /// S3: where the access key ID is; where it is `None`, the environment says.
    pub account: Option<Secret>,
    /// S3: where the secret access key is.
    pub key: Option<Secret>,
    /// What the address has come to: a commit, a digest. `None` until the model is fetched.
    pub version: Option<String>,
}

impl Origin {
    /// The secrets that it needs.
    pub fn secrets(&self) -> Vec<&Secret> {
        let mut secrets = self.credentials.secrets();
        secrets.extend(self.account.iter().chain(&self.key));
        secrets
    }
}

/// What the fields beside an address come to; those that the place has not are mistakes.
pub(crate) fn of(address: Address, typed: &typed::Model, resolver: &mut Resolver<'_>) -> Origin {
    let fields: &[&str] = match address {
        Address::Hub { .. } => &["url", "plain_http", "token"],
        Address::S3 { .. } => &["url", "plain_http", "account", "key"],
        Address::Oci { .. } => &["plain_http", "token", "username", "password"],
        Address::Mlflow { .. } => &["url", "plain_http", "token", "username", "password"],
    };
    let place = format!("models from {}", address.kind());
    for (field, _) in given(typed).filter(|(field, _)| !fields.contains(field)) {
        refuse(field, &place, resolver);
    }
    let sign_in = registries::SignIn {
        token: typed.token.as_ref(),
        username: typed.username.as_ref(),
        password: typed.password.as_ref(),
    };
    sign_in.check("/model", resolver);
    let keys = (typed.account.as_ref(), typed.key.as_ref());
    registries::check_keys("/model", keys.0.is_some(), keys.1.is_some(), resolver);
    let plain_http = typed.plain_http.unwrap_or(false);
    let url = typed
        .url
        .as_ref()
        .map(|url| url.trim_end_matches('/').to_owned());
    if let Some(url) = url.as_deref().filter(|_| !plain_http)
        && url.starts_with("http:")
        && !registries::is_loopback(url)
    {
        resolver.fault(&["/model/url"], PLAIN_HTTP);
    }
    Origin {
        address,
        url,
        plain_http,
        credentials: sign_in.credentials(resolver),
        account: registries::secret(keys.0, resolver),
        key: registries::secret(keys.1, resolver),
        version: None,
    }
}

/// A model on this machine needs none of the fields.
pub(crate) fn none(typed: &typed::Model, resolver: &mut Resolver<'_>) {
    for (field, _) in given(typed) {
        refuse(field, "models on this machine", resolver);
    }
}

fn refuse(field: &str, place: &str, resolver: &mut Resolver<'_>) {
    let at = format!("/model/{field}");
    let message = format!(
        "found `{field}`, which {place} do not need: expected another source, or no `{field}`"
    );
    resolver.fault_at_key(&at, &at, &message);
}

fn given(typed: &typed::Model) -> impl Iterator<Item = (&'static str, bool)> + use<> {
    [
        ("url", typed.url.is_some()),
        ("plain_http", typed.plain_http.is_some()),
        ("token", typed.token.is_some()),
        ("username", typed.username.is_some()),
        ("password", typed.password.is_some()),
        ("account", typed.account.is_some()),
        ("key", typed.key.is_some()),
    ]
    .into_iter()
    .filter(|(_, is_given)| *is_given)
}
