//! From a request's bytes to the response's: no socket, no clock, one generation of the zone.
//!
//! Follows RFC 1034 and 1035, RFC 2308 (negative answers), RFC 6891 (EDNS), RFC 8020 (a name above a
//! name exists), RFC 8482 (ANY) and RFC 9619 (one question).

use hickory_proto::op::{
    Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::rdata::HINFO;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::zone::{Found, Node, Zone};

/// The most bytes of a response over UDP to a client without EDNS (RFC 1035, section 4.2.1).
const PLAIN_UDP_BYTES: u16 = 512;
/// The most bytes of a response over UDP, whatever a client would take: what passes every link
/// without being fragmented, by the agreement of DNS flag day 2020.
const MAX_UDP_BYTES: u16 = 1_232;
/// The bytes of an A record whose owner is the question's name: pointer 2, type 2, class 2, TTL 4,
/// length 2, address 4.
const COMPRESSED_A_BYTES: usize = 16;
/// The only version of EDNS that there is.
const EDNS_VERSION: u8 = 0;

/// How a request came, which bounds the response's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// Answers one request. `None` where silence is right: what is too short for a header, and
/// responses, which are not answered lest two servers do so for ever.
pub(crate) fn answer(zone: &Zone, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let header = Header::read(&mut BinDecoder::new(request)).ok()?;
    if header.metadata.message_type == MessageType::Response {
        return None;
    }
    // More than one question is never right (RFC 9619), and up to 65,535 of them need not be read.
    let readable = (header.counts.queries <= 1).then(|| Message::from_vec(request));
    let Some(Ok(request)) = readable else {
        return encode(malformed(&header.metadata), PLAIN_UDP_BYTES.into());
    };
    let limit = size_limit(request.edns.as_ref(), transport);
    let mut response = response_to(&request);
    response.metadata.response_code = fill(zone, &request, &mut response);
    encode(response, limit)
}

/// The response to what has a header and cannot be read further. Of a request with an unknown opcode
/// the form is unknown as well, so nothing is wrong with it.
fn malformed(request: &Metadata) -> Message {
    let mut response = Message::response(request.id, request.op_code);
    response.metadata = Metadata::response_from_request(request);
    response.metadata.response_code = match request.op_code {
        OpCode::Query => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    response
}

/// A response without an answer yet: the question as the client wrote it, and EDNS if it spoke EDNS.
fn response_to(request: &Message) -> Message {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.queries.clone_from(&request.queries);
    response.edns = request.edns.as_ref().map(|theirs| {
        let mut ours = Edns::new();
        ours.set_version(EDNS_VERSION);
        ours.set_max_payload(MAX_UDP_BYTES);
        ours.set_dnssec_ok(theirs.flags().dnssec_ok);
        ours
    });
    response
}

/// Adds what the zone says, or finds out why it has nothing to say.
fn fill(zone: &Zone, request: &Message, response: &mut Message) -> ResponseCode {
    if request
        .edns
        .as_ref()
        .is_some_and(|edns| edns.version() > EDNS_VERSION)
    {
        return ResponseCode::BADVERS;
    }
    if request.metadata.op_code != OpCode::Query {
        return ResponseCode::NotImp;
    }
    let [query] = request.queries.as_slice() else {
        return ResponseCode::FormErr;
    };
    if query.query_class() != DNSClass::IN || is_transfer(query.query_type()) {
        return ResponseCode::Refused;
    }
    let mut code = ResponseCode::NoError;
    match zone.find(query.name()) {
        Found::OtherZone => return ResponseCode::Refused,
        Found::Absent => code = ResponseCode::NXDomain,
        Found::Apex => fill_apex(zone, query, response),
        Found::Name(node) => response.answers = records(zone, query, node),
    }
    response.metadata.authoritative = true;
    if response.answers.is_empty() {
        response.authorities.push(zone.soa().clone());
    }
    code
}

fn fill_apex(zone: &Zone, query: &Query, response: &mut Message) {
    match query.query_type() {
        RecordType::SOA => response.answers.push(owned(zone.soa(), query.name())),
        RecordType::NS => {
            response.answers.push(owned(zone.ns(), query.name()));
            response.additionals = zone.glue();
        }
        RecordType::ANY => response.answers.push(instead_of_any(zone, query.name())),
        _ => {}
    }
}

fn records(zone: &Zone, query: &Query, node: &Node) -> Vec<Record> {
    match query.query_type() {
        RecordType::A => zone.addresses(query.name(), node),
        RecordType::ANY if node.has_addresses() => vec![instead_of_any(zone, query.name())],
        _ => Vec::new(),
    }
}

/// The one small record that answers ANY (RFC 8482, section 4.2), so that nobody can use the server
/// to multiply traffic.
fn instead_of_any(zone: &Zone, owner: &Name) -> Record {
    let data = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
    Record::from_rdata(owner.clone(), zone.contents().ttl_s, data)
}

/// The record under its name as the client wrote it: clients that choose letters' case at random
/// compare it.
fn owned(record: &Record, owner: &Name) -> Record {
    let mut record = record.clone();
    record.name = owner.clone();
    record
}

fn is_transfer(query_type: RecordType) -> bool {
    matches!(query_type, RecordType::AXFR | RecordType::IXFR)
}

fn size_limit(edns: Option<&Edns>, transport: Transport) -> usize {
    match transport {
        Transport::Tcp => u16::MAX.into(),
        Transport::Udp => edns
            .map_or(PLAIN_UDP_BYTES, Edns::max_payload)
            .clamp(PLAIN_UDP_BYTES, MAX_UDP_BYTES)
            .into(),
    }
}

/// Writes the response in at most `limit` bytes.
///
/// What is too long loses its additional records first, whose absence needs no mark (RFC 2181,
/// section 9). Then it is marked as truncated and keeps as many answers as fit: a client that cannot
/// use TCP has those. EDNS is always kept (RFC 6891, section 7). `None` if the message cannot be
/// written, which no request is known to cause.
fn encode(mut response: Message, limit: usize) -> Option<Vec<u8>> {
    let whole = response.to_vec().ok()?;
    if whole.len() <= limit {
        return Some(whole);
    }
    response.additionals.clear();
    let bare = response.to_vec().ok()?;
    if bare.len() <= limit {
        return Some(bare);
    }
    response.metadata.truncation = true;
    let answers = std::mem::take(&mut response.answers);
    let room = limit.saturating_sub(response.to_vec().ok()?.len());
    response.answers = answers;
    response.answers.truncate(room / COMPRESSED_A_BYTES);
    let cut = response.to_vec().ok()?;
    if cut.len() <= limit {
        return Some(cut);
    }
    response.answers.clear();
    response.authorities.clear();
    response.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::ZoneContents;

    fn zone() -> Zone {
        let addresses: BTreeSet<_> = (1..100).map(|n| Ipv4Addr::new(10, 200, 0, n)).collect();
        Zone::new(ZoneContents {
            origin: "lb.test".to_owned(),
            serial: 1,
            ttl_s: 1,
            negative_ttl_s: 1,
            name_server: vec![Ipv4Addr::LOCALHOST],
            records: BTreeMap::from([("web.p".to_owned(), addresses)]),
        })
        .unwrap()
    }

    fn query(name: &str, query_type: RecordType, edns: bool) -> Message {
        let mut query = Message::new(4711, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), query_type));
        if edns {
            query.set_edns(Edns::new());
        }
        query
    }

    fn code(request: &[u8]) -> ResponseCode {
        let response = answer(&zone(), request, Transport::Udp).unwrap();
        Message::from_vec(&response).unwrap().metadata.response_code
    }

    #[test]
    fn what_is_no_request_gets_no_answer() {
        let whole = query("web.p.lb.test.", RecordType::A, true)
            .to_vec()
            .unwrap();
        for length in 0..12 {
            assert_eq!(answer(&zone(), &whole[..length], Transport::Udp), None);
        }
        let mut response = whole;
        response[2] |= 0x80;
        assert_eq!(answer(&zone(), &response, Transport::Udp), None);
    }

    #[test]
    fn what_cannot_be_read_is_a_format_error_or_not_implemented_by_its_opcode() {
        let mut message = query("web.p.lb.test.", RecordType::A, true);
        let whole = message.to_vec().unwrap();
        for length in 12..whole.len() {
            assert_eq!(code(&whole[..length]), ResponseCode::FormErr, "{length}");
        }
        let mut odd = whole.clone();
        odd[2] |= 0x78;
        for length in 12..=whole.len() {
            assert_eq!(code(&odd[..length]), ResponseCode::NotImp, "{length}");
        }
        let mut twice_edns = whole;
        let edns = twice_edns[twice_edns.len() - 11..].to_vec();
        twice_edns.extend(edns);
        twice_edns[11] = 2;
        assert_eq!(code(&twice_edns), ResponseCode::FormErr);
        message.add_query(message.queries[0].clone());
        assert_eq!(code(&message.to_vec().unwrap()), ResponseCode::FormErr);
        message.queries.clear();
        assert_eq!(code(&message.to_vec().unwrap()), ResponseCode::FormErr);
    }

    /// What holds of every response, whatever was asked.
    fn check(request: &[u8], transport: Transport) -> Result<(), TestCaseError> {
        let Some(bytes) = answer(&zone(), request, transport) else {
            prop_assert!(request.len() < 12 || request[2] & 0x80 != 0);
            return Ok(());
        };
        let limit = match transport {
            Transport::Udp => usize::from(MAX_UDP_BYTES),
            Transport::Tcp => usize::from(u16::MAX),
        };
        prop_assert!(bytes.len() <= limit);
        prop_assert_eq!(&bytes[..2], &request[..2], "another id");
        let response = Message::from_vec(&bytes).unwrap();
        prop_assert_eq!(response.metadata.message_type, MessageType::Response);
        let has_data = !response.answers.is_empty() || !response.authorities.is_empty();
        prop_assert!(response.metadata.authoritative || !has_data);
        Ok(())
    }

    fn transport() -> impl Strategy<Value = Transport> {
        prop_oneof![Just(Transport::Udp), Just(Transport::Tcp)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_bytes_are_answered_properly_or_not_at_all(
            request in prop::collection::vec(any::<u8>(), 0..600), transport in transport()
        ) {
            check(&request, transport)?;
        }

        #[test]
        fn a_damaged_query_is_answered_properly_or_not_at_all(
            query_type: u16, edns: bool, transport in transport(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            length in any::<prop::sample::Index>(), cut: bool,
        ) {
            let mut request = query("WEB.p.lb.test.", query_type.into(), edns).to_vec().unwrap();
            for (at, byte) in damage {
                let at = at.index(request.len());
                request[at] = byte;
            }
            if cut {
                request.truncate(length.index(request.len() + 1));
            }
            check(&request, transport)?;
        }
    }
}
