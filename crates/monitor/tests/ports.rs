//! A checker whose host has no ports left.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use model::VmId;
use monitor::{Checker, ProbeTiming};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use support::{answers_all, answers_one, failure_of_one, until};

async fn check() {
    let target = answers_all().await;
    let mut checker = Checker::new(ProbeTiming::default());
    checker.set_targets([(VmId(1), target)].into());
    until(&checker, "an answer", answers_one).await;

    // All ports that there are get in use, each connected to the VM.
    let address = SocketAddr::from((target.address, target.port));
    let mut held = Vec::new();
    let mut failed = None;
    while checker.trouble().is_none() {
        while let Ok(stream) = TcpStream::connect(address) {
            held.push(stream);
        }
        failed = failed.or(failure_of_one(&checker));
        assert_eq!(failed, None);
        tokio::task::yield_now().await;
    }
    let trouble = checker.trouble().unwrap();
    assert!(trouble.contains("Cannot assign requested"), "{trouble}");

    // Ports of connections that the other side has closed first are free at once.
    drop(held);
    until(&checker, "another answer", answers_one).await;
    assert_eq!(checker.trouble(), None);
}

#[test]
fn want_of_ports_is_the_checkers_own_trouble_and_no_failure_of_the_vms() {
    let thread = std::thread::spawn(|| {
        // SAFETY: this thread is new, and all sockets of the test are opened by it afterwards.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        // The file is that of the namespace of the thread that opens it.
        let ports = "/proc/sys/net/ipv4/ip_local_port_range";
        std::fs::write(ports, "40000 40007").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(check());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
