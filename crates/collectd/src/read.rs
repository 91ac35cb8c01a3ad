//! Reading parts into value lists.

use crate::part::{self, Part, kind};
use crate::value::{Time, Value, ValueList};

/// The most bytes of a name, collectd's own bound.
const NAME_BYTES: usize = 128;
/// The most values in one list; collectd's own types have far fewer.
const VALUES: usize = 128;

/// Why a packet cannot be read. What came before the fault is lost with it: a packet is whole or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A part's length does not fit into the packet.
    #[error("part {index} is cut off or has an impossible length")]
    Length {
        /// Which part, from 0.
        index: usize,
    },
    /// A part's body is not what its type wants.
    #[error("part {index} of type {kind:#06x} is malformed")]
    Body {
        /// Which part, from 0.
        index: usize,
        /// Its type.
        kind: u16,
    },
    /// A signature or encryption within what is signed or encrypted already, or behind other parts.
    #[error("part {index} protects what it may not")]
    Misplaced {
        /// Which part, from 0.
        index: usize,
    },
}

/// Reads the parts of a packet that is open (see [`crate::open`]). Parts of types that are not known are
/// left out, notifications among them; values without a host are left out as well.
///
/// # Errors
/// The first part that is malformed.
pub fn read(packet: &[u8]) -> Result<Vec<ValueList>, ReadError> {
    let mut lists = Vec::new();
    let mut context = ValueList::default();
    let (mut rest, mut index) = (packet, 0);
    while !rest.is_empty() {
        let (part, after) = part::split(rest).ok_or(ReadError::Length { index })?;
        if matches!(part.kind, kind::SIGNATURE | kind::ENCRYPTION) {
            return Err(ReadError::Misplaced { index });
        }
        take(part, &mut context, &mut lists).ok_or(ReadError::Body {
            index,
            kind: part.kind,
        })?;
        rest = after;
        index += 1;
    }
    Ok(lists)
}

/// Takes one part in; nothing when its body is malformed.
fn take(part: Part<'_>, context: &mut ValueList, lists: &mut Vec<ValueList>) -> Option<()> {
    let body = part.body;
    match part.kind {
        kind::HOST => context.host = name(body)?,
        kind::PLUGIN => context.plugin = name(body)?,
        kind::PLUGIN_INSTANCE => context.plugin_instance = name(body)?,
        kind::TYPE => context.kind = name(body)?,
        kind::TYPE_INSTANCE => context.kind_instance = name(body)?,
        kind::TIME => context.time = Time::from_secs(number(body)?),
        kind::TIME_HR => context.time = Time(number(body)?),
        kind::INTERVAL => context.interval = Time::from_secs(number(body)?),
        kind::INTERVAL_HR => context.interval = Time(number(body)?),
        kind::VALUES => {
            let values = values(body)?;
            if !context.host.is_empty() {
                lists.push(ValueList {
                    values,
                    ..context.clone()
                });
            }
        }
        _ => {}
    }
    Some(())
}

/// A text that ends with its first and only zero byte.
fn name(body: &[u8]) -> Option<String> {
    let (zero, text) = body.split_last()?;
    let sound = *zero == 0 && text.len() < NAME_BYTES && !text.contains(&0);
    let text = std::str::from_utf8(text).ok().filter(|_| sound)?;
    (!text.contains(char::is_control)).then(|| text.to_owned())
}

fn number(body: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(body.try_into().ok()?))
}

/// A count, so many bytes of types, so many numbers of eight bytes.
fn values(body: &[u8]) -> Option<Vec<Value>> {
    let (count, rest) = body.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_be_bytes(*count));
    let (types, numbers) = rest.split_at_checked(count)?;
    if count > VALUES || numbers.len() != count * 8 {
        return None;
    }
    let pairs = types.iter().zip(numbers.chunks_exact(8));
    pairs.map(|(&of, number)| value(of, number)).collect()
}

fn value(of: u8, number: &[u8]) -> Option<Value> {
    let bytes: [u8; 8] = number.try_into().ok()?;
    match of {
        0 => Some(Value::Counter(u64::from_be_bytes(bytes))),
        // Alone among all numbers, a gauge is written least significant byte first.
        1 => Some(Value::Gauge(f64::from_le_bytes(bytes))),
        2 => Some(Value::Derive(i64::from_be_bytes(bytes))),
        3 => Some(Value::Absolute(u64::from_be_bytes(bytes))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        part::begin(kind, body.len(), &mut out);
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn the_context_holds_until_it_is_set_again() {
        let one = [0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 7];
        let packet = [
            part(kind::HOST, b"vm1\0"),
            part(kind::TIME, &9u64.to_be_bytes()),
            part(kind::PLUGIN, b"a\0"),
            part(kind::TYPE, b"t\0"),
            part(0x7777, b"whatever"),
            part(kind::VALUES, &one),
            part(kind::PLUGIN, b"b\0"),
            part(kind::VALUES, &one),
        ]
        .concat();
        let lists = read(&packet).unwrap();
        let names: Vec<_> = lists.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["vm1/a/t", "vm1/b/t"]);
        assert!(lists.iter().all(|list| list.time == Time::from_secs(9)));
        assert_eq!(lists[0].values, [Value::Derive(7)]);
    }

    #[test]
    fn what_is_malformed_is_named() {
        let host = part(kind::HOST, b"a\0");
        let body = |packet: Vec<u8>| read(&[host.clone(), packet].concat());
        for bad in [
            part(kind::HOST, b"no zero"),
            part(kind::HOST, b"two\0zeros\0"),
            part(kind::HOST, b""),
            part(kind::HOST, b"\xff\0"),
            part(kind::PLUGIN, &[&[b'x'; 128][..], b"\0"].concat()),
            part(kind::TIME, &[0; 7]),
            part(kind::VALUES, &[0, 2, 1, 1, 0]),
            part(kind::VALUES, &[0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert!(matches!(body(bad), Err(ReadError::Body { index: 1, .. })));
        }
        for bad in [vec![0], vec![0, 0, 0, 3], vec![0, 0, 0, 9, 0]] {
            assert_eq!(body(bad), Err(ReadError::Length { index: 1 }));
        }
        let signature = part(kind::SIGNATURE, &[0; 40]);
        assert_eq!(body(signature), Err(ReadError::Misplaced { index: 1 }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
