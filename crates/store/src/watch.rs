//! Watches: who waits for changes under which prefix, and the thread that looks for other processes' changes.
//!
//! A watch carries no changes, only the newest revision that touched its prefix. So it is bounded however slow
//! the watcher, coalesces whatever happened in between, and loses nothing: the watcher reads the present state
//! again. Being told twice of one revision is harmless, so the committing thread and the poller need no order
//! between them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

use tokio::sync::watch;

use crate::Revision;
use crate::backend::Backend;

/// How often a store with watches looks for changes of other processes and for leases that are due. One look
/// that finds nothing takes some 0.1 ms of CPU, however many watches there are: about 0.6 % of one core.
pub const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long the poller waits after a failure before it looks, and wakes all watchers, again.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Wakes its holder after changes under a prefix. Made by [`crate::Store::watch`]; keeps the store open.
#[must_use = "a watch does nothing until it is awaited"]
pub struct Watch {
    receiver: watch::Receiver<Revision>,
    /// Keeps the store, and with it the hub that holds our sender, alive.
    _backend: Arc<dyn Backend>,
}

impl Watch {
    /// Resolves once something under the prefix has changed since the watch was made or since this last resolved.
    ///
    /// Changes made through the same store (or its clones) are seen at once, those of other processes within
    /// about [`POLL_INTERVAL`]. Any number of changes resolve it once. It may resolve without a change: for what
    /// another process committed just before the watch was made, and when the store had to give up telling which
    /// keys changed, or cannot be read; reading again shows which. Dropping
    /// the future before it resolved loses nothing.
    pub async fn changed(&mut self) {
        self.receiver
            .changed()
            .await
            .expect("the hub drops a sender only after its receiver, and the watch holds the hub");
    }
}

/// All watches of one store.
#[derive(Default)]
pub(crate) struct Hub {
    slots: Mutex<Slots>,
    poller: OnceLock<Thread>,
}

#[derive(Default)]
struct Slots {
    list: Vec<Slot>,
    /// The newest revision announced so far. All up to it were committed before a watch that is made now.
    newest: Revision,
}

/// One watch, seen from the store: its prefix, and where the newest revision under it is put.
struct Slot {
    prefix: String,
    newest: watch::Sender<Revision>,
}

impl Hub {
    /// Makes a watch on the prefix; `backend` is the one that owns this hub.
    pub(crate) fn watch(&self, prefix: &str, backend: Arc<dyn Backend>) -> Watch {
        let receiver = self.with_slots(|slots| {
            let (newest, receiver) = watch::channel(slots.newest);
            slots.list.retain(|slot| !slot.newest.is_closed());
            slots.list.push(Slot {
                prefix: prefix.to_owned(),
                newest,
            });
            receiver
        });
        if let Some(poller) = self.poller.get() {
            poller.unpark();
        }
        Watch {
            receiver,
            _backend: backend,
        }
    }

    /// Tells the watches over `key` that `revision` changed it.
    pub(crate) fn announce(&self, revision: Revision, key: &str) {
        self.with_slots(|slots| {
            slots.newest = revision.max(slots.newest);
            for slot in slots
                .list
                .iter()
                .filter(|slot| key.starts_with(&slot.prefix))
            {
                slot.newest.send_if_modified(|newest| {
                    let newer = revision > *newest;
                    *newest = revision.max(*newest);
                    newer
                });
            }
        });
    }

    /// Wakes every watch: something changed, and it is not known what.
    pub(crate) fn announce_all(&self) {
        self.with_slots(|slots| {
            slots
                .list
                .iter()
                .for_each(|slot| slot.newest.send_modify(|_| {}))
        });
    }

    fn is_watched(&self) -> bool {
        self.with_slots(|slots| slots.list.iter().any(|slot| !slot.newest.is_closed()))
    }

    fn with_slots<T>(&self, visit: impl FnOnce(&mut Slots) -> T) -> T {
        // A panic elsewhere cannot leave the list half-changed, so a poisoned lock is as good as a whole one.
        visit(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Hub {
    /// Lets a parked poller see that its store is gone.
    fn drop(&mut self) {
        if let Some(poller) = self.poller.get() {
            poller.unpark();
        }
    }
}

/// Starts the one thread that polls the engine for all watches; it sleeps while there are none, and ends with
/// the engine.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn start_poller(backend: &Arc<dyn Backend>) -> std::io::Result<()> {
    let weak = Arc::downgrade(backend);
    let thread = std::thread::Builder::new()
        .name("store-poller".to_owned())
        .spawn(move || run_poller(&weak))?;
    // Set once: each engine is given one poller, by the store that was just made around it.
    let _ = backend.hub().poller.set(thread.thread().clone());
    Ok(())
}

fn run_poller(backend: &Weak<dyn Backend>) {
    let mut failing = false;
    while let Some(engine) = backend.upgrade() {
        let pause = engine
            .hub()
            .is_watched()
            .then(|| poll_once(engine.as_ref(), &mut failing));
        drop(engine);
        match pause {
            Some(pause) => std::thread::park_timeout(pause),
            None => std::thread::park(),
        }
    }
}

/// One look at the engine; returns how long to wait before the next. A failure is logged once until it is over.
fn poll_once(backend: &dyn Backend, failing: &mut bool) -> Duration {
    match backend.poll() {
        Ok(()) => {
            *failing = false;
            POLL_INTERVAL
        }
        Err(error) => {
            if !std::mem::replace(failing, true) {
                tracing::warn!(%error, "cannot look for changes in the store; watchers are woken to see for themselves");
            }
            backend.hub().announce_all();
            FAILURE_PAUSE
        }
    }
}
