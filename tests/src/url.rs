//! URLs, as far as tests take them apart.

/// The host of `http://host/`, `http://host:port/` or `tcp://host:port`.
///
/// # Panics
/// When it is no URL.
#[must_use]
pub fn host_of(url: &str) -> &str {
    let (_, rest) = url.split_once("://").expect("a URL has a scheme");
    rest.split([':', '/'])
        .next()
        .expect("a split has a first part")
}
