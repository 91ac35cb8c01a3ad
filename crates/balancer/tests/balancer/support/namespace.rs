//! A network namespace for one test.

use std::process::Command;

/// Runs `test` on a thread in a network namespace of its own, with loopback up. Threads and processes
/// that it starts are there as well.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let outcome = std::thread::spawn(move || {
        // SAFETY: unshare has no memory effects; it changes this thread's namespace alone.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(unshared, 0, "these tests need root");
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.expect("iproute2 is installed").success());
        test();
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
