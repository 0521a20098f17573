//! The model of a spec: on this machine, or in a registry with the fields that say how to get
//! there.

use super::resolver::Resolver;
use super::server::{SignIn, check_keys, secret, server_url};
use crate::{Address, Origin, typed};

/// Resolves an address and the fields beside it; fields that its kind of registry does not have are
/// mistakes.
pub(super) fn remote(
    address: Address,
    typed: &typed::Model,
    resolver: &mut Resolver<'_>,
) -> Origin {
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
    let sign_in = SignIn {
        token: typed.token.as_ref(),
        username: typed.username.as_ref(),
        password: typed.password.as_ref(),
    };
    sign_in.check("/model", resolver);
    let keys = (typed.account.as_ref(), typed.key.as_ref());
    check_keys("/model", keys.0.is_some(), keys.1.is_some(), resolver);
    let plain_http = typed.plain_http.unwrap_or(false);
    let url = server_url("/model", typed.url.as_deref(), plain_http, resolver);
    Origin {
        address,
        url,
        plain_http,
        credentials: sign_in.credentials(resolver),
        account: secret(keys.0, resolver),
        key: secret(keys.1, resolver),
        version: None,
    }
}

/// A model on this machine needs none of the fields.
pub(super) fn check_local(typed: &typed::Model, resolver: &mut Resolver<'_>) {
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
