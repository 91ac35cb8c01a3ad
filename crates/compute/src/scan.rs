//! Finds this installation's processes among all that run.

use std::fs;
use std::io;

use model::InstallationId;

use crate::owner::{Tagged, read_tag};
use crate::pidfd::Process;

/// A running process that carries our tag.
#[derive(Debug)]
pub(crate) struct Found {
    pub process: Process,
    pub tagged: Tagged,
}

/// Looks at every process of this PID namespace. Those that end while it looks are left out; so are
/// zombies, whose command line is empty. Takes about 20 µs for each process of the machine.
pub(crate) fn scan(installation: &InstallationId) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if tag_of(pid, installation).is_none() {
            continue;
        }
        let Ok(process) = Process::open(pid) else {
            continue;
        };
        // Read again: the number may have passed to another process before it was held.
        if let Some(tagged) = tag_of(pid, installation) {
            found.push(Found { process, tagged });
        }
    }
    Ok(found)
}

fn tag_of(pid: u32, installation: &InstallationId) -> Option<Tagged> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8(line).ok()?;
    let arguments: Vec<&str> = line.split_terminator('\0').collect();
    read_tag(&arguments, installation)
}
