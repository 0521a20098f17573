//! Servers that a spec names: their URL, and how to prove who asks.

use super::names;
use super::resolver::Resolver;
use crate::{Credentials, Secret, typed};

/// The mistake of plain HTTP to another machine.
const PLAIN_HTTP: &str = "plain http to another machine lets everybody on the network read what is sent: \
                          expected https, or `plain_http: true`";

/// The base URL of a server, without a `/` at its end. `at` points to what holds the field `url`.
pub(super) fn server_url(
    at: &str,
    typed: Option<&str>,
    plain_http: bool,
    resolver: &mut Resolver<'_>,
) -> Option<String> {
    let url = typed?;
    if let Some(expected) = names::url(url) {
        // A URL may hold a secret, so it is not shown.
        let message = format!("this URL is none of a server: expected {expected}");
        resolver.fault(&[&format!("{at}/url")], &message);
    } else if !plain_http && url.starts_with("http:") && !is_loopback(url) {
        resolver.fault(&[&format!("{at}/url")], PLAIN_HTTP);
    }
    Some(url.trim_end_matches('/').to_owned())
}

/// Whether a URL, or a `HOST:PORT`, leads to this machine.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = |ip: std::net::IpAddr| ip.is_loopback();
    host == "localhost" || host.parse().is_ok_and(is_loopback)
}

/// An account and its key go together.
pub(super) fn check_keys(at: &str, account: bool, key: bool, resolver: &mut Resolver<'_>) {
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
pub(super) struct SignIn<'a> {
    pub(super) token: Option<&'a typed::Secret>,
    pub(super) username: Option<&'a String>,
    pub(super) password: Option<&'a typed::Secret>,
}

impl SignIn<'_> {
    pub(super) fn check(&self, at: &str, resolver: &mut Resolver<'_>) {
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

    pub(super) fn credentials(&self, resolver: &Resolver<'_>) -> Credentials {
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

pub(super) fn secret(typed: Option<&typed::Secret>, resolver: &Resolver<'_>) -> Option<Secret> {
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
