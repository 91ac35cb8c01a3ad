//! Answers: at every split point, of every kind, and what becomes of the connections after them.

use super::{GET, GET_10, HEAD, answer_in_pieces, exchange};
use crate::http::exchange::{Closing, End, Moment, Sent};

/// What the client gets of an answer, whether it is whole, whether each connection stays.
type Outcome = (String, bool, Closing, bool);

fn outcome(request: &str, pieces: &[&[u8]]) -> Outcome {
    let mut exchange = exchange(request);
    let client = answer_in_pieces(&mut exchange, pieces).unwrap();
    (
        String::from_utf8(client).unwrap(),
        exchange.answer_is_whole(),
        exchange.closing(),
        exchange.backend_may_stay(),
    )
}

#[test]
fn an_answer_cut_anywhere_is_the_same_answer() {
    let answers: &[(&str, &str)] = &[
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        (
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;e\r\nhi\r\n0\r\nT: u\r\n\r\n",
        ),
        (
            GET,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nX: y\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
        ),
        (HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (
            GET_10,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ),
        (GET, "HTTP/1.1 304\r\nContent-Length: 5\r\n\r\n"),
        (GET, "HTTP/1.0 200 OK\r\n\r\nall of this until the end"),
    ];
    for (request, answer) in answers {
        let answer = answer.as_bytes();
        let whole = outcome(request, &[answer]);
        for cut in 0..answer.len() {
            let cut_up = outcome(request, &[&answer[..cut], &answer[cut..]]);
            assert_eq!(cut_up, whole, "cut at {cut}");
        }
        let bytes: Vec<_> = answer.chunks(1).collect();
        assert_eq!(outcome(request, &bytes), whole);
    }
}

#[test]
fn each_kind_of_answer_ends_where_it_should_and_keeps_what_may_be_kept() {
    use Closing::{Closes, Stays};
    let cases: &[(&str, &str, bool, Closing, bool)] = &[
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            true,
            Stays,
            true,
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
            false,
            Stays,
            false,
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na",
            true,
            Stays,
            false,
        ),
        (
            GET,
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
            true,
            Stays,
            false,
        ),
        (GET, "HTTP/1.1 200 OK\r\n\r\nabc", false, Closes, false),
        (
            GET,
            "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
            true,
            Stays,
            false,
        ),
        (
            GET,
            "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
            true,
            Stays,
            true,
        ),
        (
            HEAD,
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            true,
            Stays,
            true,
        ),
        (
            HEAD,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            true,
            Stays,
            true,
        ),
        (HEAD, "HTTP/1.1 200 OK\r\n\r\n", true, Stays, true),
        (
            GET_10,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            true,
            Closes,
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
            true,
            Closes,
            false,
        ),
    ];
    for (request, answer, whole, closing, stays) in cases {
        let (_, w, c, s) = outcome(request, &[answer.as_bytes()]);
        assert_eq!((w, c, s), (*whole, *closing, *stays), "{request} {answer}");
    }
}

#[test]
fn bytes_after_an_answer_are_none_of_it() {
    let mut exchange = exchange(GET);
    let mut input =
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n".to_vec();
    let step = exchange
        .take_answer(
            &mut input,
            Moment::default(),
            &mut Vec::new(),
            &mut Vec::new(),
        )
        .unwrap();
    assert!(exchange.answer_is_whole());
    assert_eq!(&input[step.body], b"hi");
    assert_eq!(&input[step.consumed..], b"HTTP/1.1 200 OK\r\n\r\n");
}

#[test]
fn an_ambiguous_answer_is_refused_before_any_of_it_is_passed_on() {
    let answers: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    ];
    for answer in answers {
        let mut out = Vec::new();
        let took = exchange(GET).take_answer(
            &mut answer.to_vec(),
            Moment::default(),
            &mut Vec::new(),
            &mut out,
        );
        assert!(
            took.is_err() && out.is_empty(),
            "{:?}",
            String::from_utf8_lossy(answer)
        );
    }
}

#[test]
fn a_tunnel_begins_only_with_the_101_that_was_asked_for() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x00raw";
    let mut switched = exchange(request);
    let client = answer_in_pieces(&mut switched, &[answer]).unwrap();
    assert!(switched.is_tunnel() && client.ends_with(b"\r\n\r\n\x00raw"));
    assert!(client.windows(18).any(|w| w == b"Upgrade: websocket"));
    let mut declined = exchange(request);
    answer_in_pieces(
        &mut declined,
        &[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
    )
    .unwrap();
    assert!(!declined.is_tunnel() && declined.answer_is_whole());
}

#[test]
fn the_backends_end_is_the_answers_end_only_without_a_length() {
    let end_after = |answer: &[u8]| {
        let mut exchange = exchange(GET);
        answer_in_pieces(&mut exchange, &[answer]).unwrap();
        exchange.take_end()
    };
    assert_eq!(end_after(b""), End::Unanswered);
    assert_eq!(end_after(b"HTTP/1.1 200"), End::Unanswered);
    assert_eq!(end_after(b"HTTP/1.1 100 Continue\r\n\r\n"), End::Unanswered);
    assert_eq!(end_after(b"HTTP/1.1 200 OK\r\n\r\nabc"), End::Whole);
    assert_eq!(
        end_after(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"),
        End::CutOff
    );
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    assert_eq!(end_after(chunked), End::CutOff);
}

#[test]
fn a_request_is_repeated_only_when_that_is_safe() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
    for (request, sent, may) in [
        (GET, Sent::Nothing, true),
        (GET, Sent::Held, true),
        (GET, Sent::Gone, false),
        (post, Sent::Nothing, true),
        (post, Sent::Held, false),
        (post, Sent::Gone, false),
    ] {
        let head = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        for cut in 0..=head.len() {
            let mut exchange = exchange(request);
            answer_in_pieces(&mut exchange, &[&head[..cut]]).unwrap();
            let is_final = cut == head.len();
            assert_eq!(
                exchange.may_repeat(sent),
                may && !is_final,
                "{request} {sent:?} after {cut} bytes"
            );
        }
    }
}

#[test]
fn a_repeated_request_gets_its_answer_as_if_there_had_been_no_other() {
    let answer = &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"[..];
    let expected = outcome(GET, &[answer]);
    let head = answer.len() - 3;
    for cut in 0..head {
        let mut exchange = exchange(GET);
        let nothing = answer_in_pieces(&mut exchange, &[&answer[..cut]]).unwrap();
        assert_eq!(
            (exchange.take_end(), nothing),
            (End::Unanswered, Vec::new())
        );
        exchange.forget_answer();
        assert!(!exchange.answer_has_begun());
        let client = answer_in_pieces(&mut exchange, &[answer]).unwrap();
        assert_eq!(
            (
                String::from_utf8(client).unwrap(),
                exchange.answer_is_whole(),
                exchange.closing(),
                exchange.backend_may_stay()
            ),
            expected
        );
    }
}

#[test]
fn interim_answers_have_to_come_to_an_end() {
    let (hint, fine) = (
        "HTTP/1.1 103 Early Hints\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    );
    for (hints, is_sound) in [(100, true), (101, false)] {
        let mut input = (hint.repeat(hints) + fine).into_bytes();
        let (mut fields, mut out) = (Vec::new(), Vec::new());
        let step = exchange(GET).take_answer(&mut input, Moment::default(), &mut fields, &mut out);
        assert_eq!(step.is_ok(), is_sound, "{hints}");
    }
}
