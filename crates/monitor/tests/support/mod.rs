//! A VM's stand-in on the loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use model::{ProbeSight, TrafficType, VmId};
use monitor::{Checker, ProbeTarget};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// How long something that should happen may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Accepts connections in the kernel, and holds none of them: each is closed at once.
pub async fn answers_all() -> ProbeTarget {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let SocketAddr::V4(bound) = listener.local_addr().unwrap() else {
        panic!("not IPv4")
    };
    tokio::spawn(async move {
        loop {
            // It may have no descriptors either.
            if listener.accept().await.is_err() {
                sleep(PAUSE).await;
            }
        }
    });
    ProbeTarget {
        address: *bound.ip(),
        port: bound.port(),
        traffic: TrafficType::Tcp,
        from: None,
    }
}

/// Whether VM 1 answers.
pub fn answers_one(checker: &Checker) -> bool {
    let sights = checker.sights();
    sights.get(&VmId(1)).is_some_and(|sight| sight.answered)
}

/// What is held against VM 1.
pub fn failure_of_one(checker: &Checker) -> Option<ProbeSight> {
    let sight = checker.sights().remove(&VmId(1));
    sight.filter(|sight| !sight.answered)
}

/// Waits until the checker is as `hold` says.
pub async fn until(checker: &Checker, what: &str, hold: impl Fn(&Checker) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !hold(checker) {
        let (sights, trouble) = (checker.sights(), checker.trouble());
        assert!(Instant::now() < deadline, "{what}: {sights:?}, {trouble:?}");
        sleep(PAUSE).await;
    }
}
