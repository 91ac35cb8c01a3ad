//! A DNS server of the tests' own, that somebody else runs: `nameserver ADDRESS FILE` answers for the
//! names in a file of lines `name address`, which is read anew for each question. Answers hold for one
//! second; a name that is not in the file does not exist.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

/// The length of a message's header.
const HEADER: usize = 12;
/// The type of a question for an IPv4 address.
const A: u16 = 1;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, file] = arguments.as_slice() else {
        return Err(io::Error::other("usage: nameserver ADDRESS FILE"));
    };
    let socket = UdpSocket::bind(address)?;
    let mut buffer = [0; 512];
    loop {
        let (length, client) = socket.recv_from(&mut buffer)?;
        let names = std::fs::read_to_string(file)?;
        if let Some(answer) = buffer.get(..length).and_then(|asked| answer(asked, &names)) {
            socket.send_to(&answer, client)?;
        }
    }
}

/// The answer to one question; none to what is no question.
fn answer(asked: &[u8], names: &str) -> Option<Vec<u8>> {
    let (name, end) = read_name(asked)?;
    let kind = u16::from_be_bytes(asked.get(end..end + 2)?.try_into().ok()?);
    let known: Vec<Ipv4Addr> = names
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(known, _)| known.eq_ignore_ascii_case(&name))
        .filter_map(|(_, address)| address.trim().parse().ok())
        .collect();
    let records = if kind == A { known.as_slice() } else { &[] };
    let code = if known.is_empty() { 3 } else { 0 };
    let mut answer = asked.get(..2)?.to_vec();
    // An authoritative answer, one question, the records, nothing else.
    answer.extend([
        0x85,
        0x80 | code,
        0,
        1,
        0,
        u8::try_from(records.len()).ok()?,
        0,
        0,
        0,
        0,
    ]);
    answer.extend(asked.get(HEADER..end + 4)?);
    for address in records {
        // The question's name, type A, class IN, a TTL of one second, four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The question's name, and where its type stands.
fn read_name(asked: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), HEADER);
    loop {
        let length = usize::from(*asked.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(asked.get(at..at + length)?).into_owned());
        at += length;
    }
}
