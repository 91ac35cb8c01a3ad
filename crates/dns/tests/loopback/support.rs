//! A server on loopback and the clients that ask it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use dns::{DnsServer, ZoneContents};
use tokio::process::Command;

/// A zone with an instance of three addresses, one of one address and one of none.
pub fn contents(serial: u32) -> ZoneContents {
    let front = |octets: &[u8]| -> BTreeSet<Ipv4Addr> {
        octets
            .iter()
            .map(|n| Ipv4Addr::new(10, 200, 0, *n))
            .collect()
    };
    ZoneContents {
        origin: "lb.evenkeel.test".to_owned(),
        serial,
        ttl_s: 1,
        negative_ttl_s: 2,
        name_server: vec![Ipv4Addr::new(10, 200, 0, 1)],
        records: BTreeMap::from([
            ("web.johns-project".to_owned(), front(&[10, 11, 12])),
            ("api.johns-project".to_owned(), front(&[20])),
            ("idle.johns-project".to_owned(), front(&[])),
        ]),
    }
}

pub async fn server(zone: ZoneContents) -> DnsServer {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    DnsServer::bind(&[loopback], zone).await.unwrap()
}

/// Runs a client against one server.
pub struct Client {
    pub server: SocketAddr,
}

/// What a client printed.
pub struct Seen {
    pub text: String,
    pub status: String,
    pub flags: Vec<String>,
    pub size: usize,
    pub answer: Vec<String>,
    pub authority: Vec<String>,
    pub additional: Vec<String>,
}

impl Client {
    pub fn of(server: &DnsServer) -> Self {
        Self {
            server: server.local_addresses()[0],
        }
    }

    pub async fn dig(&self, ask: &str) -> Seen {
        Seen::parse(self.run("dig", ask).await)
    }

    pub async fn kdig(&self, ask: &str) -> Seen {
        Seen::parse(self.run("kdig", ask).await)
    }

    /// The output of one run; patient enough for a machine that is busy, and without a retry that
    /// would hide a lost answer.
    pub async fn run(&self, program: &str, ask: &str) -> String {
        let patience: &[&str] = match program {
            "dig" => &["-r", "+tries=1", "+time=20"],
            _ => &["+retry=0", "+time=20"],
        };
        let output = Command::new(program)
            .arg(format!("@{}", self.server.ip()))
            .arg("-p")
            .arg(self.server.port().to_string())
            .args(patience)
            .args(ask.split_whitespace())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Seen {
    fn parse(text: String) -> Self {
        let after = |mark: &str| {
            let (_, rest) = text.split_once(mark).unwrap_or_default();
            let word = rest.split([',', ';', '\n']).next();
            word.unwrap_or_default().trim().to_owned()
        };
        let section = |title: &str| -> Vec<String> {
            text.lines()
                .skip_while(|line| !line.starts_with(&format!(";; {title} SECTION")))
                .skip(1)
                .take_while(|line| !line.is_empty() && !line.starts_with(";;"))
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect()
        };
        let size = after("MSG SIZE  rcvd: ");
        Self {
            status: after("status: "),
            flags: after(";; flags: ")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            size: size.parse().unwrap_or_default(),
            answer: section("ANSWER"),
            authority: section("AUTHORITY"),
            additional: section("ADDITIONAL"),
            text,
        }
    }

    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|seen| seen == flag)
    }
}

/// Runs a test in a network of its own, where every port is free, and where it has nothing but a
/// loopback interface.
pub fn in_own_network(test: impl AsyncFnOnce() + Send) {
    let run = || {
        // SAFETY: unshare reads no memory; it moves this thread alone into the new namespace.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(unshared, 0, "{}", std::io::Error::last_os_error());
        let up = std::process::Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(test());
    };
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
