//! Headers of both versions: which are refused, which are read, and that any beginning of one waits.

use super::*;
use proptest::prelude::*;

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 56324);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 443);

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [V2_START, &[command, family], &length, block].concat()
}

/// The block of two IPv6 addresses.
fn block6(client: Ipv6Addr) -> Vec<u8> {
    let server = Ipv6Addr::LOCALHOST;
    [&client.octets()[..], &server.octets(), &[0xdc, 4, 1, 0xbb]].concat()
}

const BLOCK4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb];

/// Sound headers, and whose connection each says it is.
fn sound() -> Vec<(Vec<u8>, Option<SocketAddrV4>)> {
    let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
    let with_tlvs = [&BLOCK4[..], &[3, 0, 4, 1, 2, 3, 4], &[4, 0, 0]].concat();
    let longest = [&BLOCK4[..], &vec![0xff; V2_BYTES - V2_FIXED - 12]].concat();
    let unknown = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
        ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!(unknown.len(), V1_BYTES);
    vec![
        (
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n".to_vec(),
            Some(CLIENT),
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.1 ::1 56324 443\r\n".to_vec(),
            Some(CLIENT),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (unknown.into(), None),
        (v2(0x21, 0x11, &BLOCK4), Some(CLIENT)),
        (v2(0x21, 0x11, &with_tlvs), Some(CLIENT)),
        (v2(0x21, 0x11, &longest), Some(CLIENT)),
        (v2(0x21, 0x21, &block6(mapped)), Some(CLIENT)),
        (v2(0x21, 0x00, b""), None),
        (v2(0x20, 0x00, b""), None),
        // Whatever a local connection says of addresses is to be skipped.
        (v2(0x20, 0x11, &BLOCK4), None),
        (v2(0x20, 0xff, b"\x01"), None),
    ]
}

#[test]
fn a_sound_header_is_read_to_its_last_byte_and_no_further() {
    for (header, client) in sound() {
        let expected = Header {
            length: header.len(),
            client,
        };
        let shown = String::from_utf8_lossy(&header).into_owned();
        for rest in [&b""[..], b"G", b"\r\n", b"PROXY UNKNOWN\r\n"] {
            let bytes = [&header[..], rest].concat();
            assert_eq!(parse(&bytes), Ok(Some(expected)), "{shown:?}");
        }
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(None), "{shown:?} cut at {end}");
        }
    }
}

#[test]
fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
    for text in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"p",
        b"PROXy",
        b"PUT / HTTP/1.1\r\n",
        b"\n",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\r\n\r\nGET",
        b" PROXY",
        b"\x16\x03\x01",
    ] {
        let shown = String::from_utf8_lossy(text);
        assert_eq!(parse(text), Err(Refused::Absent), "{shown:?}");
    }
}

#[test]
fn a_malformed_header_is_refused() {
    let lines = [
        "TCP4 192.0.2.1 198.51.100.7 56324 443\n",
        "TCP4 192.0.2.1 198.51.100.7 56324 443\r\r\n",
        "TCP4 192.0.2.1 198.51.100.7 56324 443 \r\n",
        "TCP4 192.0.2.1 198.51.100.7 56324 443 1\r\n",
        "TCP4  192.0.2.1 198.51.100.7 56324 443\r\n",
        "TCP4 192.0.2.1  198.51.100.7 56324 443\r\n",
        "TCP4\t192.0.2.1 198.51.100.7 56324 443\r\n",
        "TCP4 192.0.2.1 198.51.100.7 56324\r\n",
        "TCP4 192.0.2.1 198.51.100.7 56324 65536\r\n",
        "TCP4 192.0.2.1 198.51.100.7 +56324 443\r\n",
        "TCP4 192.0.2.1 198.51.100.7 -1 443\r\n",
        "TCP4 192.0.2.1 198.51.100.7 056324 443\r\n",
        "TCP4 192.0.2.1 198.51.100.7  443\r\n",
        "TCP4 192.0.2.01 198.51.100.7 56324 443\r\n",
        "TCP4 192.0.2.256 198.51.100.7 56324 443\r\n",
        "TCP4 192.0.2.1 ::1 56324 443\r\n",
        "TCP4 ::1 ::1 56324 443\r\n",
        "TCP6 192.0.2.1 198.51.100.7 56324 443\r\n",
        "TCP6 ::ffff:192.0.2.1 ::g 56324 443\r\n",
        "TCP5 192.0.2.1 198.51.100.7 56324 443\r\n",
        "tcp4 192.0.2.1 198.51.100.7 56324 443\r\n",
        "UDP4 192.0.2.1 198.51.100.7 56324 443\r\n",
        "UNKNOWNS\r\n",
        "UNKNOWN\n",
        "\r\n",
        " \r\n",
    ];
    for line in lines {
        let refused = parse(format!("PROXY {line}").as_bytes());
        assert!(
            matches!(refused, Err(Refused::Malformed(_))),
            "{line:?}: {refused:?}"
        );
    }
    let endless = [V1_START, &[b'1'; V1_BYTES]].concat();
    assert_eq!(parse(&endless[..V1_BYTES - 1]), Ok(None));
    assert!(matches!(
        parse(&endless[..V1_BYTES]),
        Err(Refused::Malformed(_))
    ));
    let binary = [
        v2(0x21, 0x11, &BLOCK4[..11]),
        v2(0x21, 0x21, &BLOCK4),
        v2(0x11, 0x11, &BLOCK4),
        v2(0x22, 0x11, &BLOCK4),
        v2(0x2f, 0x11, &BLOCK4),
        v2(0x21, 0x10, &BLOCK4),
        v2(0x21, 0x13, &BLOCK4),
        v2(0x21, 0x41, &BLOCK4),
        v2(0x21, 0x11, &vec![0; V2_BYTES - V2_FIXED + 1]),
    ];
    for header in binary {
        assert!(
            matches!(parse(&header), Err(Refused::Malformed(_))),
            "{header:x?}"
        );
    }
}

#[test]
fn a_client_without_an_ipv4_address_is_refused() {
    let far: Ipv6Addr = "2001:db8::1".parse().unwrap();
    for header in [
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(),
        v2(0x21, 0x21, &block6(far)),
        v2(0x21, 0x12, &BLOCK4),
        v2(0x21, 0x22, &block6(far)),
        v2(0x21, 0x31, &[0; 216]),
        v2(0x21, 0x32, &[0; 216]),
    ] {
        assert_eq!(parse(&header), Err(Refused::Family), "{header:x?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_and_none_wait_for_ever(
        start in prop_oneof![Just(&b""[..]), Just(V1_START), Just(V2_START), Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..])],
        rest in proptest::collection::vec(any::<u8>(), 0..V2_BYTES + 100),
    ) {
        let bytes = [start, &rest].concat();
        match parse(&bytes) {
            Ok(Some(header)) => prop_assert!(header.length <= bytes.len().min(V2_BYTES)),
            Ok(None) => prop_assert!(bytes.len() < V2_BYTES),
            Err(_) => {}
        }
    }

    #[test]
    fn what_is_written_is_read_again(address in any::<u32>(), port in any::<u16>(), v1 in any::<bool>()) {
        let client = SocketAddrV4::new(address.into(), port);
        let version = if v1 { ProxyVersion::V1 } else { ProxyVersion::V2 };
        let mut out = Vec::new();
        write(version, client, SERVER, &mut out);
        let expected = Header { length: out.len(), client: Some(client) };
        prop_assert_eq!(parse(&out), Ok(Some(expected)));
        let own = own(version);
        prop_assert_eq!(parse(&own), Ok(Some(Header { length: own.len(), client: None })));
    }
}
