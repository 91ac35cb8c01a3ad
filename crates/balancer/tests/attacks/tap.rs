//! A relay that records what passes through it towards an origin.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Stands before an origin and changes nothing.
pub struct Tap {
    /// Where it listens.
    pub address: SocketAddrV4,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    /// Stands before the origin at this address.
    pub fn before(origin: SocketAddrV4) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("bound to IPv4");
        };
        let connections = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let record = Arc::clone(&record);
                record.lock().unwrap().push(Vec::new());
                let number = record.lock().unwrap().len() - 1;
                relay(&stream, origin, move |bytes| {
                    record.lock().unwrap()[number].extend_from_slice(bytes);
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// How many connections the balancer has made.
    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// All bytes that the balancer has sent, one connection after the other.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.connections.lock().unwrap().concat()).into_owned()
    }
}

fn relay(client: &TcpStream, origin: SocketAddrV4, record: impl FnMut(&[u8]) + Send + 'static) {
    let Ok(server) = TcpStream::connect(origin) else {
        return;
    };
    for stream in [client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let pair = || (client.try_clone().unwrap(), server.try_clone().unwrap());
    let ((from_client, to_server), (to_client, from_server)) = (pair(), pair());
    std::thread::spawn(move || copy(from_client, to_server, record));
    std::thread::spawn(move || copy(from_server, to_client, |_| {}));
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut record: impl FnMut(&[u8])) {
    let mut buffer = [0u8; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        record(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
