//! Going through a VM's first second before there is a VM.

use std::path::Path;

use balancer::rehearsal::rehearse;

use crate::support::in_namespace;

const BALANCER: &str = env!("CARGO_BIN_EXE_evenkeel-balancer");

#[test]
fn a_rehearsal_answers_requests_and_leaves_no_process_and_no_socket() {
    in_namespace(|| {
        assert_eq!(rehearse(Path::new(BALANCER)).unwrap(), 36);
        let sockets = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        // 0A: listening.
        let listening = sockets.lines().filter(|line| line.contains(" 0A "));
        assert_eq!(listening.count(), 0, "{sockets}");
        assert_eq!(rehearse(Path::new(BALANCER)).unwrap(), 36, "and another");
    });
}

#[test]
fn a_rehearsal_with_a_balancer_that_ends_fails_at_once() {
    in_namespace(|| {
        let error = rehearse(Path::new("/bin/false")).unwrap_err();
        let kinds = [
            std::io::ErrorKind::UnexpectedEof,
            std::io::ErrorKind::BrokenPipe,
            std::io::ErrorKind::ConnectionReset,
        ];
        assert!(kinds.contains(&error.kind()), "{error}");
    });
}
