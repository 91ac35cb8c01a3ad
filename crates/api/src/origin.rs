//! Keeps web pages out. A browser on this machine lets any page send requests to loopback, and a page
//! whose name resolves to 127.0.0.1 even read the answers. A program that is no browser is not touched.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode};

use crate::caller::Peer;
use crate::failure::Failure;

/// Refuses what a page from elsewhere sent: a `Host` that is a name other than `localhost` (DNS
/// rebinding), an `Origin` other than this server, and what the browser itself calls cross-site.
pub(crate) fn check_origin(request: &Request, peer: Peer) -> Result<(), Failure> {
    if matches!(peer, Peer::Unix(_)) {
        return Ok(());
    }
    let host = text(request.headers(), HOST).unwrap_or_default();
    match host.is_empty() || is_local(host) {
        true => check_page(request),
        false => Err(foreign()),
    }
}

/// The same, where the server may be called by any name.
pub(crate) fn check_page(request: &Request) -> Result<(), Failure> {
    let headers = request.headers();
    let host = text(headers, HOST).unwrap_or_default();
    let is_own_origin =
        text(headers, ORIGIN).is_none_or(|origin| origin == format!("http://{host}"));
    let site = text(headers, HeaderName::from_static("sec-fetch-site"));
    let is_own_site = matches!(site, None | Some("same-origin" | "none"));
    match is_own_origin && is_own_site {
        true => Ok(()),
        false => Err(foreign()),
    }
}

fn foreign() -> Failure {
    Failure::Http {
        status: StatusCode::FORBIDDEN,
        code: "foreign-origin",
        message: "the request comes from a web page of another site, or names another host".into(),
        hint: "call this server by its address, such as http://127.0.0.1, and not from a page"
            .into(),
    }
}

/// A header as text; one that is no text differs from all that is allowed.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Whether a `Host` is `localhost` or a loopback address, with or without a port.
fn is_local(host: &str) -> bool {
    let is_loopback = |ip: IpAddr| ip.is_loopback();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.parse::<SocketAddr>()
        .is_ok_and(|address| is_loopback(address.ip()))
        || host.parse::<IpAddr>().is_ok_and(is_loopback)
        || host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) == Some("::1")
        || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_own_names_are_hosts() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1",
            "127.0.0.1:7070",
            "[::1]:7070",
            "[::1]",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:7070",
            "10.0.0.1:80",
            "localhost.evil.example",
            "?",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
