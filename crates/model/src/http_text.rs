//! Which of a user's texts may stand in an HTTP message, so that what is put there can end no line and
//! begin no field.

/// The most bytes of a field's name.
pub const MAX_FIELD_NAME_BYTES: usize = 64;
/// The most bytes of a host with its port: 253 of a DNS name, a colon and five digits.
const MAX_HOST_BYTES: usize = 259;

/// Fields that say how a message travels or where it ends, and those that the balancer writes itself. No
/// other meaning can be given to them.
const RESERVED: [&str; 22] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "authorization",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

/// Whether this can be a field's name: a token (RFC 9110, section 5.6.2) of at most
/// [`MAX_FIELD_NAME_BYTES`].
#[must_use]
pub fn is_field_name(text: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=MAX_FIELD_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_token)
}

/// Whether the field of this name has a meaning of its own, so that it can carry nothing else.
#[must_use]
pub fn is_reserved_field(name: &str) -> bool {
    RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(name))
}

/// Whether this can be the value of `Host`: a host name or an IPv4 address, with or without a port.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    !host.is_empty()
        && text.len() <= MAX_HOST_BYTES
        && host.bytes().all(is_name_byte)
        && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_is_a_fields_name() {
        for name in ["X-Request-ID", "a", "x_y.z"] {
            assert!(is_field_name(name), "{name}");
        }
        let long = "x".repeat(MAX_FIELD_NAME_BYTES + 1);
        for name in ["", "a b", "a:", "a\r\nb", "ü", long.as_str()] {
            assert!(!is_field_name(name), "{name:?}");
        }
    }

    #[test]
    fn fields_with_a_meaning_are_reserved_in_any_case() {
        assert!(is_reserved_field("Content-Length"));
        assert!(is_reserved_field("HOST"));
        assert!(!is_reserved_field("X-Request-ID"));
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in ["shop.example", "1.1.1.10:8080", "a_b", "localhost:1"] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "", ":80", "a:", "a:0", "a:70000", "a:+1", "a b", "a\r\nb", "[::1]", "a/b",
        ] {
            assert!(!is_host(host), "{host:?}");
        }
    }
}
