//! What is refused, by rule: one row of the table in `docs/explanation/security.md` each, and what breaks the rule.

/// A rule, and requests that break it.
pub struct Rule {
    /// What is refused.
    pub what: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// Why.
    pub why: &'static str,
    /// Each breaks the rule by itself.
    pub requests: Vec<Vec<u8>>,
}

/// All rules, in the order of the table.
pub fn rules() -> Vec<Rule> {
    [
        framing(),
        chunks(),
        lines(),
        fields(),
        first_line(),
        host(),
        sizes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn rule<const N: usize>(
    what: &'static str,
    status: u16,
    why: &'static str,
    requests: [Vec<u8>; N],
) -> Rule {
    let requests = requests.into();
    Rule {
        what,
        status,
        why,
        requests,
    }
}

fn raw(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// A POST with these lines as fields.
fn with(fields: &str) -> Vec<u8> {
    raw(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"))
}

/// A GET with this first line.
fn line(line: &str) -> Vec<u8> {
    raw(&format!("{line}\r\nHost: a\r\n\r\n"))
}

/// A POST with this body, said to be chunked.
fn chunked(body: &str) -> Vec<u8> {
    with("Transfer-Encoding: chunked")
        .into_iter()
        .chain(body.bytes())
        .collect()
}

fn framing() -> Vec<Rule> {
    vec![
        rule(
            "`Content-Length` together with `Transfer-Encoding`",
            400,
            "who ignores the one, and who the other, is each server's own choice",
            [
                with("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
                with("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST"),
                with("Transfer-Encoding: chunked\r\nContent-Length: 0"),
                with("content-length: 6\r\ntRANSFER-eNCODING: CHUNKED"),
                with(
                    "Content-Length: 6\r\nX: y\r\nConnection: Content-Length\r\nTransfer-Encoding: chunked",
                ),
                with(
                    "Content-Length: 6\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
                ),
            ],
        ),
        rule(
            "more than one `Content-Length`, or a list as its value, even of equal numbers",
            400,
            "one server takes the first, another the last",
            [
                with("Content-Length: 3\r\nContent-Length: 0"),
                with("Content-Length: 0\r\nContent-Length: 3"),
                with("Content-Length: 3\r\nContent-Length: 3"),
                with("Content-Length: 3\r\nX: y\r\ncontent-length: 3"),
                with("Content-Length: 5, 5"),
                with("Content-Length: 5, 6"),
                with("Content-Length: 5,"),
                with("Content-Length: ,5"),
            ],
        ),
        rule(
            "a `Content-Length` that is empty, not digits alone, or 2⁶³ or more",
            400,
            "lenient parsers stop at the first other character, take hexadecimal, or overflow",
            [
                with("Content-Length: +3"),
                with("Content-Length: -3"),
                with("Content-Length: 0x3"),
                with("Content-Length: "),
                with("Content-Length:"),
                with("Content-Length: 3 3"),
                with("Content-Length: 3;q"),
                with("Content-Length: \"3\""),
                with("Content-Length: 3.0"),
                with("Content-Length: 1e1"),
                with("Content-Length: 1_0"),
                with("Content-Length: abc"),
                with("Content-Length: \u{ff13}"),
                with("Content-Length: 9223372036854775808"),
                with("Content-Length: 18446744073709551616"),
                with("Content-Length: 99999999999999999999999999"),
            ],
        ),
        rule(
            "a transfer coding other than `chunked`",
            501,
            "the body's end would depend on knowing the coding",
            [
                with("Transfer-Encoding: gzip"),
                with("Transfer-Encoding: gzip, chunked"),
                with("Transfer-Encoding: xchunked"),
                with("Transfer-Encoding: chunkedx"),
                with("Transfer-Encoding: chunk ed"),
                with("Transfer-Encoding: chunked;q=1"),
                with("Transfer-Encoding: \"chunked\""),
                with("Transfer-Encoding: 'chunked'"),
                with("Transfer-Encoding: identity"),
                with("Transfer-Encoding: identity, chunked"),
                with("Transfer-Encoding: \u{a0}chunked"),
            ],
        ),
        rule(
            "`chunked` twice, or not as the only and last coding; an empty `Transfer-Encoding`",
            400,
            "servers differ over which of several they obey",
            [
                with("Transfer-Encoding: chunked, gzip"),
                with("Transfer-Encoding: chunked, identity"),
                with("Transfer-Encoding: chunked, chunked"),
                with("Transfer-Encoding: chunked,"),
                with("Transfer-Encoding: ,chunked"),
                with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
                with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
                with("Transfer-Encoding: chunked\r\nX: y\r\ntransfer-encoding: x"),
                with("Transfer-Encoding:"),
                with("Transfer-Encoding: ,"),
            ],
        ),
        rule(
            "`Transfer-Encoding` in HTTP/1.0",
            400,
            "a server of that version does not know it",
            [
                raw("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                raw(
                    "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
                ),
            ],
        ),
    ]
}

fn chunks() -> Vec<Rule> {
    vec![
        rule(
            "a chunk's size that is not one to fifteen hexadecimal digits",
            400,
            "lenient parsers skip what they do not know, or overflow",
            [
                chunked("\r\n"),
                chunked("x\r\n"),
                chunked("-1\r\na\r\n0\r\n\r\n"),
                chunked("+1\r\na\r\n0\r\n\r\n"),
                chunked("0x1\r\na\r\n0\r\n\r\n"),
                chunked(" 1\r\na\r\n0\r\n\r\n"),
                chunked("1 \r\na\r\n0\r\n\r\n"),
                chunked("1\t\r\na\r\n0\r\n\r\n"),
                chunked("1_0\r\na\r\n0\r\n\r\n"),
                chunked("1h\r\na\r\n0\r\n\r\n"),
                chunked("1\0\r\na\r\n0\r\n\r\n"),
                chunked("1,1\r\na\r\n0\r\n\r\n"),
                chunked("ffffffffffffffff\r\na\r\n"),
                chunked("10000000000000001\r\na\r\n0\r\n\r\n"),
                chunked("0000000000000001\r\na\r\n0\r\n\r\n"),
            ],
        ),
        rule(
            "a chunk, or its size, that does not end in CR LF",
            400,
            "a bare LF or CR is an end to some and data to others",
            [
                chunked("1\na\n0\n\n"),
                chunked("1\na\r\n0\r\n\r\n"),
                chunked("1\ra\r\n0\r\n\r\n"),
                chunked("1\r\r\na\r\n0\r\n\r\n"),
                chunked("1\r\nab\r\n0\r\n\r\n"),
                chunked("1\r\na0\r\n\r\n"),
                chunked("1\r\na\n0\r\n\r\n"),
                chunked("1\r\na\r0\r\n\r\n"),
                chunked("1\r\naXX0\r\n\r\n"),
                chunked("0\r\n\n"),
                chunked("0\n\r\n"),
                chunked("0\r\n\rX"),
            ],
        ),
        rule(
            "a malformed chunk extension, or more than 16 KiB of extensions and trailers in a body",
            400,
            "a line end that hides in one is seen by some parsers alone",
            [
                chunked("1;\r\na\r\n0\r\n\r\n"),
                chunked("1;a\nb\r\na\r\n0\r\n\r\n"),
                chunked("1;\nb\r\na\r\n0\r\n\r\n"),
                chunked("1;a\rb\r\na\r\n0\r\n\r\n"),
                chunked("1;a=\r\na\r\n0\r\n\r\n"),
                chunked("1 a\r\na\r\n0\r\n\r\n"),
                chunked("1;a=\"x\r\na\r\n0\r\n\r\n"),
                chunked("1;a=\"\n\"\r\na\r\n0\r\n\r\n"),
                chunked("1;a\0\r\na\r\n0\r\n\r\n"),
            ],
        ),
        rule(
            "a malformed trailer",
            400,
            "it is read like a field",
            [
                chunked("0\r\nX : y\r\n\r\n"),
                chunked("0\r\n X: y\r\n\r\n"),
                chunked("0\r\nX\r\n\r\n"),
                chunked("0\r\n: y\r\n\r\n"),
                chunked("0\r\nX: y\n\r\n"),
                chunked("0\r\nX: y\n\n"),
                chunked("0\r\nX: \0\r\n\r\n"),
                chunked("0\r\nX: y\r\n folded\r\n\r\n"),
            ],
        ),
    ]
}

fn lines() -> Vec<Rule> {
    vec![
        rule(
            "a line of the head that ends in a bare LF",
            400,
            "to some it is no end",
            [
                raw("GET / HTTP/1.1\nHost: a\n\n"),
                raw("GET / HTTP/1.1\nHost: a\r\n\r\n"),
                raw("GET / HTTP/1.1\r\nHost: a\n\r\n"),
                raw("GET / HTTP/1.1\r\nHost: a\r\n\n"),
                raw("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                with("X: y\nTransfer-Encoding: chunked"),
            ],
        ),
        rule(
            "a bare CR in the head",
            400,
            "to some it is an end",
            [
                raw("GET / HTTP/1.1\rHost: a\r\n\r\n"),
                raw("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
                raw("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
                raw("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                raw("GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n"),
                with("X: y\rTransfer-Encoding: chunked"),
                with("X: y\r\r\nZ: z"),
                with("X\r: y"),
                with("\rTransfer-Encoding: chunked"),
            ],
        ),
        rule(
            "a folded line",
            400,
            "some join it to the line before, others take it for a field",
            [
                with("X: y\r\n folded"),
                with("X: y\r\n\tfolded"),
                with("Transfer-Encoding:\r\n chunked"),
                with("X: y\r\n Transfer-Encoding: chunked"),
                with("X: y\r\n \r\nZ: z"),
                raw("GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n"),
            ],
        ),
        rule(
            "more than one empty line before a request",
            400,
            "one is let pass, as RFC 9112 asks",
            [raw("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")],
        ),
    ]
}

fn fields() -> Vec<Rule> {
    vec![
        rule(
            "white space between a field's name and its colon",
            400,
            "some strip it, to others it is another field",
            [
                with("X : y"),
                with("X\t: y"),
                with("Content-Length : 3"),
                with("Transfer-Encoding : chunked"),
                with("Transfer-Encoding\t: chunked"),
                raw("GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
            ],
        ),
        rule(
            "a field's name that is no token: empty, or with a control, a separator or a byte of 0x80 and above",
            400,
            "some stop at it, some strip it",
            [
                with("X\0: y"),
                with("\0X: y"),
                with("\x0bTransfer-Encoding: chunked"),
                with("X\x7f: y"),
                with("X(y): z"),
                with("\"X\": y"),
                with("X[0]: y"),
                with("X@: y"),
                with("X/: y"),
                with("X y: z"),
                with(": y"),
                with("nothing"),
                with("X\u{e9}: y"),
                with("Transfer-Encoding\u{a0}: chunked"),
            ],
        ),
        rule(
            "NUL or another control in a field's value, the tab excepted",
            400,
            "some stop at it, and logs are fooled by it",
            [
                with("X: y\0z"),
                with("X: \x01"),
                with("X: \x7f"),
                with("X: \x1b[2J"),
                with("Transfer-Encoding: \x0bchunked"),
                with("Transfer-Encoding: chunked\x0c"),
                with("Content-Length: 3\0"),
            ],
        ),
    ]
}

fn first_line() -> Vec<Rule> {
    vec![
        rule(
            "a method that is no token of up to 32 characters",
            400,
            "what is no HTTP is not passed on as if it were",
            [
                line("G\x7fT / HTTP/1.1"),
                line("G@T / HTTP/1.1"),
                line("{}GET / HTTP/1.1"),
                line(" GET / HTTP/1.1"),
                line("\tGET / HTTP/1.1"),
                line(" / HTTP/1.1"),
                line("GET\t/ HTTP/1.1"),
                line("\u{feff}GET / HTTP/1.1"),
                line("\0GET / HTTP/1.1"),
                line(&format!("{} / HTTP/1.1", "A".repeat(33))),
                // A TLS client that speaks to the wrong port.
                raw("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\n\r\n\r\n"),
            ],
        ),
        rule(
            "a PROXY protocol header from anyone not named in the configuration",
            400,
            "anyone could claim any address",
            [
                raw("PROXY TCP4 6.6.6.6 7.7.7.7 1 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                raw("PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                raw(
                    "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x06\x06\x06\x06\x07\x07\x07\x07\0\x01\0\x50GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                ),
            ],
        ),
        rule(
            "a target that is neither a path, nor `*` for `OPTIONS`, nor `http://` with host and path",
            400,
            "servers would not all take it for the same",
            [
                line("GET  / HTTP/1.1"),
                line("GET /\x01 HTTP/1.1"),
                line("GET /\0 HTTP/1.1"),
                line("GET /\t HTTP/1.1"),
                line("GET /\u{e9} HTTP/1.1"),
                line("GET nowhere HTTP/1.1"),
                line("GET a/b HTTP/1.1"),
                line("GET ?q HTTP/1.1"),
                line("GET * HTTP/1.1"),
                line("GET /#fragment HTTP/1.1"),
                line("GET https://a/ HTTP/1.1"),
                line("GET ftp://a/ HTTP/1.1"),
                line("GET http:/a HTTP/1.1"),
                line("GET http:///a HTTP/1.1"),
                line("GET http://user@a/ HTTP/1.1"),
            ],
        ),
        rule(
            "a version that is not written `HTTP/` digit `.` digit, or that is missing (HTTP/0.9)",
            400,
            "a missing or mangled version has been read as HTTP/0.9, which has no framing",
            [
                line("GET /"),
                line("GET / "),
                line("GET / HTTP/1.1 "),
                line("GET / HTTP/1.1 x"),
                line("GET / / HTTP/1.1"),
                line("GET / http/1.1"),
                line("GET / Http/1.1"),
                line("GET / HTTP/1,1"),
                line("GET / HTTP/01.1"),
                line("GET / HTTP/1.10"),
                line("GET / HTTP/ 1.1"),
                line("GET / HTTP /1.1"),
                line("GET / HTTP/1"),
                line("GET / HTTP/1."),
                line("GET / HTTP/1.\u{b9}"),
                line("GET / HTTPS/1.1"),
                line("GET / ICAP/1.0"),
            ],
        ),
        rule(
            "a version other than HTTP/1.0 and HTTP/1.1",
            505,
            "its rules are not known here, and HTTP/2 is not offered in clear text",
            [
                line("GET / HTTP/0.9"),
                line("GET / HTTP/1.2"),
                line("GET / HTTP/1.9"),
                line("GET / HTTP/2.0"),
                line("GET / HTTP/3.0"),
                raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            ],
        ),
        rule(
            "`CONNECT`",
            501,
            "a balancer is no forward proxy",
            [
                raw("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
                raw("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
                raw("CONNECT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
            ],
        ),
    ]
}

fn host() -> Vec<Rule> {
    let named = |hosts: &str| raw(&format!("GET / HTTP/1.1\r\n{hosts}\r\n\r\n"));
    vec![rule(
        "no `Host` in HTTP/1.1, more than one, or one that is no host and port",
        400,
        "caches and servers would each believe another one",
        [
            named("X: y"),
            named("Host: a\r\nHost: b"),
            named("Host: a\r\nHost: a"),
            named("Host: a\r\nX: y\r\nhost: b"),
            named("Host:"),
            named("Host: a b"),
            named("Host: a/b"),
            named("Host: a@b"),
            named("Host: a?b"),
            named("Host: a#b"),
            named("Host: a\\b"),
            named("Host: \u{e9}"),
            named("Host: a:b"),
            named("Host: a:80:80"),
            named("Host: :80"),
            named("Host: [::1"),
            named("Host: [::1]80"),
            raw("GET http://b/ HTTP/1.1\r\n\r\n"),
            raw("GET http://b/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            raw("GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n"),
            raw("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        ],
    )]
}

fn sizes() -> Vec<Rule> {
    vec![
        rule(
            "a first line of more than 8 KiB",
            414,
            "memory is bounded",
            [
                line(&format!("GET /{} HTTP/1.1", "a".repeat(8 << 10))),
                raw(&"A".repeat(20_000)),
            ],
        ),
        rule(
            "a body that is longer than the instance's bound, where it has one",
            413,
            "backends are not filled",
            [
                raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741825\r\n\r\n"),
                raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n"),
            ],
        ),
        rule(
            "a head of more than 32 KiB or 100 fields",
            431,
            "memory is bounded",
            [
                with(&format!("X: {}", "b".repeat(32 << 10))),
                with(&format!("{}: b", "X".repeat(32 << 10))),
                with(["X: y"; 100].join("\r\n").as_str()),
                with(
                    ["X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"; 1_000]
                        .join("\r\n")
                        .as_str(),
                ),
            ],
        ),
    ]
}
