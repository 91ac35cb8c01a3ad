//! Which heads are refused, and what the others mean.

use super::with_head;
use crate::http::head::{FIELDS, FIRST_LINE_BYTES, HEAD_BYTES};
use crate::http::{Framing, Version};

fn status(text: &[u8]) -> Option<u16> {
    with_head(text, |_| ())
        .err()
        .map(|malformed| malformed.status())
}

#[test]
fn every_malformed_head_is_refused_with_its_status() {
    let cases: &[(&[u8], u16)] = &[
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\x80: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x00c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x7fc\r\n\r\n", 400),
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GETGETGETGETGETGETGETGETGETGETGETG / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://b/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://:80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET // HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:-1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1]80\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a[::1]\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a]\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1x\r\nHost: a\r\n\r\n", 400),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", 400),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ];
    for (text, expected) in cases {
        let shown = String::from_utf8_lossy(text);
        assert_eq!(status(text), Some(*expected), "{shown:?}");
    }
}

#[test]
fn what_is_too_large_is_refused_as_such() {
    let long_line = format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
        "a".repeat(FIRST_LINE_BYTES)
    );
    assert_eq!(status(long_line.as_bytes()), Some(414));
    let endless_line = "a".repeat(FIRST_LINE_BYTES + 1);
    assert_eq!(status(endless_line.as_bytes()), Some(414));
    let field = format!("X: {}\r\n", "a".repeat(1000));
    let large = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        field.repeat(HEAD_BYTES / 1000 + 2)
    );
    assert_eq!(status(large.as_bytes()), Some(431));
    let endless = format!(
        "GET / HTTP/1.1\r\n{}",
        "X: y\r\n".repeat(HEAD_BYTES / 6 + 1)
    );
    assert_eq!(status(endless.as_bytes()), Some(431));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(FIELDS)
    );
    assert_eq!(status(many.as_bytes()), Some(431));
}

#[test]
fn a_sound_head_means_what_it_says() {
    type Case<'a> = (&'a str, &'a str, Option<&'a str>, Framing, bool);
    let cases: &[Case<'_>] = &[
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "/",
            Some("a"),
            Framing::Empty,
            true,
        ),
        (
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "/",
            Some("a"),
            Framing::Empty,
            true,
        ),
        (
            "GET /?q={x|y} HTTP/1.1\r\nHost:a:80  \r\n\r\n",
            "/?q={x|y}",
            Some("a:80"),
            Framing::Empty,
            true,
        ),
        (
            "GET / HTTP/1.1\r\nhOST: [::1]:80\r\nConnection: Keep-Alive, CLOSE\r\n\r\n",
            "/",
            Some("[::1]:80"),
            Framing::Empty,
            false,
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "*",
            Some("a"),
            Framing::Empty,
            true,
        ),
        (
            "GET http://A:8/p?q HTTP/1.1\r\nHost: b\r\n\r\n",
            "/p?q",
            Some("A:8"),
            Framing::Empty,
            true,
        ),
        (
            "GET HTTP://a HTTP/1.1\r\nHost: a\r\n\r\n",
            "/",
            Some("a"),
            Framing::Empty,
            true,
        ),
        (
            "GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n",
            "?q",
            Some("a"),
            Framing::Empty,
            true,
        ),
        (
            "OPTIONS http://a:80 HTTP/1.1\r\nHost: b\r\n\r\n",
            "*",
            Some("a:80"),
            Framing::Empty,
            true,
        ),
        (
            "GET http://a/ HTTP/1.0\r\n\r\n",
            "/",
            Some("a"),
            Framing::Empty,
            false,
        ),
        ("GET / HTTP/1.0\r\n\r\n", "/", None, Framing::Empty, false),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "/",
            None,
            Framing::Empty,
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n",
            "/",
            Some("a"),
            Framing::Length(7),
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "/",
            Some("a"),
            Framing::Empty,
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "/",
            Some("a"),
            Framing::Chunked,
            true,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\tb \r\n\r\n",
            "/",
            Some("a"),
            Framing::Empty,
            true,
        ),
    ];
    for (text, target, host, framing, keep_alive) in cases {
        with_head(text.as_bytes(), |head| {
            assert_eq!(head.target, target.as_bytes(), "{text}");
            assert_eq!(head.host, host.map(str::as_bytes), "{text}");
            assert_eq!(head.framing, *framing, "{text}");
            assert_eq!(head.keep_alive, *keep_alive, "{text}");
            assert_eq!(
                head.version == Version::Http10,
                text.contains("HTTP/1.0"),
                "{text}"
            );
        })
        .unwrap();
    }
}

#[test]
fn an_upgrade_is_passed_on_only_when_nothing_else_can_be_meant() {
    let cases = [
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            Some("websocket"),
        ),
        ("Upgrade: websocket\r\n", None),
        ("Connection: Upgrade\r\n", None),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
            None,
        ),
        ("Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n", None),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n",
            None,
        ),
    ];
    for (fields, expected) in cases {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let upgrade = with_head(text.as_bytes(), |head| head.upgrade.map(<[u8]>::to_vec)).unwrap();
        assert_eq!(upgrade.as_deref(), expected.map(str::as_bytes), "{fields}");
    }
}
