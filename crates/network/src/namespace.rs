//! Network namespaces: those that we make, and the one that plays the host.
//!
//! A namespace that outlives its processes is a bind mount of a `/proc/…/ns/net` file in `/run/netns`,
//! where `ip netns` looks as well. Whoever works inside one does so on a thread of its own that enters
//! it and ends: `setns` belongs to the thread, and a thread of the runtime that kept a foreign namespace
//! would do other tasks' work in it. For the same reason a namespace is made by `unshare` on a thread,
//! not by a forked child: a fork in a program with threads may find every lock taken.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use tokio::sync::oneshot;

use crate::NetworkError;
use crate::error::kernel;

/// Where namespaces have their names.
pub(crate) const NAMESPACES: &str = "/run/netns";

/// The namespace of the thread that opens it. `/proc/self` would be the main thread's.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// How long work on a thread inside a namespace may take. It is a handful of system calls; the bound
/// is for a kernel that hangs in its network lock.
const THREAD_WAIT: Duration = Duration::from_secs(5);

/// The file system type of namespace files (`NSFS_MAGIC` in linux/magic.h): tells a mounted namespace
/// from the empty file that a crash between creating and mounting leaves.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Mounts that may lie on top of each other on one name before we give up on removing them.
const MAX_STACKED_MOUNTS: usize = 16;

/// Held while a namespace gets its name, so that two threads never mount over each other and hide
/// what the other goes on to build.
static NAMING: Mutex<()> = Mutex::new(());

/// An open network namespace. It lives as long as this, its mount or a process in it does.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    fd: Arc<OwnedFd>,
    name: Arc<str>,
}

impl Namespace {
    /// The namespace that the calling thread is in.
    pub(crate) fn current() -> Result<Self, NetworkError> {
        let file = File::open(OWN_NAMESPACE)
            .map_err(kernel("open the network namespace of this process"))?;
        Ok(Self {
            fd: Arc::new(file.into()),
            name: "the host's network namespace".into(),
        })
    }

    /// The namespace of this name in [`NAMESPACES`]; none where there is no file, or a file that is no
    /// namespace.
    pub(crate) fn open(name: &str) -> Result<Option<Self>, NetworkError> {
        let path = path(name);
        let found = match File::open(&path) {
            Ok(file)
                if is_namespace(&file)
                    .map_err(kernel(format!("look at {}", path.display())))? =>
            {
                Some(Self {
                    fd: Arc::new(file.into()),
                    name: format!("network namespace {name}").into(),
                })
            }
            Ok(_) => None,
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(kernel(format!("open {}", path.display()))(e)),
        };
        Ok(found)
    }

    /// The namespace of this name, made where it is not there yet. A file of that name that is no
    /// namespace is mounted over.
    pub(crate) async fn ensure(name: &str) -> Result<Self, NetworkError> {
        if let Some(namespace) = Self::open(name)? {
            return Ok(namespace);
        }
        let action = format!("make network namespace {name}");
        let path = path(name);
        on_own_thread(action.clone(), move || make_and_mount(&path)).await?;
        Self::open(name)?
            .ok_or_else(|| kernel(action)(io::Error::other("it was removed again by someone else")))
    }

    /// Takes the name away. The namespace itself ends with the last process in it. Fine when absent.
    pub(crate) fn remove(name: &str) -> Result<(), NetworkError> {
        let path = path(name);
        unname(&path).map_err(kernel(format!("remove {}", path.display())))
    }

    /// Does `work` on a thread that is inside this namespace, and only there.
    pub(crate) async fn enter<T: Send + 'static>(
        &self,
        action: impl Into<String>,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, NetworkError> {
        let namespace = self.clone();
        on_own_thread(format!("{} in {}", action.into(), self.name), move || {
            namespace.move_thread_into()?;
            work()
        })
        .await
    }

    /// Moves the calling thread, for good. Only for threads that exist for this.
    pub(crate) fn move_thread_into(&self) -> io::Result<()> {
        move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// For netlink messages that name a namespace by descriptor. Valid while `self` lives.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The file of a name.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(NAMESPACES).join(name)
}

/// All names, those of files that are no namespaces among them. In no particular order.
pub(crate) fn names() -> Result<Vec<String>, NetworkError> {
    let entries = match fs::read_dir(NAMESPACES) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(kernel(format!("list {NAMESPACES}"))(e)),
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(kernel(format!("list {NAMESPACES}")))
}

/// Runs `work` on a new thread and waits for it, within [`THREAD_WAIT`].
async fn on_own_thread<T: Send + 'static>(
    action: String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, NetworkError> {
    let (sender, receiver) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("network".into())
        .spawn(move || {
            let _runtime = runtime.enter();
            // The receiver may have run out of patience: then nobody wants the result.
            let _ = sender.send(work());
        })
        .map_err(kernel(format!("start a thread to {action}")))?;
    match tokio::time::timeout(THREAD_WAIT, receiver).await {
        Ok(Ok(result)) => result.map_err(kernel(action)),
        Ok(Err(_)) => Err(kernel(action)(io::Error::other("the thread panicked"))),
        Err(_) => Err(NetworkError::TimedOut {
            action,
            after: THREAD_WAIT,
        }),
    }
}

/// On a thread that ends after this: makes a namespace and gives it a name.
fn make_and_mount(path: &Path) -> io::Result<()> {
    let _naming = NAMING.lock().unwrap_or_else(PoisonError::into_inner);
    ensure_directory()?;
    let file = File::options().create(true).append(true).open(path)?;
    if is_namespace(&file)? {
        return Ok(());
    }
    tracing::trace!(target: model::STEP, "network: file of a namespace");
    // SAFETY: a new network namespace takes no file descriptor or memory away from the other threads.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    mount_bind(OWN_NAMESPACE, path)?;
    tracing::trace!(target: model::STEP, "network: mount of a namespace");
    Ok(())
}

/// Makes [`NAMESPACES`] a shared mount of its own, as `ip netns` does: a process with a mount namespace
/// of its own then sees namespaces come and go, and does not keep removed ones alive.
fn ensure_directory() -> io::Result<()> {
    fs::create_dir_all(NAMESPACES)?;
    match mount_change(NAMESPACES, MountPropagationFlags::SHARED) {
        Err(Errno::INVAL) => {
            mount_bind_recursive(NAMESPACES, NAMESPACES)?;
            mount_change(NAMESPACES, MountPropagationFlags::SHARED)?;
        }
        other => other?,
    }
    Ok(())
}

fn unname(path: &Path) -> io::Result<()> {
    let _naming = NAMING.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..MAX_STACKED_MOUNTS {
        match unmount(path, UnmountFlags::DETACH) {
            Ok(()) => {}
            // No mount (any more), or no file.
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(e) => return Err(e.into()),
        }
    }
    tracing::trace!(target: model::STEP, "network: unmount of a namespace");
    let removed = fs::remove_file(path);
    tracing::trace!(target: model::STEP, "network: removal of a namespace's file");
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn is_namespace(file: &File) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(file)?.f_type == NSFS_MAGIC)
}
