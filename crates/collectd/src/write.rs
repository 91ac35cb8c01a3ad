//! Writing value lists into packets.

use crate::part::{self, kind};
use crate::value::{Time, Value, ValueList};

/// Bytes of a packet at the most, collectd's default: with the headers of IPv6 and UDP it fits an
/// Ethernet frame.
pub const PACKET_BYTES: usize = 1452;

/// Packs value lists, leaving out what did not change from one to the next.
#[derive(Debug)]
pub struct PacketWriter {
    most: usize,
    packet: Vec<u8>,
    context: ValueList,
    blank: bool,
}

impl PacketWriter {
    /// Packets of at most `most` bytes; leave room for a signature or encryption (see
    /// [`crate::seal_encrypted`]). One list that is larger still gets a packet of its own.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            packet: Vec::new(),
            context: ValueList::default(),
            blank: true,
        }
    }

    /// Adds a list. Returns the packet before it when the list did not fit into it any more.
    #[must_use]
    pub fn add(&mut self, list: &ValueList) -> Option<Vec<u8>> {
        let before = self.packet.len();
        self.write(list);
        if self.packet.len() <= self.most || before == 0 {
            return None;
        }
        self.packet.truncate(before);
        let full = self.take();
        self.write(list);
        full
    }

    /// Takes the packet as it stands, if anything is in it; the next one begins without a context.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.context = ValueList::default();
        self.blank = true;
        let packet = std::mem::take(&mut self.packet);
        (!packet.is_empty()).then_some(packet)
    }

    fn write(&mut self, list: &ValueList) {
        let out = &mut self.packet;
        let known = &self.context;
        let blank = self.blank;
        for (part, text, before) in [
            (kind::HOST, &list.host, &known.host),
            (kind::PLUGIN, &list.plugin, &known.plugin),
            (
                kind::PLUGIN_INSTANCE,
                &list.plugin_instance,
                &known.plugin_instance,
            ),
            (kind::TYPE, &list.kind, &known.kind),
            (
                kind::TYPE_INSTANCE,
                &list.kind_instance,
                &known.kind_instance,
            ),
        ] {
            if text != before {
                part::begin(part, text.len() + 1, out);
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
        }
        for (part, Time(time), Time(before)) in [
            (kind::TIME_HR, list.time, known.time),
            (kind::INTERVAL_HR, list.interval, known.interval),
        ] {
            if blank || time != before {
                part::begin(part, 8, out);
                out.extend_from_slice(&time.to_be_bytes());
            }
        }
        write_values(&list.values, out);
        self.context.clone_from(list);
        self.blank = false;
    }
}

fn write_values(values: &[Value], out: &mut Vec<u8>) {
    let count = u16::try_from(values.len()).unwrap_or(u16::MAX);
    part::begin(kind::VALUES, 2 + values.len() * 9, out);
    out.extend_from_slice(&count.to_be_bytes());
    out.extend(values.iter().map(|value| match value {
        Value::Counter(_) => 0,
        Value::Gauge(_) => 1,
        Value::Derive(_) => 2,
        Value::Absolute(_) => 3,
    }));
    for value in values {
        out.extend_from_slice(&match value {
            Value::Counter(count) | Value::Absolute(count) => count.to_be_bytes(),
            Value::Gauge(figure) => figure.to_le_bytes(),
            Value::Derive(count) => count.to_be_bytes(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<u64>().prop_map(Value::Counter),
            (-1e300..1e300f64).prop_map(Value::Gauge),
            any::<i64>().prop_map(Value::Derive),
            any::<u64>().prop_map(Value::Absolute),
        ]
    }

    fn list() -> impl Strategy<Value = ValueList> {
        let name = || "[a-c]{0,2}";
        (
            ("[ab]", name(), name(), name(), name()),
            0u64..4,
            0u64..3,
            proptest::collection::vec(value(), 0..5),
        )
            .prop_map(|(names, time, interval, values)| ValueList {
                host: names.0,
                plugin: names.1,
                plugin_instance: names.2,
                kind: names.3,
                kind_instance: names.4,
                time: Time(time),
                interval: Time(interval),
                values,
            })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(
            lists in proptest::collection::vec(list(), 0..60),
            most in 1usize..400,
        ) {
            let mut writer = PacketWriter::new(most);
            let mut packets = Vec::new();
            for list in &lists {
                packets.extend(writer.add(list));
            }
            packets.extend(writer.take());
            let mut found = Vec::new();
            for packet in packets {
                let within = read(&packet).unwrap();
                prop_assert!(packet.len() <= most || within.len() == 1);
                found.extend(within);
            }
            prop_assert_eq!(found, lists);
        }
    }
}
