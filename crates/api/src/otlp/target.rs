//! Where figures are sent, as the operator writes it.

use std::str::FromStr;

use axum::http::Uri;

/// The port of OTLP over HTTP, where none is named.
const PORT: u16 = 4318;
/// The path of metrics, where none is named.
const PATH: &str = "/v1/metrics";

/// A receiver of metrics by OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpTarget {
    /// Host and port.
    pub(super) authority: String,
    /// Path, and query if there is one.
    pub(super) path: String,
}

/// Why a text is no such address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// It is no URL.
    #[error("`{0}` is no address: write it as http://127.0.0.1:4318/v1/metrics")]
    NoUrl(String),
    /// It is one of another scheme.
    #[error(
        "`{0}`: only http is spoken: send to a collector on this machine, which adds TLS and passwords"
    )]
    OtherScheme(String),
    /// It names a user.
    #[error(
        "`{0}` has a password in it, which would not be sent: a collector on this machine can have one"
    )]
    Password(String),
}

impl FromStr for OtlpTarget {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let no_url = || BadTarget::NoUrl(text.into());
        let url: Uri = text.parse().map_err(|_| no_url())?;
        let authority = url.authority().ok_or_else(no_url)?;
        if url.scheme_str() != Some("http") {
            return Err(BadTarget::OtherScheme(text.into()));
        }
        if authority.as_str().contains('@') {
            return Err(BadTarget::Password(text.into()));
        }
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => PORT,
            // The library passes over what is no port.
            Some(port) => {
                let port = port.strip_prefix(':').and_then(|port| port.parse().ok());
                port.ok_or_else(no_url)?
            }
            None => return Err(no_url()),
        };
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            authority: format!("{host}:{port}"),
            path: if path == "/" { PATH } else { path }.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_named_by_a_url() {
        for (text, authority, path) in [
            ("http://127.0.0.1", "127.0.0.1:4318", "/v1/metrics"),
            ("http://collector:80/", "collector:80", "/v1/metrics"),
            (
                "http://a/otlp/v1/metrics?x=1",
                "a:4318",
                "/otlp/v1/metrics?x=1",
            ),
            ("http://[::1]:4318", "[::1]:4318", "/v1/metrics"),
        ] {
            let target: OtlpTarget = text.parse().unwrap();
            assert_eq!((&*target.authority, &*target.path), (authority, path));
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_to_do() {
        for (text, words) in [
            ("", "no address"),
            ("127.0.0.1:4318", "only http"),
            ("/v1/metrics", "no address"),
            ("http://", "no address"),
            ("http://a:/", "no address"),
            ("http://a:99999/", "no address"),
            ("https://a/", "only http"),
            ("grpc://a:4317", "only http"),
            ("http://me:secret@a/", "password"),
        ] {
            let error = text.parse::<OtlpTarget>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
