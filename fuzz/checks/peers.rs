//! The same bytes, read by parsers that others wrote: httparse (hyper's) and picohttpparser (h2o's).
//!
//! Both are more lenient than ours in places, so they are asked about what ours accepts: whoever passes a
//! message on must see in it what a stricter or laxer reader behind it will see.

use balancer::http::head::FieldSpan;
use picohttpparser_sys::{
    phr_chunked_decoder, phr_decode_chunked, phr_header, phr_parse_request, phr_parse_response,
};

/// More fields than ours lets pass.
const FIELDS: usize = 256;

/// Asserts that the fields are those that httparse found.
fn same_fields(head: &[u8], ours: &[FieldSpan], theirs: &[httparse::Header<'_>]) {
    assert_eq!(ours.len(), theirs.len(), "httparse counts other fields");
    for (our, their) in ours.iter().zip(theirs) {
        assert_eq!(our.name(head), their.name.as_bytes());
        assert_eq!(our.value(head), their.value.trim_ascii());
    }
}

/// Asserts that the fields are those that picohttpparser found.
fn same_phr_fields(head: &[u8], ours: &[FieldSpan], theirs: &[phr_header]) {
    assert_eq!(
        ours.len(),
        theirs.len(),
        "picohttpparser counts other fields"
    );
    for (our, their) in ours.iter().zip(theirs) {
        // SAFETY: both point into `head`, which is alive, as the parser promises.
        let (name, value) = unsafe {
            assert!(!their.name.is_null(), "picohttpparser sees a folded line");
            (
                std::slice::from_raw_parts(their.name.cast::<u8>(), their.name_len),
                std::slice::from_raw_parts(their.value.cast::<u8>(), their.value_len),
            )
        };
        assert_eq!(our.name(head), name);
        assert_eq!(our.value(head), value.trim_ascii());
    }
}

/// Asserts that both read a request's head as ours did. Returns the target as it was written.
pub fn agree_on_request<'a>(head: &'a [u8], method: &[u8], ours: &[FieldSpan]) -> &'a [u8] {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request
        .parse(head)
        .expect("httparse refuses what ours accepts");
    assert_eq!(parsed, httparse::Status::Complete(head.len()));
    assert_eq!(request.method.map(str::as_bytes), Some(method));
    same_fields(head, ours, request.headers);
    let target = request
        .path
        .expect("a whole request has a target")
        .as_bytes();

    let (mut name, mut name_len) = (std::ptr::null(), 0);
    let (mut path, mut path_len) = (std::ptr::null(), 0);
    let (mut minor, mut count) = (0, FIELDS);
    let mut found = [phr_header::default(); FIELDS];
    // SAFETY: all pointers are to live values of the sizes that are given.
    let length = unsafe {
        phr_parse_request(
            head.as_ptr().cast(),
            head.len(),
            &raw mut name,
            &raw mut name_len,
            &raw mut path,
            &raw mut path_len,
            &raw mut minor,
            found.as_mut_ptr(),
            &raw mut count,
            0,
        )
    };
    assert_eq!(
        usize::try_from(length),
        Ok(head.len()),
        "picohttpparser says {length}"
    );
    // SAFETY: the parser succeeded, so both point into `head`.
    let (name, path) = unsafe {
        (
            std::slice::from_raw_parts(name.cast::<u8>(), name_len),
            std::slice::from_raw_parts(path.cast::<u8>(), path_len),
        )
    };
    assert_eq!((name, path), (method, target));
    assert_eq!(Some(minor), request.version.map(i32::from));
    same_phr_fields(head, ours, &found[..count]);
    target
}

/// Asserts that both read an answer's head as ours did.
pub fn agree_on_response(head: &[u8], status: u16, ours: &[FieldSpan]) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response
        .parse(head)
        .expect("httparse refuses what ours accepts");
    assert_eq!(parsed, httparse::Status::Complete(head.len()));
    assert_eq!(response.code, Some(status));
    same_fields(head, ours, response.headers);

    let (mut minor, mut code, mut count) = (0, 0, FIELDS);
    let (mut text, mut text_len) = (std::ptr::null(), 0);
    let mut found = [phr_header::default(); FIELDS];
    // SAFETY: all pointers are to live values of the sizes that are given.
    let length = unsafe {
        phr_parse_response(
            head.as_ptr().cast(),
            head.len(),
            &raw mut minor,
            &raw mut code,
            &raw mut text,
            &raw mut text_len,
            found.as_mut_ptr(),
            &raw mut count,
            0,
        )
    };
    assert_eq!(
        usize::try_from(length),
        Ok(head.len()),
        "picohttpparser says {length}"
    );
    assert_eq!(code, i32::from(status));
    same_phr_fields(head, ours, &found[..count]);
}

/// What picohttpparser takes a chunked body for: its data, and how many bytes come after it. Nothing when
/// it is malformed or not whole.
pub fn decode_chunked(body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut data = body.to_vec();
    let mut length = data.len();
    // SAFETY: all zeros is how the parser says that a decoder begins.
    let mut decoder: phr_chunked_decoder = unsafe { std::mem::zeroed() };
    decoder.consume_trailer = 1;
    // SAFETY: `data` has `length` bytes, and is decoded in place.
    let left =
        unsafe { phr_decode_chunked(&raw mut decoder, data.as_mut_ptr().cast(), &raw mut length) };
    let left = usize::try_from(left).ok()?;
    data.truncate(length);
    Some((data, left))
}
