//! Connections whose both ends the test holds.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use model::CHECKER_MARK;
use socket2::{Domain, Socket, Type};

use super::{PATIENCE, SILENCE, inside};

/// A server in a namespace that does nothing by itself.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Both ends of one connection.
pub struct Talk {
    pub client: TcpStream,
    pub server: TcpStream,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// Any program of the host.
    Host,
    /// The checker, on the host.
    Checker,
    /// A program in a namespace.
    In(&'a Path),
}

impl Server {
    pub fn start(namespace: &Path, address: Ipv4Addr, port: u16) -> Self {
        let listener = inside(namespace, || {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
        });
        listener.set_nonblocking(true).unwrap();
        Self {
            listener,
            address: SocketAddrV4::new(address, port).into(),
        }
    }

    /// A connection that is accepted.
    pub fn meet(&self, asker: Asker<'_>) -> Talk {
        let client = self
            .connect(asker, PATIENCE)
            .unwrap_or_else(|e| panic!("{asker:?} does not get through to {}: {e}", self.address));
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The last step of the handshake may still be on its way.
            if let Some(server) = self.accept() {
                return Talk { client, server };
            }
            assert!(Instant::now() < deadline, "nobody to talk to {asker:?}");
            std::thread::yield_now();
        }
    }

    /// Why a connection does not come about.
    pub fn refuses(&self, asker: Asker<'_>) -> ErrorKind {
        let outcome = self.connect(asker, SILENCE);
        assert!(
            self.accept().is_none(),
            "{asker:?} reached {}",
            self.address
        );
        outcome.expect_err("it should not come about").kind()
    }

    fn accept(&self) -> Option<TcpStream> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).unwrap();
        Some(stream)
    }

    fn connect(&self, asker: Asker<'_>, wait: Duration) -> std::io::Result<TcpStream> {
        let connect = |mark: Option<u32>| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            if let Some(mark) = mark {
                socket.set_mark(mark)?;
            }
            socket.connect_timeout(&self.address.into(), wait)?;
            Ok(socket.into())
        };
        match asker {
            Asker::Host => connect(None),
            Asker::Checker => connect(Some(CHECKER_MARK)),
            Asker::In(namespace) => inside(namespace, || connect(None)),
        }
    }
}

impl Talk {
    /// Whether what each end says reaches the other.
    pub fn passes(&mut self) -> bool {
        says(&mut self.client, &mut self.server, PATIENCE)
            && says(&mut self.server, &mut self.client, PATIENCE)
    }

    /// Whether what the client says reaches the server within a short while.
    pub fn asks(&mut self) -> bool {
        says(&mut self.client, &mut self.server, SILENCE)
    }

    /// Whether what the server says reaches the client within a short while.
    pub fn answers(&mut self) -> bool {
        says(&mut self.server, &mut self.client, SILENCE)
    }

    /// Whether the client learns that the connection is over. Who was told so already sees its end.
    pub fn is_over(&mut self) -> bool {
        self.client.set_read_timeout(Some(PATIENCE)).unwrap();
        match self.client.read(&mut [0; 64]) {
            Ok(length) => length == 0,
            Err(e) => e.kind() == ErrorKind::ConnectionReset,
        }
    }
}

fn says(from: &mut TcpStream, to: &mut TcpStream, wait: Duration) -> bool {
    const WORDS: &[u8] = b"words";
    if from.write_all(WORDS).is_err() {
        return false;
    }
    to.set_read_timeout(Some(wait)).unwrap();
    to.read_exact(&mut [0; WORDS.len()]).is_ok()
}
