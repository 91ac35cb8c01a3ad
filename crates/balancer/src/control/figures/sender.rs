//! Sending figures as collectd does, where there is none.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use collectd::{Key, PACKET_BYTES, PacketWriter, Time, Value, ValueList, seal_encrypted};
use model::VmId;
use model::figures::{
    BALANCER_PLUGIN, BootMonitor, CPU_INSTANCE, CPU_PLUGIN, CPU_TYPE, FIGURES_INTERVAL_S,
};

use super::Figure;
use super::processor::Processor;
use crate::control::randomness::seed;

/// Bytes by which a packet grows when it is encrypted, with room for the name.
const SEAL_BYTES: usize = 128;

/// Sends figures by itself.
pub(super) struct Sender {
    front: Ipv4Addr,
    monitor: SocketAddrV4,
    key: Key,
    processor: Processor,
    socket: Option<UdpSocket>,
}

impl Sender {
    /// `front` is the VM's own address, as which it sends.
    pub(super) fn new(vm: VmId, front: Ipv4Addr, monitor: &BootMonitor, threads: usize) -> Self {
        Self {
            front,
            monitor: SocketAddrV4::new(monitor.address, monitor.port),
            key: Key {
                user: monitor.user.clone(),
                password: monitor.key.clone().into_bytes(),
            },
            processor: Processor::of(vm, threads),
            socket: None,
        }
    }

    /// Sends figures and the processors' share, as far as there is room. Says whether any went: what went is not to be told
    /// again, and which of the figures that was, only the packets know.
    pub(super) fn send(&mut self, figures: &[Figure], now: Instant) -> bool {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let list =
            |plugin: &str, of: &str, kind: &str, instance: &str, values: Vec<Value>| ValueList {
                host: self.key.user.clone(),
                plugin: plugin.to_owned(),
                plugin_instance: of.to_owned(),
                kind: kind.to_owned(),
                kind_instance: instance.to_owned(),
                time: Time::from_duration(time),
                interval: Time::from_secs(FIGURES_INTERVAL_S),
                values,
            };
        let share = self.processor.share_percent(now);
        let share = share.map(|share| {
            let share = vec![Value::Gauge(share)];
            list(CPU_PLUGIN, "", CPU_TYPE, CPU_INSTANCE, share)
        });
        let own = figures.iter().map(|figure| {
            let values = figure.values.clone();
            list(
                BALANCER_PLUGIN,
                &figure.of,
                figure.kind,
                &figure.instance,
                values,
            )
        });
        let mut writer = PacketWriter::new(PACKET_BYTES - SEAL_BYTES);
        let lists = share.into_iter().chain(own);
        let mut packets: Vec<_> = lists.filter_map(|list| writer.add(&list)).collect();
        packets.extend(writer.take());
        // Each is tried, also where one before it could not go.
        let sent = packets.iter().filter(|packet| self.send_packet(packet));
        sent.count() > 0
    }

    /// A socket that cannot be had yet, since the address is not there, can be had later.
    fn send_packet(&mut self, packet: &[u8]) -> bool {
        let mut iv = [0; 16];
        let (first, second) = iv.split_at_mut(8);
        first.copy_from_slice(&seed().to_ne_bytes());
        second.copy_from_slice(&seed().to_ne_bytes());
        if self.socket.is_none() {
            self.socket = self.open().ok();
        }
        // Whoever is not there, or has no room, hears the next one.
        self.socket.as_ref().is_some_and(|socket| {
            let sealed = seal_encrypted(packet, &self.key, iv);
            socket.send_to(&sealed, self.monitor).is_ok()
        })
    }

    fn open(&self) -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind((self.front, 0))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}
