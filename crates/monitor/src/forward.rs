//! What VMs told, made into packets for a user's own collectd.

use collectd::{
    Key, PACKET_BYTES, PacketWriter, Protection, ValueList, seal_encrypted, seal_signed,
};

/// Bytes that encryption adds to a packet, beside the user's name; a signature adds fewer.
const SEAL_BYTES: usize = 42;
/// Bytes of a host's name, collectd's own bound.
const MOST_HOST: usize = 127;

/// Makes packets, each for itself and none larger than collectd takes, unless one list is.
pub struct Forwarder {
    protection: Protection,
    key: Key,
    seed: [u8; 8],
    made: u64,
}

impl Forwarder {
    /// Protects packets so, with this key where they are protected at all. `seed` is random, and another one for each
    /// forwarder: with a count it makes what must never be used twice with one password.
    #[must_use]
    pub fn new(protection: Protection, user: String, password: Vec<u8>, seed: [u8; 8]) -> Self {
        Self {
            protection,
            key: Key { user, password },
            seed,
            made: 0,
        }
    }

    /// Lists as packets, as figures of another host than the one that told them.
    pub fn packets(&mut self, lists: &[ValueList], host: &str) -> Vec<Vec<u8>> {
        let host: String = host.chars().take(MOST_HOST).collect();
        let room = PACKET_BYTES.saturating_sub(SEAL_BYTES + self.key.user.len());
        let mut writer = PacketWriter::new(room);
        let renamed = lists.iter().map(|list| ValueList {
            host: host.clone(),
            ..list.clone()
        });
        let mut packets: Vec<Vec<u8>> = renamed.filter_map(|list| writer.add(&list)).collect();
        packets.extend(writer.take());
        packets.iter().map(|parts| self.seal(parts)).collect()
    }

    fn seal(&mut self, parts: &[u8]) -> Vec<u8> {
        match self.protection {
            Protection::Plain => parts.to_vec(),
            Protection::Signed => seal_signed(parts, &self.key),
            Protection::Encrypted => {
                self.made += 1;
                let mut iv = [0; 16];
                let (seed, count) = iv.split_at_mut(8);
                seed.copy_from_slice(&self.seed);
                count.copy_from_slice(&self.made.to_be_bytes());
                seal_encrypted(parts, &self.key, iv)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use collectd::{Time, Value, open, read};

    use super::*;

    fn lists(count: u64) -> Vec<ValueList> {
        let list = |number| ValueList {
            host: "vm-7".into(),
            plugin: "evenkeel".into(),
            kind: "derive".into(),
            kind_instance: format!("number-{number}"),
            time: Time::from_secs(number),
            interval: Time::from_secs(1),
            values: vec![Value::Derive(5)],
            ..ValueList::default()
        };
        (0..count).map(list).collect()
    }

    #[test]
    fn all_that_was_told_is_in_packets_that_collectd_takes_under_the_new_name() {
        let user = "u".repeat(200);
        let password = b"word";
        for protection in [Protection::Plain, Protection::Signed, Protection::Encrypted] {
            let mut forwarder = Forwarder::new(protection, user.clone(), password.to_vec(), [7; 8]);
            let packets = forwarder.packets(&lists(100), "vm-7.web.p");
            assert!(packets.len() > 2 && packets.iter().all(|one| one.len() <= PACKET_BYTES));
            let opened = packets.iter().map(|packet| {
                let opened = open(packet, |name| (name == user).then_some(&password[..])).unwrap();
                assert_eq!(opened.protection, protection);
                read(&opened.parts).unwrap()
            });
            let found: Vec<ValueList> = opened.flatten().collect();
            assert!(found.iter().all(|list| list.host == "vm-7.web.p"));
            let renamed = found.into_iter().map(|list| ValueList {
                host: "vm-7".into(),
                ..list
            });
            assert_eq!(renamed.collect::<Vec<_>>(), lists(100));
        }
    }

    #[test]
    fn no_two_packets_are_encrypted_alike_and_no_name_is_too_long() {
        let mut forwarder =
            Forwarder::new(Protection::Encrypted, "u".into(), b"word".to_vec(), [7; 8]);
        let [one, two] = [0, 1].map(|_| forwarder.packets(&lists(1), "a"));
        assert_ne!(one, two);
        let mut plain = Forwarder::new(Protection::Plain, String::new(), Vec::new(), [0; 8]);
        let packets = plain.packets(&lists(1), &"x".repeat(500));
        assert_eq!(read(&packets[0]).unwrap()[0].host.len(), MOST_HOST);
    }
}
