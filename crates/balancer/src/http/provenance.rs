//! What a backend is told of a request's way: `X-Forwarded-For`, `-Proto` and `-Host`, `Forwarded` (RFC
//! 7239) where it is asked for, and the request's id.
//!
//! What a client says of these is replaced. A proxy that is trusted is believed and added to: addresses and
//! elements join the lists that it sent, its protocol, host and id stay, and so does every other
//! `X-Forwarded-*` and whatever else names the client (`X-Real-IP` and its kind), which nobody else may say.

use std::net::Ipv4Addr;

use super::field::FieldKind;
use super::grammar::is_token;
use super::head::FieldSpan;
use super::request::RequestHead;

/// The longest id that is taken from a proxy.
const ID_BYTES: usize = 128;
/// Hexadecimal digits of an id that is made here.
pub const FRESH_ID_BYTES: usize = 32;

/// What is known of a request's way here.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The client's address.
    pub client: Ipv4Addr,
    /// Host and port that the balancer itself listens on, for requests of HTTP/1.0 that name none.
    pub own_host: &'a [u8],
    /// Whether the client is a proxy that is believed.
    pub trusted: bool,
    /// Whether `Forwarded` is sent.
    pub forwarded: bool,
    /// The request's id, where one is sent.
    pub id: Option<RequestId<'a>>,
}

impl<'a> Origin<'a> {
    /// The way of a request of which only `X-Forwarded-*` is sent on, and none of it is believed.
    #[must_use]
    pub fn new(client: Ipv4Addr, own_host: &'a [u8]) -> Self {
        Self {
            client,
            own_host,
            trusted: false,
            forwarded: false,
            id: None,
        }
    }
}

/// A request's id.
#[derive(Clone, Copy, Debug)]
pub struct RequestId<'a> {
    /// The field's name.
    pub name: &'a [u8],
    /// The id, unless a proxy that is believed has sent one.
    pub fresh: [u8; FRESH_ID_BYTES],
}

impl RequestId<'_> {
    /// Whether a field is taken for the one with the id: also where `_` stands for `-`, which gateways
    /// that turn fields into environment variables cannot tell apart.
    fn is(&self, name: &[u8]) -> bool {
        let plain = |byte: u8| match byte {
            b'_' => b'-',
            byte => byte.to_ascii_lowercase(),
        };
        name.len() == self.name.len()
            && name
                .iter()
                .zip(self.name)
                .all(|(&a, &b)| plain(a) == plain(b))
    }
}

/// An id of two numbers, in hexadecimal.
#[must_use]
pub fn hex_id(numbers: [u64; 2]) -> [u8; FRESH_ID_BYTES] {
    let [high, low] = numbers.map(u128::from);
    let number = (high << 64) | low;
    std::array::from_fn(|at| {
        let nibble = (number >> (4 * (FRESH_ID_BYTES - 1 - at))) as u8 & 0xf;
        match nibble {
            0..=9 => b'0' + nibble,
            _ => b'a' + nibble - 10,
        }
    })
}

/// What is kept of what came, decided before any field is copied.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Believed {
    trusted: bool,
    id: Option<FieldSpan>,
}

impl Believed {
    /// Looks for an id that may stay: the only one, from a proxy that is believed, of bytes that no reader
    /// of logs stumbles over.
    pub fn find(head: &RequestHead<'_>, origin: &Origin<'_>) -> Self {
        let trusted = origin.trusted;
        let id = origin.id.filter(|_| trusted).and_then(|id| {
            let named = |field: &&FieldSpan| id.is(field.name(head.bytes));
            let mut ids = head.fields.iter().filter(named);
            let first = ids.next().filter(|_| ids.next().is_none())?;
            is_sound_id(first.value(head.bytes)).then_some(*first)
        });
        Self { trusted, id }
    }

    /// Whether a field that says something of the request's way stays, where that is decided here: one of
    /// [`FieldKind::Provenance`] or with the id.
    pub fn keeps(
        &self,
        field: &FieldSpan,
        head: &RequestHead<'_>,
        origin: &Origin<'_>,
    ) -> Option<bool> {
        let name = field.name(head.bytes);
        if origin.id.is_some_and(|id| id.is(name)) {
            return Some(self.id == Some(*field));
        }
        (field.kind == FieldKind::Provenance).then(|| self.trusted && Way::of(name) == Way::Other)
    }

    /// Writes what the backend is told.
    pub fn write(&self, head: &RequestHead<'_>, origin: &Origin<'_>, out: &mut Vec<u8>) {
        let host = head.host.unwrap_or(origin.own_host);
        out.extend_from_slice(b"X-Forwarded-For: ");
        self.join(Way::For, head, out);
        push_address(origin.client, out);
        out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
        out.extend_from_slice(self.last(Way::Proto, head).unwrap_or(b"http"));
        out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
        out.extend_from_slice(self.last(Way::Host, head).unwrap_or(host));
        out.extend_from_slice(b"\r\n");
        if origin.forwarded || self.last(Way::Forwarded, head).is_some() {
            out.extend_from_slice(b"Forwarded: ");
            self.join(Way::Forwarded, head, out);
            out.extend_from_slice(b"for=");
            push_address(origin.client, out);
            // A host may have a colon in it, which a token may not; it has nothing to escape.
            for part in [b";host=\"", host, b"\";proto=http\r\n"] {
                out.extend_from_slice(part);
            }
        }
        if let (Some(id), None) = (origin.id, self.id) {
            for part in [id.name, b": ", &id.fresh, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }

    /// The values that are believed, in their order.
    fn values<'a>(&self, way: Way, head: &RequestHead<'a>) -> impl Iterator<Item = &'a [u8]> {
        let fields = if self.trusted { head.fields } else { &[] };
        let (bytes, is_it) = (head.bytes, move |field: &&FieldSpan| {
            field.kind == FieldKind::Provenance && Way::of(field.name(head.bytes)) == way
        });
        fields
            .iter()
            .filter(is_it)
            .map(|field| field.value(bytes))
            .filter(|value| !value.is_empty())
    }

    /// Writes the list that is believed, and what parts it from what is added.
    fn join(&self, way: Way, head: &RequestHead<'_>, out: &mut Vec<u8>) {
        for value in self.values(way, head) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }

    /// The value that is believed: the last, which is what the nearest proxy added.
    fn last<'a>(&self, way: Way, head: &RequestHead<'a>) -> Option<&'a [u8]> {
        self.values(way, head).last()
    }
}

/// The fields of [`FieldKind::Provenance`] one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    For,
    Proto,
    Host,
    Forwarded,
    Other,
}

impl Way {
    fn of(name: &[u8]) -> Self {
        let is = |text: &[u8]| name.eq_ignore_ascii_case(text);
        match name.len() {
            9 if is(b"forwarded") => Self::Forwarded,
            15 if is(b"x-forwarded-for") => Self::For,
            16 if is(b"x-forwarded-host") => Self::Host,
            17 if is(b"x-forwarded-proto") => Self::Proto,
            _ => Self::Other,
        }
    }
}

fn is_sound_id(value: &[u8]) -> bool {
    let sound = |&byte: &u8| is_token(byte) || matches!(byte, b'/' | b'=' | b':' | b'@');
    (1..=ID_BYTES).contains(&value.len()) && value.iter().all(sound)
}

/// Writes an address as people do.
fn push_address(address: Ipv4Addr, out: &mut Vec<u8>) {
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ids_are_written_as_they_are_read() {
        for address in ["0.0.0.0", "10.0.9.99", "100.101.110.255", "1.20.200.3"] {
            let mut out = Vec::new();
            push_address(address.parse().unwrap(), &mut out);
            assert_eq!(out, address.as_bytes());
        }
        assert_eq!(
            &hex_id([0x0123_4567_89ab_cdef, 0xf]),
            b"0123456789abcdef000000000000000f"
        );
    }
}
