//! What HTTP itself can get wrong, and what pages in a browser may not do.

use serde_json::Value;

use crate::support::Door;

const READ: &str = r#"{"action":"info","type":"project"}"#;

fn with_length(body: &str, head: &str) -> String {
    format!("Content-Length: {}\r\n{head}", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_json_those_about_http_itself_too() {
    let door = Door::open().await;
    let cases = [
        ("PUT / HTTP/1.1", READ, 405, "method-not-allowed"),
        ("DELETE / HTTP/1.1", "", 405, "method-not-allowed"),
        ("GET /nowhere HTTP/1.1", "", 404, "no-such-path"),
        ("GET / HTTP/1.1", "", 400, "bad-json"),
        ("GET /?x=1 HTTP/1.1", "", 400, "unknown-field"),
        (
            "GET /?request={}&request={} HTTP/1.1",
            "",
            400,
            "unknown-field",
        ),
        ("GET /?request={} HTTP/1.1", READ, 400, "conflicting-fields"),
        ("GET /?request=%7B%7D HTTP/1.1", "", 400, "missing-field"),
        ("POST /healthz HTTP/1.1", "", 405, "method-not-allowed"),
    ];
    for (line, body, expected, code) in cases {
        let (status, head, answer) = door
            .send(line, &with_length(body, ""), body.as_bytes())
            .await;
        let answer: Value = serde_json::from_str(&answer)
            .unwrap_or_else(|error| panic!("{line}: {error}: {answer}"));
        assert_eq!(
            (status, answer["info"]["code"].as_str()),
            (expected, Some(code)),
            "{line}"
        );
        assert!(
            head.contains("content-type: application/json"),
            "{line}: {head}"
        );
        assert_eq!(status == 405, head.contains("allow: get, post"), "{line}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beyond_the_bound_is_refused_whether_it_says_its_length_or_not() {
    let door = Door::open().await;
    let large = " ".repeat(model::forms::MAX_REQUEST_BYTES + 1);
    let (status, answer) = door.ask_text(large.as_bytes()).await;
    assert_eq!(
        (status, answer["info"]["code"].as_str()),
        (413, Some("too-large"))
    );
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let (status, _, answer) = door
        .send(
            "POST / HTTP/1.1",
            "Transfer-Encoding: chunked\r\n",
            chunked.as_bytes(),
        )
        .await;
    assert_eq!(status, 413, "{answer}");
    let (status, ..) = door
        .send(
            "GET / HTTP/1.1",
            &format!("X: {}\r\n", "x".repeat(1_000_000)),
            b"",
        )
        .await;
    assert_eq!(status, 431);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_are_kept_out() {
    let door = Door::open().await;
    let own = format!("Host: {}\r\n", door.address);
    let cases = [
        (own.clone(), 200),
        ("Host: localhost:7070\r\n".into(), 200),
        ("Host: rebound.example\r\n".into(), 403),
        (format!("{own}Origin: http://evil.example\r\n"), 403),
        (format!("{own}Origin: null\r\n"), 403),
        (format!("{own}Origin: http://{}\r\n", door.address), 200),
        (format!("{own}Sec-Fetch-Site: cross-site\r\n"), 403),
        (format!("{own}Sec-Fetch-Site: same-origin\r\n"), 200),
    ];
    for (head, expected) in cases {
        let (status, _, answer) = door
            .send(
                "POST / HTTP/1.1",
                &with_length(READ, &head),
                READ.as_bytes(),
            )
            .await;
        assert_eq!(status, expected, "{head}{answer}");
    }
    door.close().await;
}
