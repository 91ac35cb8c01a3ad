//! Answers in every framing, in pieces of every size.

use proptest::prelude::*;

use super::*;

fn expecting(status: &[(u16, u16)], text: Option<&str>) -> Expectation {
    let range = |&(from, to): &(u16, u16)| StatusRange { from, to };
    Expectation {
        status: status.iter().map(range).collect(),
        text: text.map(str::to_owned),
    }
}

/// What a check finds when the answer comes in pieces of so many bytes, and the connection then ends.
fn found(answer: &[u8], piece: usize, expectation: &Expectation) -> Finding {
    let mut reader = Answer::default();
    for piece in answer.chunks(piece) {
        let mut piece = piece.to_vec();
        if let Some(finding) = reader.take(&mut piece, expectation) {
            return finding;
        }
    }
    reader.end()
}

fn words(answer: &str, expectation: &Expectation) -> (bool, String) {
    let at_once = found(answer.as_bytes(), usize::MAX, expectation);
    for piece in [1, 2, 3, 7] {
        let in_pieces = found(answer.as_bytes(), piece, expectation);
        assert_eq!(in_pieces, at_once, "in pieces of {piece}: {answer:?}");
    }
    let expected_text = expectation.text.as_deref();
    (at_once.is_good(), at_once.words(3, 500, expected_text))
}

#[test]
fn an_answer_is_judged_by_its_status_and_its_text_in_every_framing() {
    let any = expecting(&[], None);
    let some = expecting(&[(200, 200), (204, 299)], None);
    let text = expecting(&[], Some("all is well"));
    let cases = [
        ("HTTP/1.1 200 OK\r\n\r\n", &any, true, "200 OK in 3 ms"),
        ("HTTP/1.1 399 \r\n\r\n", &any, true, "399 in 3 ms"),
        ("HTTP/1.1 400 Bad\r\n\r\n", &any, false, "400 Bad"),
        ("HTTP/1.1 299 Odd\r\n\r\n", &some, true, "299 Odd in 3 ms"),
        (
            "HTTP/1.1 302 Found\r\n\r\n",
            &some,
            false,
            "302 Found, where 200, 204-299 is expected",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            &any,
            true,
            "200 OK in 3 ms",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n> all is well!",
            &text,
            true,
            "200 OK in 3 ms",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n> all is well!",
            &text,
            true,
            "200 OK in 3 ms",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n> all is well!",
            &text,
            false,
            "200 OK, but its body does not have \"all is well\" in it",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nall is \r\n4\r\nwell\r\n0\r\n\r\n",
            &text,
            true,
            "200 OK in 3 ms",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnone\r\n0\r\n\r\nall is well",
            &text,
            false,
            "200 OK, but its body does not have \"all is well\" in it",
        ),
        (
            "HTTP/1.0 200 OK\r\n\r\nyes, all is well",
            &text,
            true,
            "200 OK in 3 ms",
        ),
        (
            "HTTP/1.0 200 OK\r\n\r\nall is wel",
            &text,
            false,
            "200 OK, but its body does not have \"all is well\" in it",
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            &text,
            false,
            "204 No Content, but its body does not have \"all is well\" in it",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nall is",
            &text,
            false,
            "connection closed in the middle of the answer",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            &text,
            false,
            "malformed answer",
        ),
        (
            "HTTP/1.1 200 OK\r\n",
            &any,
            false,
            "connection closed without an answer",
        ),
        ("SSH-2.0-OpenSSH\r\n\r\n", &any, false, "malformed answer"),
    ];
    for (answer, expectation, good, expected) in cases {
        let (is_good, found) = words(answer, expectation);
        assert_eq!(is_good, good, "{answer:?}: {found}");
        assert!(found.starts_with(expected), "{answer:?}: {found}");
    }
}

#[test]
fn only_the_first_64_kib_of_a_body_are_looked_at() {
    let expectation = expecting(&[], Some("well"));
    let answer = |before: usize| {
        let mut answer = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
        answer.resize(answer.len() + before, b'.');
        answer.extend_from_slice(b"well");
        answer
    };
    assert!(found(&answer(LOOKED_AT_BYTES - 4), 4096, &expectation).is_good());
    let finding = found(&answer(LOOKED_AT_BYTES - 3), 4096, &expectation);
    assert_eq!(
        finding.words(3, 500, Some("well")),
        "200 OK, but the first 64 KiB of its body do not have \"well\" in them"
    );
}

#[test]
fn a_backend_that_has_only_interim_answers_is_not_listened_to_for_ever() {
    let endless = "HTTP/1.1 102 Wait\r\n\r\n".repeat(100);
    let mut reader = Answer::default();
    let finding = reader.take(&mut endless.into_bytes(), &expecting(&[], None));
    assert!(finding.is_some_and(|finding| !finding.is_good()));
}

proptest! {
    #[test]
    fn pieces_do_not_change_what_is_found(
        body in "[ab]{0,40}",
        text in "[ab]{1,6}",
        piece in 1usize..12,
        is_chunked in any::<bool>(),
    ) {
        let mut answer = String::from("HTTP/1.1 200 OK\r\n");
        match is_chunked {
            false => answer += &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
            true => {
                answer += "Transfer-Encoding: chunked\r\n\r\n";
                for chunk in body.as_bytes().chunks(5) {
                    let chunk = String::from_utf8_lossy(chunk);
                    answer += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
                }
                answer += "0\r\n\r\n";
            }
        }
        let finding = found(answer.as_bytes(), piece, &expecting(&[], Some(&text)));
        prop_assert_eq!(finding.is_good(), body.contains(&text));
    }
}
