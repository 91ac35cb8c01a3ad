//! What of a request, or of a session, says to which backend it goes, where the algorithm hashes.

use std::net::Ipv4Addr;

use balancing::{hash_address, hash_bytes};
use model::{Algorithm, HashKey};

use super::request::RequestHead;

/// Hashes what the algorithm asks for; 0 when it asks for nothing. Takes no memory.
#[must_use]
pub fn key_of_request(algorithm: &Algorithm, head: &RequestHead<'_>, client: Ipv4Addr) -> u64 {
    let Algorithm::Maglev { key } = algorithm else {
        return key_of_session(algorithm, client);
    };
    let bytes = match key {
        HashKey::Source => None,
        HashKey::Uri => Some(head.target),
        HashKey::Header(name) => first_value(head, name.as_bytes()),
    };
    bytes.map_or_else(|| hash_address(client), hash_bytes)
}

/// Hashes the client's address, if the algorithm hashes; else 0.
#[must_use]
pub fn key_of_session(algorithm: &Algorithm, client: Ipv4Addr) -> u64 {
    match algorithm {
        Algorithm::SourceHash | Algorithm::Maglev { .. } => hash_address(client),
        Algorithm::RoundRobin | Algorithm::LeastConnections | Algorithm::PeakEwma => 0,
    }
}

fn first_value<'a>(head: &RequestHead<'a>, name: &[u8]) -> Option<&'a [u8]> {
    let mut fields = head.fields.iter();
    fields
        .find(|field| field.name(head.bytes).eq_ignore_ascii_case(name))
        .map(|field| field.value(head.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    fn key(algorithm: &Algorithm, target: &str, fields: &str, client: Ipv4Addr) -> u64 {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut spans = Vec::new();
        let head = RequestHead::read(bytes.as_bytes(), &mut spans).unwrap();
        key_of_request(algorithm, &head, client)
    }

    #[test]
    fn who_hashes_nothing_asks_for_nothing() {
        for algorithm in [
            Algorithm::RoundRobin,
            Algorithm::LeastConnections,
            Algorithm::PeakEwma,
        ] {
            assert_eq!(key(&algorithm, "/", "", CLIENT), 0);
            assert_eq!(key_of_session(&algorithm, CLIENT), 0);
        }
    }

    #[test]
    fn the_client_is_hashed_whatever_it_asks_for() {
        let source = Algorithm::Maglev {
            key: HashKey::Source,
        };
        for algorithm in [Algorithm::SourceHash, source] {
            let of = |target, client| key(&algorithm, target, "X: y\r\n", client);
            assert_eq!(of("/a", CLIENT), of("/b", CLIENT));
            assert_ne!(of("/a", CLIENT), of("/a", OTHER));
            assert_eq!(of("/a", CLIENT), key_of_session(&algorithm, CLIENT));
        }
    }

    #[test]
    fn the_uri_is_path_and_query_whoever_asks_and_however_it_is_written() {
        let uri = Algorithm::Maglev { key: HashKey::Uri };
        let of = |target, client| key(&uri, target, "", client);
        assert_eq!(of("/a?b=c", CLIENT), of("/a?b=c", OTHER));
        assert_eq!(of("/a?b=c", CLIENT), of("http://a/a?b=c", CLIENT));
        assert_ne!(of("/a?b=c", CLIENT), of("/a?b=d", CLIENT));
        assert_eq!(key_of_session(&uri, CLIENT), hash_address(CLIENT));
    }

    #[test]
    fn a_field_is_hashed_by_its_first_value_and_the_client_where_there_is_none() {
        let tenant = Algorithm::Maglev {
            key: HashKey::Header("X-Tenant".to_owned()),
        };
        let of = |fields, client| key(&tenant, "/", fields, client);
        let one = of("X-Tenant: one\r\n", CLIENT);
        assert_eq!(one, of("x-tenant:  one \r\nX-Tenant: two\r\n", OTHER));
        assert_ne!(one, of("X-Tenant: two\r\n", CLIENT));
        assert_eq!(of("", CLIENT), hash_address(CLIENT));
    }
}
