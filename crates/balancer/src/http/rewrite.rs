//! A head as it is sent on.
//!
//! Fields that are passed on are copied as the lines that they came as, neighbours in one piece. What is
//! meant for one hop alone is left out (RFC 9110, section 7.6.1); what is said of a request's way is for
//! [`super::provenance`] to decide; `Via` is added both ways.
//!
//! Requests are sent on as HTTP/1.1, whatever the client speaks.

use std::io::Write;

use super::Version;
use super::date::Date;
use super::exchange::Closing;
use super::field::FieldKind;
use super::grammar::list_members;
use super::head::FieldSpan;
use super::provenance::{Believed, Origin};
use super::request::RequestHead;
use super::response::ResponseHead;

/// Writes a request's head for the backend.
pub fn write_request(head: &RequestHead<'_>, origin: Origin<'_>, out: &mut Vec<u8>) {
    let root: &[u8] = if head.target.starts_with(b"?") {
        b"/"
    } else {
        b""
    };
    for part in [head.method, b" ", root, head.target, b" HTTP/1.1\r\n"] {
        out.extend_from_slice(part);
    }
    if head.is_absolute || head.host.is_none() {
        write_field(out, b"Host", head.host.unwrap_or(origin.own_host));
    }
    let believed = Believed::find(head, &origin);
    let mut rewritten = None;
    copy_fields(head.bytes, head.fields, out, |field| match field.kind {
        _ if let Some(keeps) = believed.keeps(field, head, &origin) => keeps,
        FieldKind::Host => !head.is_absolute,
        FieldKind::ContentLength | FieldKind::TransferEncoding => {
            keep_framing(head.bytes, field, &mut rewritten)
        }
        FieldKind::TraceParent | FieldKind::TraceState => true,
        FieldKind::Date | FieldKind::Other => {
            !(head.nominates && is_nominated(head.bytes, head.fields, field.name(head.bytes)))
        }
        FieldKind::HopLimit => head.hops_left.is_none(),
        // An expectation in HTTP/1.0 means nothing, and the backend is asked in HTTP/1.1.
        FieldKind::Expect => head.version == Version::Http11,
        FieldKind::Connection
        | FieldKind::Upgrade
        | FieldKind::HopByHop
        | FieldKind::Provenance => false,
    });
    write_framing(head.bytes, rewritten, out);
    if let Some(hops) = head.hops_left {
        // Writing to a Vec does not fail.
        let _ = write!(out, "Max-Forwards: {}\r\n", hops.saturating_sub(1));
    }
    if let Some(protocols) = head.upgrade {
        write_field(out, b"Connection", b"upgrade");
        write_field(out, b"Upgrade", protocols);
    }
    believed.write(head, &origin, out);
    write_via(head.version, out);
}

/// How an answer is passed on.
#[derive(Clone, Copy, Debug)]
pub struct Passing {
    /// The client's version.
    pub client: Version,
    /// Whether the client is told that its connection ends with this answer.
    pub closing: Closing,
    /// Whether this is a switch to the protocol that the client asked for.
    pub switching: bool,
    /// The time, for an answer that says none.
    pub date: Option<Date>,
}

/// Writes an answer's head for the client.
pub fn write_response(head: &ResponseHead<'_>, passing: Passing, out: &mut Vec<u8>) {
    // The space after the code is there also where no reason follows (RFC 9112, section 4).
    let space: &[u8] = match head.status_line {
        [_, _, _] => b" ",
        _ => b"",
    };
    for part in [b"HTTP/1.1 ", head.status_line, space, b"\r\n"] {
        out.extend_from_slice(part);
    }
    let has_no_length = matches!(head.status, 100..=199 | 204);
    let decoded = passing.client == Version::Http10;
    let mut rewritten = None;
    copy_fields(head.bytes, head.fields, out, |field| match field.kind {
        FieldKind::ContentLength | FieldKind::TransferEncoding if has_no_length => false,
        FieldKind::TransferEncoding if decoded => false,
        FieldKind::ContentLength | FieldKind::TransferEncoding => {
            keep_framing(head.bytes, field, &mut rewritten)
        }
        FieldKind::Upgrade => passing.switching,
        FieldKind::Connection | FieldKind::HopByHop => false,
        FieldKind::Host
        | FieldKind::Provenance
        | FieldKind::HopLimit
        | FieldKind::Expect
        | FieldKind::Date
        | FieldKind::TraceParent
        | FieldKind::TraceState
        | FieldKind::Other => {
            !(head.nominates && is_nominated(head.bytes, head.fields, field.name(head.bytes)))
        }
    });
    write_framing(head.bytes, rewritten, out);
    if passing.switching {
        write_field(out, b"Connection", b"upgrade");
    } else if head.status >= 200 {
        write_connection(passing.client, passing.closing, out);
    }
    if let Some(date) = passing
        .date
        .filter(|_| !head.has_date && head.status >= 200)
    {
        write_field(out, b"Date", &date);
    }
    write_via(head.version, out);
}

/// Writes the last field, and the empty line.
fn write_via(version: Version, out: &mut Vec<u8>) {
    out.extend_from_slice(match version {
        Version::Http10 => b"Via: 1.0 evenkeel\r\n\r\n",
        Version::Http11 => b"Via: 1.1 evenkeel\r\n\r\n",
    });
}

/// Writes what is not the version's default.
pub fn write_connection(client: Version, closing: Closing, out: &mut Vec<u8>) {
    match (client, closing) {
        (_, Closing::Closes) => write_field(out, b"Connection", b"close"),
        (Version::Http10, Closing::Stays) => write_field(out, b"Connection", b"keep-alive"),
        (Version::Http11, Closing::Stays) => {}
    }
}

/// Writes one field.
pub(super) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Whether a field that says where the message ends is passed on as it came. Not every reader takes a tab
/// for white space or a length with zeros before it for decimal, so any but the plainest form goes to
/// `rewritten`.
fn keep_framing(head: &[u8], field: &FieldSpan, rewritten: &mut Option<FieldSpan>) -> bool {
    let value = field.value(head);
    let value_is_plain = match field.kind {
        FieldKind::ContentLength => value.first() != Some(&b'0') || value.len() == 1,
        _ => value == b"chunked",
    };
    let is_plain = value_is_plain
        && field.value_start == field.name_end + 2
        && head.get(field.name_end as usize + 1) == Some(&b' ')
        && field.value_end + 2 == field.end;
    if !is_plain {
        *rewritten = Some(*field);
    }
    is_plain
}

/// Writes a field that [`keep_framing`] did not keep in its plainest form.
fn write_framing(head: &[u8], field: Option<FieldSpan>, out: &mut Vec<u8>) {
    let Some(field) = field else { return };
    if field.kind == FieldKind::TransferEncoding {
        return write_field(out, b"Transfer-Encoding", b"chunked");
    }
    let mut digits = field.value(head);
    while let [b'0', rest @ ..] = digits
        && !rest.is_empty()
    {
        digits = rest;
    }
    write_field(out, b"Content-Length", digits);
}

/// Copies the lines of the fields that are kept; a run of neighbours in one piece.
fn copy_fields(
    head: &[u8],
    fields: &[FieldSpan],
    out: &mut Vec<u8>,
    mut keep: impl FnMut(&FieldSpan) -> bool,
) {
    let mut run: Option<(u32, u32)> = None;
    let copy = |out: &mut Vec<u8>, run: Option<(u32, u32)>| {
        if let Some((start, end)) = run {
            out.extend_from_slice(head.get(start as usize..end as usize).unwrap_or_default());
        }
    };
    for field in fields {
        if keep(field) {
            let start = run.map_or(field.start, |(start, _)| start);
            run = Some((start, field.end));
        } else {
            copy(out, run.take());
        }
    }
    copy(out, run);
}

/// Whether a `Connection` field names this one.
fn is_nominated(head: &[u8], fields: &[FieldSpan], name: &[u8]) -> bool {
    fields
        .iter()
        .filter(|field| field.kind == FieldKind::Connection)
        .flat_map(|field| list_members(field.value(head)))
        .any(|option| option.eq_ignore_ascii_case(name))
}
