//! The threads that the control thread starts.

use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::randomness::seed;
use crate::forward::Worker;
use crate::shared::Shared;

/// Starts one forwarding thread for each desk.
///
/// # Errors
/// When a thread cannot be started.
pub fn start_forwarding(shared: &Arc<Shared>) -> std::io::Result<Vec<JoinHandle<()>>> {
    (0..shared.threads.len())
        .map(|thread| {
            let worker = Worker::new(thread, shared, seed())?;
            std::thread::Builder::new()
                .name(format!("forward-{thread}"))
                .spawn(move || {
                    let guard = EndsTheProcess;
                    if worker.run().is_ok() {
                        std::mem::forget(guard);
                    }
                })
        })
        .collect()
}

/// A process that has lost one of its threads serves a part of its clients badly for ever. Its supervisor
/// starts a whole one at once.
struct EndsTheProcess;

impl Drop for EndsTheProcess {
    fn drop(&mut self) {
        eprintln!("evenkeel-balancer: error: a forwarding thread has failed; the process ends");
        std::process::exit(70);
    }
}

/// How many threads there are to be when nobody says.
#[must_use]
pub fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Allows as many open files as the kernel lets this process have.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Without it there is only less room, which accepting takes care of.
    let _ = setrlimit(Resource::Nofile, raised);
}
