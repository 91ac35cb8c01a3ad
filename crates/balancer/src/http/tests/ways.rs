//! What backends are told of a request's way, and what clients are told of the time.

use super::{GET, GET_10, exchange, origin, sent_on_from};
use crate::http::date::Date;
use crate::http::exchange::{Closing, Moment};
use crate::http::provenance::{Origin, RequestId, hex_id};
use crate::http::reply::{Reason, Recipient, write_reply};

const FRESH: &str = "00000000000000010000000000000002";

/// What is sent on after the fields that are none of this, for a request with these.
fn told(fields: &str, change: impl FnOnce(&mut Origin<'static>)) -> String {
    let mut origin = origin();
    change(&mut origin);
    let sent = sent_on_from(
        &format!("GET / HTTP/1.1\r\nHost: a:80\r\n{fields}\r\n"),
        origin,
    );
    let sent = sent
        .strip_prefix("GET / HTTP/1.1\r\nHost: a:80\r\n")
        .unwrap();
    sent.strip_suffix("Via: 1.1 evenkeel\r\n\r\n")
        .unwrap()
        .to_owned()
}

fn trusting(origin: &mut Origin<'static>) {
    origin.trusted = true;
}

fn with_id(origin: &mut Origin<'static>) {
    origin.id = Some(RequestId {
        name: b"X-Request-ID",
        fresh: hex_id([1, 2]),
    });
}

const OWN: &str =
    "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:80\r\n";

#[test]
fn a_proxy_that_is_trusted_is_believed_and_added_to() {
    let cases = [
        ("", OWN),
        (
            "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\n",
            "X-Forwarded-For: 1.2.3.4, 10.0.0.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\n",
        ),
        (
            "x-forwarded-for: 1.2.3.4, 5.6.7.8\r\nX-Forwarded-For:\r\nX-FORWARDED-FOR: 9.9.9.9\r\n",
            "X-Forwarded-For: 1.2.3.4, 5.6.7.8, 9.9.9.9, 10.0.0.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:80\r\n",
        ),
        // The nearest proxy is the one that is trusted.
        (
            "X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n",
            "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a:80\r\n",
        ),
        (
            "X-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /p\r\n",
            &format!("X-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /p\r\n{OWN}"),
        ),
        (
            "X-Real-IP: 1.2.3.4\r\n",
            &format!("X-Real-IP: 1.2.3.4\r\n{OWN}"),
        ),
        // A twin is no field of the proxy's.
        ("X_Forwarded_For: 6.6.6.6\r\n", OWN),
        (
            "Forwarded: for=1.2.3.4;proto=https\r\n",
            &format!(
                "{OWN}Forwarded: for=1.2.3.4;proto=https, for=10.0.0.9;host=\"a:80\";proto=http\r\n"
            ),
        ),
    ];
    for (fields, expected) in cases {
        assert_eq!(told(fields, trusting), expected, "{fields}");
    }
}

#[test]
fn anybody_else_is_replaced() {
    let claims = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
        X-Forwarded-Port: 1\r\nX_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
        X-Real-IP: 6.6.6.6\r\nTrue-Client-Ip: 6.6.6.6\r\nx_real_ip: 6.6.6.6\r\n";
    assert_eq!(told(claims, |_| {}), OWN);
    assert_eq!(
        told(claims, |origin| origin.forwarded = true),
        format!("{OWN}Forwarded: for=10.0.0.9;host=\"a:80\";proto=http\r\n")
    );
}

#[test]
fn a_request_has_one_id() {
    let own = format!("{OWN}X-Request-ID: {FRESH}\r\n");
    for fields in [
        "",
        "X-Request-ID: theirs\r\n",
        "x-request-id: theirs\r\nX_Request_Id: theirs\r\n",
    ] {
        assert_eq!(told(fields, with_id), own, "{fields}");
    }
    let trusted = |origin: &mut Origin<'static>| {
        trusting(origin);
        with_id(origin);
    };
    let long = format!("X-Request-ID: {}\r\n", "a".repeat(129));
    for fields in [
        "",
        "X-Request-ID:\r\n",
        "X-Request-ID: a b\r\n",
        "X-Request-ID: a\u{e9}\r\n",
        "X-Request-ID: \"a\"\r\n",
        "X-Request-ID: a\r\nX-Request-ID: b\r\n",
        "X-Request-ID: a\r\nX_Request_ID: b\r\n",
        &long,
    ] {
        assert_eq!(told(fields, trusted), own, "{fields}");
    }
    for fields in ["X-Request-ID: theirs-1/2\r\n", "x-request-id: 0:a=b@c\r\n"] {
        assert_eq!(told(fields, trusted), format!("{fields}{OWN}"), "{fields}");
    }
    // Without the setting it is a field like any other.
    assert_eq!(
        told("X-Request-ID: x\r\n", |_| {}),
        format!("X-Request-ID: x\r\n{OWN}")
    );
}

#[test]
fn a_request_without_a_host_is_told_to_have_come_for_the_balancers_own() {
    let sent = sent_on_from(GET_10, origin());
    assert!(
        sent.contains("\r\nX-Forwarded-Host: 10.200.0.5:80\r\n"),
        "{sent}"
    );
}

/// What the client gets of an answer.
fn passed(answer: &str) -> String {
    let moment = Moment {
        leaving: false,
        date: Some(Date::from_unix(784_111_777)),
    };
    let (mut out, mut input) = (Vec::new(), answer.as_bytes().to_vec());
    exchange(GET)
        .take_answer(&mut input, moment, &mut Vec::new(), &mut out)
        .unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_answer_has_one_date() {
    const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let without = passed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(without.matches(DATE).count(), 1, "{without}");
    let with = passed("HTTP/1.1 200 OK\r\ndate: then\r\nContent-Length: 0\r\n\r\n");
    assert!(
        with.contains("date: then\r\n") && !with.contains(DATE),
        "{with}"
    );
    let interim = passed("HTTP/1.1 103 Early\r\n\r\n");
    assert!(!interim.contains(DATE), "{interim}");
    let mut own = Vec::new();
    let to = Recipient {
        closing: Closing::Stays,
        ..Recipient::UNKNOWN
    };
    write_reply(Reason::LastHop, to, Date::from_unix(784_111_777), &mut own);
    assert!(String::from_utf8(own).unwrap().contains(DATE));
}
