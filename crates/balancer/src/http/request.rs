//! What a request's head means.

use super::field::FieldKind;
use super::grammar::{decimal, is_host, is_target, is_token, list_members};
use super::head::{FieldSpan, count, read_fields};
use super::malformed::Malformed;
use super::{Framing, Version};

/// The longest method.
const METHOD_BYTES: usize = 32;

/// A request's head, read and found sound. It borrows the bytes that it was read from.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// All bytes of the head, from the method to the empty line.
    pub bytes: &'a [u8],
    /// Its fields, in their order.
    pub fields: &'a [FieldSpan],
    /// The method.
    pub method: &'a [u8],
    /// Path and query, or `*`; an absolute target's scheme and authority are left out. A query without a
    /// path stands for that of `/`.
    pub target: &'a [u8],
    /// Host and port that are asked for; absent only under HTTP/1.0.
    pub host: Option<&'a [u8]>,
    /// Whether the target named `host`, which then counts in place of the field `Host` (RFC 9112, section
    /// 3.2.2).
    pub is_absolute: bool,
    /// The client's version.
    pub version: Version,
    /// How the body's end is known; never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client wants to send another request on this connection.
    pub keep_alive: bool,
    /// Whether `Connection` names anything but `close`, `keep-alive` and `upgrade`.
    pub nominates: bool,
    /// Whether the client waits for a `100` before it sends the body (RFC 9110, section 10.1.1).
    pub expects_continue: bool,
    /// The protocols of `Upgrade`, where the client asks for one that can be tunnelled.
    pub upgrade: Option<&'a [u8]>,
    /// How many more proxies the request may pass, where it is one that can be limited and is (RFC 9110,
    /// section 7.6.2). At 0 it is to be answered here.
    pub hops_left: Option<u32>,
    /// The value of the only field `traceparent` (W3C Trace Context), which is passed on as it is; nothing where there
    /// are several, of which none counts.
    pub trace: Option<&'a [u8]>,
}

impl<'a> RequestHead<'a> {
    /// Reads `bytes`, which a scanner found to be a whole head.
    ///
    /// # Errors
    /// Anything in it that is malformed, or of which two readers could think differently.
    pub fn read(bytes: &'a [u8], fields: &'a mut Vec<FieldSpan>) -> Result<Self, Malformed> {
        let (line, fields_at) = RequestLine::read(bytes)?;
        read_fields(bytes, fields_at, fields)?;
        let mut meaning = Meaning::default();
        for field in fields.iter() {
            meaning.take(field.kind, field.value(bytes), line.version)?;
        }
        let (authority, target) = split_target(&line)?;
        let framing = meaning.framing()?;
        let limited = matches!(line.method, b"OPTIONS" | b"TRACE");
        Ok(Self {
            bytes,
            fields,
            method: line.method,
            target,
            host: meaning.host(authority, line.version)?,
            is_absolute: authority.is_some(),
            version: line.version,
            framing,
            keep_alive: meaning.keep_alive(line.version),
            nominates: meaning.nominates,
            expects_continue: meaning.expects && line.version == Version::Http11,
            upgrade: meaning.upgrade(line.version, framing),
            hops_left: meaning.hop_limit.filter(|_| limited),
            trace: meaning.trace.filter(|_| meaning.traces == 1),
        })
    }

    /// The value of the only field of this name; nothing where there are several.
    #[must_use]
    pub fn field(&self, name: &[u8]) -> Option<&'a [u8]> {
        let is_named = |field: &&FieldSpan| field.name(self.bytes).eq_ignore_ascii_case(name);
        let mut found = self.fields.iter().filter(is_named);
        let first = found.next().filter(|_| found.next().is_none())?;
        Some(first.value(self.bytes))
    }

    /// Whether doing it twice is as good as doing it once (RFC 9110, section 9.2.2).
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        matches!(
            self.method,
            b"GET" | b"HEAD" | b"PUT" | b"DELETE" | b"OPTIONS" | b"TRACE"
        )
    }
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
}

impl<'a> RequestLine<'a> {
    /// Returns the line and the position after it.
    fn read(bytes: &'a [u8]) -> Result<(Self, usize), Malformed> {
        let method_end = count(bytes, 0, is_token);
        if method_end == 0 || method_end > METHOD_BYTES || bytes.get(method_end) != Some(&b' ') {
            return Err(Malformed::Bad("the method is malformed"));
        }
        let target_start = method_end + 1;
        let target_end = target_start + count(bytes, target_start, is_target);
        if target_end == target_start || bytes.get(target_end) != Some(&b' ') {
            return Err(Malformed::Bad("the target is malformed"));
        }
        let version_end = target_end + 1 + b"HTTP/1.1".len();
        if bytes.get(version_end..version_end + 2) != Some(b"\r\n") {
            return Err(Malformed::Bad("the version is malformed"));
        }
        let line = Self {
            method: bytes.get(..method_end).unwrap_or_default(),
            target: bytes.get(target_start..target_end).unwrap_or_default(),
            version: version(bytes.get(target_end + 1..version_end).unwrap_or_default())?,
        };
        Ok((line, version_end + 2))
    }
}

fn version(text: &[u8]) -> Result<Version, Malformed> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Malformed::VersionNotOffered)
        }
        _ => Err(Malformed::Bad("the version is malformed")),
    }
}

/// Splits a target into the authority that it names, if any, and what is asked for there (RFC 9112,
/// section 3.2). `OPTIONS` of an authority alone is asked of the server as a whole, `*`.
fn split_target<'a>(line: &RequestLine<'a>) -> Result<(Option<&'a [u8]>, &'a [u8]), Malformed> {
    const BAD: Malformed = Malformed::Bad("the target is malformed");
    match line.target {
        _ if line.method == b"CONNECT" => Err(Malformed::MethodNotOffered),
        [b'/', ..] => Ok((None, line.target)),
        b"*" if line.method == b"OPTIONS" => Ok((None, line.target)),
        target => {
            let (scheme, rest) = target.split_at_checked(b"http://".len()).ok_or(BAD)?;
            if !scheme.eq_ignore_ascii_case(b"http://") {
                return Err(BAD);
            }
            let end = rest
                .iter()
                .position(|byte| matches!(byte, b'/' | b'?'))
                .unwrap_or(rest.len());
            match rest.split_at(end) {
                (authority, []) if line.method == b"OPTIONS" => Ok((Some(authority), b"*")),
                (authority, []) => Ok((Some(authority), b"/")),
                (authority, path) => Ok((Some(authority), path)),
            }
        }
    }
}

/// What the fields say, taken in one by one.
#[derive(Default)]
struct Meaning<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    persist: bool,
    wants_upgrade: bool,
    protocols: Option<&'a [u8]>,
    nominates: bool,
    hop_limit: Option<u32>,
    trace: Option<&'a [u8]>,
    traces: usize,
    expects: bool,
}

impl<'a> Meaning<'a> {
    fn take(
        &mut self,
        kind: FieldKind,
        value: &'a [u8],
        version: Version,
    ) -> Result<(), Malformed> {
        match kind {
            FieldKind::Host => self.take_host(value),
            FieldKind::ContentLength => self.take_length(value),
            FieldKind::TransferEncoding => self.take_coding(value, version),
            FieldKind::Connection => {
                self.take_connection(value);
                Ok(())
            }
            FieldKind::Upgrade => {
                self.protocols = Some(value);
                Ok(())
            }
            FieldKind::HopLimit => {
                // What is no number limits nothing. Of several limits the strictest holds.
                let limit = std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                self.hop_limit = self.hop_limit.into_iter().chain(limit).min();
                Ok(())
            }
            FieldKind::Expect => {
                self.expects = true;
                Ok(())
            }
            FieldKind::TraceParent => {
                self.trace = Some(value);
                self.traces += 1;
                Ok(())
            }
            FieldKind::HopByHop
            | FieldKind::Provenance
            | FieldKind::Date
            | FieldKind::TraceState
            | FieldKind::Other => Ok(()),
        }
    }

    fn take_host(&mut self, value: &'a [u8]) -> Result<(), Malformed> {
        if self.host.is_some() {
            return Err(Malformed::Bad("more than one Host"));
        }
        self.host = Some(checked_host(value)?);
        Ok(())
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if self.length.is_some() {
            return Err(Malformed::Bad("more than one Content-Length"));
        }
        self.length = Some(decimal(value).ok_or(Malformed::Bad("Content-Length is no length"))?);
        Ok(())
    }

    fn take_coding(&mut self, value: &[u8], version: Version) -> Result<(), Malformed> {
        if version == Version::Http10 {
            return Err(Malformed::Bad("Transfer-Encoding in HTTP/1.0"));
        }
        if self.chunked {
            return Err(Malformed::Bad("chunked is not the only and final coding"));
        }
        self.chunked = is_chunked(value)?;
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in list_members(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.persist = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.wants_upgrade = true;
            } else {
                self.nominates = true;
            }
        }
    }

    fn framing(&self) -> Result<Framing, Malformed> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Malformed::Bad("Content-Length with Transfer-Encoding")),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(0) | None) => Ok(Framing::Empty),
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }

    /// What the target names counts, whatever `Host` says: that is what every reader must believe (RFC
    /// 9112, section 3.2.2), and the only one that is sent on. `Host` has to be there and sound all the same.
    fn host(
        &self,
        authority: Option<&'a [u8]>,
        version: Version,
    ) -> Result<Option<&'a [u8]>, Malformed> {
        match (authority, self.host) {
            (_, None) if version == Version::Http11 => Err(Malformed::Bad("no Host")),
            (Some(authority), _) => checked_host(authority).map(Some),
            (None, host) => Ok(host),
        }
    }

    fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.persist)
    }

    /// An upgrade is passed on only when nothing else can be meant: no body before the tunnel, and not
    /// `h2c`, through which whole requests would pass unread.
    fn upgrade(&self, version: Version, framing: Framing) -> Option<&'a [u8]> {
        let protocols = self.protocols?;
        let is_h2c = |protocol: &[u8]| protocol.eq_ignore_ascii_case(b"h2c");
        (self.wants_upgrade
            && version == Version::Http11
            && framing == Framing::Empty
            && !protocols.is_empty()
            && !list_members(protocols).any(is_h2c))
        .then_some(protocols)
    }
}

/// Reads `uri-host [ ":" port ]` (RFC 9110, section 7.2). An empty one names nobody.
fn checked_host(value: &[u8]) -> Result<&[u8], Malformed> {
    const BAD: Malformed = Malformed::Bad("Host is malformed");
    let (name, rest) = match value {
        [b'[', literal @ ..] => {
            let end = memchr::memchr(b']', literal).ok_or(BAD)?;
            let (address, rest) = literal.split_at(end);
            (address, rest.get(1..).unwrap_or_default())
        }
        _ => value.split_at(memchr::memchr(b':', value).unwrap_or(value.len())),
    };
    let is_literal = value.first() == Some(&b'[');
    let sound = |&byte: &u8| is_host(byte) || (is_literal && byte == b':');
    let port = rest.strip_prefix(b":").or(rest.is_empty().then_some(rest));
    let port_is_sound = port.is_some_and(|port| port.iter().all(u8::is_ascii_digit));
    if name.is_empty() || !name.iter().all(sound) || !port_is_sound {
        return Err(BAD);
    }
    Ok(value)
}

/// Reads one `Transfer-Encoding`. True for exactly `chunked`.
pub(super) fn is_chunked(value: &[u8]) -> Result<bool, Malformed> {
    const NOT_FINAL: Malformed = Malformed::Bad("chunked is not the only and final coding");
    let is = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if is(value) {
        return Ok(true);
    }
    let mut codings = list_members(value).peekable();
    if codings.peek().is_none() {
        return Err(Malformed::Bad("Transfer-Encoding is empty"));
    }
    let mut seen_chunked = false;
    let mut unknown = false;
    for coding in codings {
        if seen_chunked {
            return Err(NOT_FINAL);
        }
        seen_chunked = is(coding);
        unknown |= !seen_chunked;
    }
    // What is left is `gzip, chunked`, `gzip`, or `chunked` with empty members around it.
    Err(if unknown {
        Malformed::UnknownCoding
    } else {
        NOT_FINAL
    })
}
