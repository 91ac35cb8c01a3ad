//! Fields by what they mean to a proxy.

/// What a field means to whoever passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Connection`.
    Connection,
    /// `Upgrade`.
    Upgrade,
    /// Meant for the next hop alone, and never passed on.
    HopByHop,
    /// Says where a request came from, so it is only believed when the balancer wrote it.
    Provenance,
    /// `Max-Forwards`: how many more proxies an `OPTIONS` or `TRACE` may pass.
    HopLimit,
    /// `Date`.
    Date,
    /// `Expect`.
    Expect,
    /// `traceparent`, meant for everybody on the way: passed on also where `Connection` names it.
    TraceParent,
    /// `tracestate`, likewise.
    TraceState,
    /// Everything else, passed on unless `Connection` names it.
    Other,
}

/// Says what the field of this name is.
///
/// A name in which `_` stands for `-` is taken for its twin and, where that means anything, for a field
/// to leave out: gateways that turn fields into environment variables cannot tell the two apart.
#[must_use]
pub fn kind_of(name: &[u8]) -> FieldKind {
    match name.first() {
        // Only fields that begin with one of these letters mean anything here.
        Some(
            b'h' | b'H' | b'c' | b'C' | b't' | b'T' | b'u' | b'U' | b'k' | b'K' | b'p' | b'P'
            | b'x' | b'X' | b'f' | b'F' | b'm' | b'M' | b'e' | b'E' | b'd' | b'D',
        ) => {}
        _ => return FieldKind::Other,
    }
    if name.contains(&b'_') {
        return kind_of_twin(name);
    }
    kind_of_plain(name)
}

fn kind_of_plain(name: &[u8]) -> FieldKind {
    let is = |text: &[u8]| name.eq_ignore_ascii_case(text);
    match name.len() {
        2 if is(b"te") => FieldKind::HopByHop,
        4 if is(b"date") => FieldKind::Date,
        4 if is(b"host") => FieldKind::Host,
        6 if is(b"expect") => FieldKind::Expect,
        7 if is(b"upgrade") => FieldKind::Upgrade,
        7 if is(b"trailer") => FieldKind::HopByHop,
        9 if is(b"forwarded") => FieldKind::Provenance,
        10 if is(b"connection") => FieldKind::Connection,
        10 if is(b"keep-alive") => FieldKind::HopByHop,
        10 if is(b"tracestate") => FieldKind::TraceState,
        11 if is(b"traceparent") => FieldKind::TraceParent,
        12 if is(b"max-forwards") => FieldKind::HopLimit,
        14 if is(b"content-length") => FieldKind::ContentLength,
        17 if is(b"transfer-encoding") => FieldKind::TransferEncoding,
        _ if begins_with(name, b"proxy-") => FieldKind::HopByHop,
        _ if begins_with(name, b"x-forwarded-") || names_client(name) => FieldKind::Provenance,
        _ => FieldKind::Other,
    }
}

/// Whether a field names the client, of those that proxies and content networks write and applications read
/// beside `X-Forwarded-For`. No standard has them; the list is of those that are known.
fn names_client(name: &[u8]) -> bool {
    let is = |text: &[u8]| name.eq_ignore_ascii_case(text);
    match name.len() {
        9 => is(b"x-real-ip") || is(b"client-ip"),
        11 => is(b"x-client-ip"),
        14 => is(b"true-client-ip"),
        16 => is(b"cf-connecting-ip") || is(b"fastly-client-ip"),
        18 => is(b"cf-connecting-ipv6"),
        19 => is(b"x-cluster-client-ip"),
        24 => is(b"x-original-forwarded-for") || is(b"x-envoy-external-address"),
        _ => false,
    }
}

fn kind_of_twin(name: &[u8]) -> FieldKind {
    const LONGEST: usize = 32;
    let mut twin = [0u8; LONGEST];
    let length = name.len().min(LONGEST);
    for (to, &from) in twin.iter_mut().zip(name) {
        *to = if from == b'_' { b'-' } else { from };
    }
    match kind_of_plain(twin.get(..length).unwrap_or_default()) {
        FieldKind::Other | FieldKind::TraceParent | FieldKind::TraceState => FieldKind::Other,
        _ => FieldKind::HopByHop,
    }
}

fn begins_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_known_in_any_case() {
        for (name, kind) in [
            ("Host", FieldKind::Host),
            ("CONTENT-LENGTH", FieldKind::ContentLength),
            ("transfer-Encoding", FieldKind::TransferEncoding),
            ("connection", FieldKind::Connection),
            ("Upgrade", FieldKind::Upgrade),
            ("TE", FieldKind::HopByHop),
            ("Trailer", FieldKind::HopByHop),
            ("keep-alive", FieldKind::HopByHop),
            ("Proxy-Authorization", FieldKind::HopByHop),
            ("Proxy-Connection", FieldKind::HopByHop),
            ("X-Forwarded-For", FieldKind::Provenance),
            ("X-Forwarded-Proto", FieldKind::Provenance),
            ("Forwarded", FieldKind::Provenance),
            ("X-Real-IP", FieldKind::Provenance),
            ("client-ip", FieldKind::Provenance),
            ("X-Client-IP", FieldKind::Provenance),
            ("True-Client-IP", FieldKind::Provenance),
            ("CF-Connecting-IP", FieldKind::Provenance),
            ("CF-Connecting-IPv6", FieldKind::Provenance),
            ("Fastly-Client-IP", FieldKind::Provenance),
            ("X-Cluster-Client-IP", FieldKind::Provenance),
            ("X-Original-Forwarded-For", FieldKind::Provenance),
            ("X-Envoy-External-Address", FieldKind::Provenance),
            ("X-Real-Name", FieldKind::Other),
            ("Max-Forwards", FieldKind::HopLimit),
            ("Expect", FieldKind::Expect),
            ("DATE", FieldKind::Date),
            ("TraceParent", FieldKind::TraceParent),
            ("tracestate", FieldKind::TraceState),
            ("Accept", FieldKind::Other),
            ("Hosts", FieldKind::Other),
            ("", FieldKind::Other),
        ] {
            assert_eq!(kind_of(name.as_bytes()), kind, "{name}");
        }
    }

    #[test]
    fn a_twin_with_underscores_is_left_out() {
        assert_eq!(kind_of(b"X_Forwarded_For"), FieldKind::HopByHop);
        assert_eq!(kind_of(b"Content_Length"), FieldKind::HopByHop);
        assert_eq!(kind_of(b"Transfer_Encoding"), FieldKind::HopByHop);
        assert_eq!(kind_of(b"X_Real_IP"), FieldKind::HopByHop);
        assert_eq!(kind_of(b"X_Mine"), FieldKind::Other);
    }
}
