//! Malformed requests behind sound ones. The table of all that is refused is in `tests/attacks`.

use crate::support::{Client, Host, Origin, eventually, http_config, in_namespace};

#[test]
fn what_is_malformed_after_a_sound_request_is_refused_after_its_answer() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost : a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.reply(false).unwrap().status, 200);
        assert_eq!(client.reply(false).unwrap().status, 400);
        assert_eq!(client.rest().as_deref(), Some(&b""[..]));
        let seen = String::from_utf8(origin.bytes()).unwrap();
        assert!(
            seen.contains("/1") && !seen.contains("/2") && !seen.contains("/3"),
            "{seen}"
        );
    });
}

#[test]
fn a_chunk_that_turns_out_malformed_ends_both_connections() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
        eventually("the origin has the chunk", || {
            origin.bytes().ends_with(b"1\r\na\r\n").then_some(())
        });
        client.send("x\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.reply(false).unwrap().status, 400);
        assert!(origin.bytes().ends_with(b"1\r\na\r\n"));
        assert_eq!(origin.requests(), 0);
    });
}
