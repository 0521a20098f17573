//! Names that registries refuse. A registry would say so after the whole search, so its own rules
//! are kept here.

use crate::typed::Registry;

/// Why a name is not one, as the end of "found …, expected".
pub(super) type Expected = Option<&'static str>;

/// An alias of a version of a model in MLflow.
pub(super) fn mlflow_alias(alias: &str) -> Expected {
    let is_version = alias
        .strip_prefix(['v', 'V'])
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()));
    if is_version || alias.eq_ignore_ascii_case("latest") {
        return Some("another alias: MLflow keeps `latest` and `v` with a number for itself");
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_good = alias.chars().all(is_plain);
    (!is_good).then_some("an alias of letters, digits, `_` and `-`, as MLflow has them")
}

/// A repository of the Hugging Face Hub.
pub(super) fn hub_repository(repository: &str) -> Expected {
    let Some((organization, name)) = repository.split_once('/') else {
        return Some("ORGANIZATION/NAME");
    };
    let parts = [organization, name];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_edge = |c: char| matches!(c, '.' | '-');
    if name.contains('/')
        || parts
            .iter()
            .any(|it| it.is_empty() || !it.chars().all(is_plain))
    {
        return Some("ORGANIZATION/NAME of letters, digits, `.`, `_` and `-`");
    }
    if parts
        .iter()
        .any(|it| it.starts_with(is_edge) || it.ends_with(is_edge))
    {
        return Some("ORGANIZATION/NAME without `.` or `-` at the beginning or end of either");
    }
    if parts
        .iter()
        .any(|it| it.contains("--") || it.contains(".."))
        || name.ends_with(".git")
    {
        return Some("ORGANIZATION/NAME without `--`, `..` and `.git` at the end");
    }
    (repository.len() > 96).then_some("ORGANIZATION/NAME of at most 96 characters")
}

/// A repository of an OCI registry: `HOST[:PORT]/PATH`.
pub(super) fn oci_repository(repository: &str) -> Expected {
    let (host, path) = repository.split_once('/').unwrap_or((repository, ""));
    let (host, port) = host
        .rsplit_once(':')
        .map_or((host, None), |(host, port)| (host, Some(port)));
    if port.is_some_and(|port| !is_port(port)) {
        return Some("HOST[:PORT]/PATH with a port from 1 to 65535");
    }
    let is_label = |label: &str| is_between_alphanumerics(label, |c| c == '-');
    if !host.split('.').all(is_label) {
        return Some("HOST[:PORT]/PATH with the name of a machine as its host");
    }
    if path.contains(|c: char| c.is_ascii_uppercase() || c == ':') {
        return Some("HOST[:PORT]/PATH with a path in lower case; the tag is `tag`");
    }
    if !path.split('/').all(is_oci_part) {
        return Some(
            "HOST[:PORT]/PATH whose parts begin and end with a letter or digit, with `.`, `_`, `__` or hyphens between",
        );
    }
    (repository.len() > 255).then_some("HOST[:PORT]/PATH of at most 255 characters")
}

/// A bucket of S3 or Google Cloud Storage, or a container of Azure Blob Storage.
pub(super) fn bucket(registry: Registry, name: &str) -> Expected {
    const S3_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
    const S3_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let has_edges = name.starts_with(lower) && name.ends_with(lower);
    let is_of = |others: &[char]| name.chars().all(|c| lower(c) || others.contains(&c));
    if !(3..=63).contains(&name.len()) || !has_edges {
        return Some(
            "a name of 3 to 63 characters that begins and ends with a lower-case letter or a digit",
        );
    }
    match registry {
        Registry::Azure => (!is_of(&['-']) || name.contains("--")).then_some(
            "the name of a container: lower-case letters, digits and single hyphens",
        ),
        Registry::Gcs => (!is_of(&['.', '_', '-'])
            || name.contains("..")
            || name.starts_with("goog")
            || is_ip_address(name))
        .then_some("a bucket of lower-case letters, digits, `_`, `-` and single `.`, no IP address and not beginning with `goog`"),
        _ if S3_PREFIXES.iter().any(|it| name.starts_with(it))
            || S3_SUFFIXES.iter().any(|it| name.ends_with(it)) =>
        {
            Some("another name: S3 keeps names that begin or end so for itself")
        }
        _ => (!is_of(&['.', '-']) || name.contains("..") || is_ip_address(name)).then_some(
            "a bucket of lower-case letters, digits, `-` and single `.`, and no IP address",
        ),
    }
}

/// What the names of objects begin with.
pub(super) fn prefix(prefix: &str) -> Expected {
    let mut parts = prefix.split('/');
    parts.any(|part| matches!(part, "." | "..")).then_some(
        "a prefix without the parts `.` and `..`, which servers and clients resolve differently",
    )
}

/// The base URL of a server.
pub(super) fn url(url: &str) -> Expected {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let port = match host.rsplit_once(']') {
        Some((_, after)) => after.strip_prefix(':'),
        None => host.rsplit_once(':').map(|(_, port)| port),
    };
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some("a URL without spaces");
    }
    if url.contains(['?', '#']) {
        return Some("a base URL, which has no `?` and no `#`");
    }
    port.is_some_and(|port| !is_port(port))
        .then_some("a URL with a port from 1 to 65535")
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0) && text.chars().all(|c| c.is_ascii_digit())
}

fn is_ip_address(name: &str) -> bool {
    name.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Whether a text begins and ends with a letter or digit and has nothing else but these and what
/// `is_inner` allows.
fn is_between_alphanumerics(text: &str, is_inner: impl Fn(char) -> bool) -> bool {
    let is_edge = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(is_edge)
        && text.ends_with(is_edge)
        && text.chars().all(|c| is_edge(c) || is_inner(c))
}

/// Lower-case letters and digits, with one `.`, one or two `_`, or hyphens between.
fn is_oci_part(part: &str) -> bool {
    let is_separator = |c: char| matches!(c, '.' | '_' | '-');
    let mut separators = part.split(|c: char| !is_separator(c));
    is_between_alphanumerics(part, is_separator)
        && separators.all(|it| matches!(it, "" | "." | "_" | "__") || it.chars().all(|c| c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(is_refused: fn(&str) -> Expected, good: &[&str], bad: &[&str]) {
        for name in good {
            assert_eq!(is_refused(name), None, "{name}");
        }
        for name in bad {
            assert!(is_refused(name).is_some(), "{name}");
        }
    }

    #[test]
    fn registries_have_rules_for_names() {
        check(
            mlflow_alias,
            &["candidate", "prod_eu-2", "v", "v1b", "1"],
            &["v1", "V22", "v1.0", "prod.eu", "latest", "Latest"],
        );
        let long = format!("acme/{}", "a".repeat(97));
        check(
            hub_repository,
            &["acme/smollm2-depth", "a_b/C.d", "acme/1"],
            &[
                "acme/foo--bar",
                "acme/foo..bar",
                "acme/foo.",
                "acme/foo-",
                "acme/foo.git",
                &long,
                "ac:me/foo",
                "acme-/foo",
                "acme",
                "a/b/c",
                "acme/",
            ],
        );
        check(
            oci_repository,
            &[
                "ghcr.io/acme/foo",
                "localhost:5000/a/b",
                "ghcr.io/a/b__c-d.e",
                "ghcr.io/a/b---c",
            ],
            &[
                "ghcr.io/acme/foo.",
                "ghcr.io/acme/foo___bar",
                "ghcr.io/acme/foo-",
                "ghcr.io:x/acme/foo",
                "localhost:99999/acme/foo",
                "localhost:0/a",
                "ghcr.io/Acme/foo",
                "ghcr.io/acme/foo:1",
                "ghcr.io",
                "-ghcr.io/a",
                "ghcr.io/a/b._c",
                "ghcr.io/a//b",
            ],
        );
    }

    #[test]
    fn buckets_prefixes_and_urls_have_rules() {
        check(
            |name| bucket(Registry::S3, name),
            &["models", "a.b-c", "123"],
            &[
                "a..b",
                "my_bucket",
                "192.168.1.1",
                "ab-",
                "xn--abc",
                "ab",
                "models-s3alias",
            ],
        );
        check(
            |name| bucket(Registry::Gcs, name),
            &["my_bucket", "a.b"],
            &["goog-models", "a..b", "192.168.1.1", "_ab"],
        );
        check(
            |name| bucket(Registry::Azure, name),
            &["models", "a-b-c"],
            &["a--b", "models_x", "m.x", "-ab"],
        );
        check(
            prefix,
            &["team/edge", "a.b", "..."],
            &["..", ".", "a/../b", "a/."],
        );
        check(
            url,
            &[
                "https://mlflow.example.org",
                "http://localhost:5000/a",
                "http://[::1]:9000",
            ],
            &[
                "https://s3 example.org",
                "https://s3.example.org/bucket?x=1",
                "https://a.org/#x",
                "http://a.org:99999",
                "http://[::1]:x",
            ],
        );
    }
}
