//! What is sent on of a head, to the letter.

use super::{GET, GET_10, answer_in_pieces, exchange, sent_on};

const TAIL: &str = "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.1 evenkeel\r\n\r\n";

#[test]
fn a_request_is_sent_on_without_what_was_meant_for_this_hop() {
    let request = "GET /p HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nConnection: X-Mine, close, Host\r\n\
        X-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: T\r\nProxy-Authorization: b\r\n\
        Proxy-Connection: c\r\nUpgrade: d\r\nCookie: e\r\nUser-Agent: f\r\n\r\n";
    assert_eq!(
        sent_on(request),
        format!(
            "GET /p HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nCookie: e\r\nUser-Agent: f\r\n{TAIL}"
        )
    );
}

#[test]
fn what_a_client_says_of_where_it_comes_from_is_replaced() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
        X_Forwarded_For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nVia: 1.1 cache\r\n\r\n";
    assert_eq!(
        sent_on(request),
        format!("GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 cache\r\n{TAIL}")
    );
}

#[test]
fn framing_is_sent_on_in_its_plainest_form() {
    for (field, sent) in [
        ("content-length: 12", "content-length: 12"),
        ("Content-Length: 0", "Content-Length: 0"),
        ("Content-Length:12", "Content-Length: 12"),
        ("Content-Length:\t12", "Content-Length: 12"),
        ("Content-Length:  12", "Content-Length: 12"),
        ("Content-Length: 12\t", "Content-Length: 12"),
        ("Content-Length: 0012", "Content-Length: 12"),
        ("Content-Length: 00", "Content-Length: 0"),
        ("transfer-encoding: chunked", "transfer-encoding: chunked"),
        ("Transfer-Encoding: CHUNKED", "Transfer-Encoding: chunked"),
        (
            "Transfer-Encoding: \t chunked \t",
            "Transfer-Encoding: chunked",
        ),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        let expected = format!("POST / HTTP/1.1\r\nHost: a\r\n{sent}\r\n{TAIL}");
        assert_eq!(sent_on(&request), expected, "{field}");
    }
}

#[test]
fn framing_is_sent_on_even_when_connection_names_it() {
    let request =
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(
        sent_on(request),
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n{TAIL}")
    );
}

#[test]
fn a_trace_is_sent_on_as_it_came_whatever_it_says_and_whoever_names_it() {
    let valid = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    for (connection, trace) in [
        ("", format!("{valid}tracestate: a=1,b@c=2\r\n")),
        (
            "",
            format!("tracestate: b=2\r\n{valid}TraceState:  c=3 \r\n"),
        ),
        ("", "Traceparent: nonsense\r\n".to_owned()),
        ("", format!("{valid}{valid}")),
        ("Connection: traceparent\r\n", valid.to_owned()),
        (
            "Connection: close, TRACEPARENT, tracestate\r\n",
            format!("{valid}tracestate: a=1\r\n"),
        ),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{connection}{trace}\r\n");
        let expected = format!("GET / HTTP/1.1\r\nHost: a\r\n{trace}{TAIL}");
        assert_eq!(sent_on(&request), expected, "{connection}{trace}");
    }
}

#[test]
fn a_request_of_http_1_0_is_sent_on_as_1_1_with_a_host() {
    assert_eq!(
        sent_on(GET_10),
        format!(
            "GET / HTTP/1.1\r\nHost: 10.200.0.5:80\r\n{}",
            TAIL.replace("1.1 even", "1.0 even")
                .replace("Host: a", "Host: 10.200.0.5:80")
        )
    );
}

#[test]
fn an_upgrade_is_sent_on_with_its_connection_field() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n";
    assert_eq!(
        sent_on(request),
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{TAIL}")
    );
}

#[test]
fn an_answer_is_passed_on_without_what_was_meant_for_this_hop() {
    let answer = b"HTTP/1.1 200 Fine\r\nServer: s\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\n\
        Keep-Alive: 5\r\nProxy-Authenticate: b\r\nContent-Length: 2\r\nDate: d\r\n\r\nhi";
    let client = answer_in_pieces(&mut exchange(GET), &[answer]).unwrap();
    assert_eq!(
        String::from_utf8(client).unwrap(),
        "HTTP/1.1 200 Fine\r\nServer: s\r\nContent-Length: 2\r\nDate: d\r\nVia: 1.1 evenkeel\r\n\r\nhi"
    );
}

#[test]
fn a_client_of_http_1_0_gets_an_answer_that_it_understands() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n3\r\nyou\r\n0\r\nT: u\r\n\r\n";
    let client = answer_in_pieces(&mut exchange(GET_10), &[chunked]).unwrap();
    assert_eq!(
        String::from_utf8(client).unwrap(),
        "HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.1 evenkeel\r\n\r\nhiyou"
    );
    let request = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let length = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let client = answer_in_pieces(&mut exchange(request), &[length]).unwrap();
    assert_eq!(
        String::from_utf8(client).unwrap(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nVia: 1.1 evenkeel\r\n\r\nhi"
    );
}

#[test]
fn the_host_that_an_absolute_target_names_is_the_only_one_that_is_sent_on() {
    for (request, sent) in [
        (
            "GET http://a:8/p HTTP/1.1\r\nHost: b\r\nAccept: c\r\n\r\n",
            "GET /p HTTP/1.1\r\nHost: a:8\r\nAccept: c\r\n",
        ),
        (
            "GET http://a?q HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET /?q HTTP/1.1\r\nHost: a\r\n",
        ),
        (
            "OPTIONS http://a HTTP/1.1\r\nHost: b\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n",
        ),
        (
            "OPTIONS http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "OPTIONS / HTTP/1.1\r\nHost: a\r\n",
        ),
    ] {
        let host = sent.split("\r\n").nth(1).unwrap();
        let tail = TAIL.replace("Host: a", host);
        assert_eq!(sent_on(request), format!("{sent}{tail}"), "{request}");
    }
}
