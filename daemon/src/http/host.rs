//! Refuses requests for a name that is not ours. A page on some other site could otherwise point
//! its own name at this machine and read the API through the visitor's browser (DNS rebinding). An
//! IP address cannot be pointed elsewhere.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Site;

pub(super) async fn refuse_foreign(
    State(site): State<Arc<Site>>,
    request: Request,
    next: Next,
) -> Response {
    let header = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = request
        .uri()
        .authority()
        .map(|authority| authority.as_str())
        .or(header);
    if host.is_some_and(|host| is_ours(host, &site.allowed_hosts)) {
        return next.run(request).await;
    }
    let sentence = "this name is not served here: ask for localhost or an IP address, or allow the name with --allowed-host\n";
    (StatusCode::FORBIDDEN, sentence).into_response()
}

fn is_ours(host: &str, allowed: &[String]) -> bool {
    let name = without_port(host);
    let address = name
        .strip_prefix('[')
        .and_then(|it| it.strip_suffix(']'))
        .unwrap_or(name);
    address.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|it| it.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_foreign() {
        let allowed = ["evopress.internal".to_owned()];
        let check =
            |host: &str, expected: bool| assert_eq!(is_ours(host, &allowed), expected, "{host}");
        check("localhost", true);
        check("LOCALHOST:9464", true);
        check("127.0.0.1:9464", true);
        check("[::1]:9464", true);
        check("[::1]", true);
        check("evopress.internal:80", true);
        check("evil.example", false);
        check("evil.example:9464", false);
        check("localhost.evil.example", false);
        check("127.0.0.1.evil.example", false);
        check("", false);
    }
}
