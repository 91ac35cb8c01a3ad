//! What arrives where figures are taken in: nothing makes the reader panic, and what it reads is written again
//! as what it was.

use collectd::{PACKET_BYTES, PacketWriter, ValueList, open, read};

/// Checks any bytes.
pub fn check(data: &[u8]) {
    let opened = open(data, |user| {
        user.starts_with("vm-").then_some(&b"password"[..])
    });
    for parts in [Some(data.to_vec()), opened.ok().map(|opened| opened.parts)] {
        let Some(lists) = parts.and_then(|parts| read(&parts).ok()) else {
            continue;
        };
        // As text, since a figure that is not a number equals nothing.
        let again: Vec<_> = write(&lists)
            .iter()
            .flat_map(|packet| read(packet).expect("what was written is sound"))
            .collect();
        assert_eq!(format!("{lists:?}"), format!("{again:?}"));
    }
}

fn write(lists: &[ValueList]) -> Vec<Vec<u8>> {
    let mut writer = PacketWriter::new(PACKET_BYTES);
    let mut packets: Vec<_> = lists.iter().filter_map(|list| writer.add(list)).collect();
    packets.extend(writer.take());
    packets
}
