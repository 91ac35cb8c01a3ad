//! Requests that are sound, and that a careless reader would cut apart or join.

/// Requests that one client sends at once.
pub struct Tricky {
    /// What is tricky.
    pub what: &'static str,
    /// The bytes, with `TARGET` where a target stands that is the case's own.
    pub bytes: String,
    /// Each request that they are: its method and body.
    pub requests: Vec<(&'static str, &'static str)>,
}

/// All cases.
pub fn cases() -> Vec<Tricky> {
    [bodies(), codings(), names(), requests(), expectations()]
        .into_iter()
        .flatten()
        .collect()
}

/// One POST with these fields and then these bytes.
fn post(what: &'static str, fields: &str, rest: &str, body: &'static str) -> Tricky {
    one(
        what,
        format!("POST TARGET HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{rest}"),
        ("POST", body),
    )
}

fn chunked(what: &'static str, chunks: &str, body: &'static str) -> Tricky {
    post(what, "Transfer-Encoding: chunked", chunks, body)
}

fn one(what: &'static str, bytes: String, request: (&'static str, &'static str)) -> Tricky {
    let requests = vec![request];
    Tricky {
        what,
        bytes,
        requests,
    }
}

fn bodies() -> Vec<Tricky> {
    vec![
        post(
            "a body that looks like a chunk",
            "Content-Length: 5",
            "0\n\n0\n",
            "0\n\n0\n",
        ),
        post(
            "a body that looks like a request",
            "Content-Length: 35",
            "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        post(
            "a length with zeros before it",
            "Content-Length: 0000012",
            "twelve bytes",
            "twelve bytes",
        ),
        post(
            "a length that would be octal",
            "Content-Length: 010",
            "ten bytes.",
            "ten bytes.",
        ),
        post(
            "a length amid white space",
            "Content-Length: \t 3 \t",
            "abc",
            "abc",
        ),
        post(
            "a length without white space",
            "cONTENT-lENGTH:3",
            "abc",
            "abc",
        ),
        post("a length of nothing", "Content-Length: 0", "", ""),
        post("neither length nor chunks", "X: y", "", ""),
    ]
}

fn codings() -> Vec<Tricky> {
    vec![
        chunked("one chunk", "3\r\nabc\r\n0\r\n\r\n", "abc"),
        chunked("no chunk", "0\r\n\r\n", ""),
        chunked(
            "a size with zeros before it",
            "003\r\nabc\r\n000\r\n\r\n",
            "abc",
        ),
        chunked(
            "a size in capitals",
            "A\r\nten bytes.\r\n0\r\n\r\n",
            "ten bytes.",
        ),
        chunked(
            "chunks of one byte",
            "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n",
            "abc",
        ),
        chunked(
            "a chunk that looks like an end",
            "7\r\n0\n\n0\n\n0\r\n0\r\n\r\n",
            "0\n\n0\n\n0",
        ),
        chunked("an extension", "3;a=b\r\nabc\r\n0\r\n\r\n", "abc"),
        chunked(
            "an extension on the last chunk",
            "3\r\nabc\r\n0;a=b\r\n\r\n",
            "abc",
        ),
        chunked(
            "a quoted extension",
            "3;a=\"0; \\\"b\"\r\nabc\r\n0\r\n\r\n",
            "abc",
        ),
        chunked(
            "an extension amid white space",
            "3 ; a = b\r\nabc\r\n0\r\n\r\n",
            "abc",
        ),
        chunked("a trailer", "3\r\nabc\r\n0\r\nX: y\r\n\r\n", "abc"),
        chunked(
            "a trailer with another length",
            "3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n",
            "abc",
        ),
        chunked(
            "a trailer with another coding",
            "3\r\nabc\r\n0\r\nTransfer-Encoding: gzip\r\nHost: b\r\n\r\n",
            "abc",
        ),
        post(
            "a coding in capitals",
            "TRANSFER-ENCODING: CHUNKED",
            "3\r\nabc\r\n0\r\n\r\n",
            "abc",
        ),
        post(
            "a coding amid white space",
            "Transfer-Encoding: \t chunked \t",
            "3\r\nabc\r\n0\r\n\r\n",
            "abc",
        ),
    ]
}

fn names() -> Vec<Tricky> {
    let twins = "a length's twin with an underscore";
    vec![
        post(
            twins,
            "Content_Length: 50\r\nContent-Length: 3",
            "abc",
            "abc",
        ),
        post(
            "a coding's twin with an underscore",
            "Transfer_Encoding: chunked\r\nContent-Length: 3",
            "abc",
            "abc",
        ),
        post(
            "Connection that names the coding",
            "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
            "3\r\nabc\r\n0\r\n\r\n",
            "abc",
        ),
        post(
            "Connection that names length and host",
            "Connection: Content-Length, Host, X\r\nContent-Length: 3\r\nX: y",
            "abc",
            "abc",
        ),
        post(
            "fields for one hop",
            "Keep-Alive: timeout=1\r\nTE: trailers\r\nTrailer: X\r\nProxy-Connection: close\r\nContent-Length: 3",
            "abc",
            "abc",
        ),
        post(
            "a value with bytes of 0x80 and above",
            "X: \u{e9}\tz\r\nContent-Length: 3",
            "abc",
            "abc",
        ),
        post(
            "a value with a length in it",
            "X: Content-Length: 9\r\nContent-Length: 3",
            "abc",
            "abc",
        ),
        post(
            "claims of another origin",
            "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded-Host: 6.6.6.6\r\nContent-Length: 3",
            "abc",
            "abc",
        ),
    ]
}

fn requests() -> Vec<Tricky> {
    let get = |what, bytes: &str, body| one(what, bytes.to_owned(), ("GET", body));
    vec![
        get("an empty line before", "\r\nGET TARGET HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        get("an absolute target", "GET http://bTARGET HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        get("an absolute target in capitals", "GET HTTP://ATARGET HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        get("HTTP/1.0 that stays", "GET TARGET HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ""),
        get("an upgrade to HTTP/2", "GET TARGET HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", ""),
        get("an upgrade that nobody follows", "GET TARGET HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", ""),
        get("a GET with a body", "GET TARGET HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        get("a GET with chunks", "GET TARGET HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
        one("a PUT", "PUT TARGET HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_owned(), ("PUT", "abc")),
        one("a DELETE with a body", "DELETE TARGET HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_owned(), ("DELETE", "abc")),
        one("a HEAD with a body", "HEAD TARGET HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_owned(), ("HEAD", "")),
        Tricky {
            what: "requests at once",
            bytes: "POST TARGET/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                    POST TARGET/2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n\
                    POST TARGET/3 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n\
                    POST TARGET/4 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nghi"
                .to_owned(),
            requests: vec![("POST", "abc"), ("POST", "def"), ("POST", ""), ("POST", "ghi")],
        },
    ]
}

fn expectations() -> Vec<Tricky> {
    vec![
        post(
            "a body that does not wait",
            "Expect: 100-continue\r\nContent-Length: 3",
            "abc",
            "abc",
        ),
        post(
            "chunks that do not wait",
            "Expect: 100-Continue\r\nTransfer-Encoding: chunked",
            "3\r\nabc\r\n0\r\n\r\n",
            "abc",
        ),
        post(
            "an expectation without a body",
            "Expect: 100-continue\r\nContent-Length: 0",
            "",
            "",
        ),
    ]
}
