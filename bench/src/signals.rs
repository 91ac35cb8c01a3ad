//! What ends with a measurement that is stopped: its directory, and the programs that it started.

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

/// Attempts to remove a directory.
const REMOVALS: u32 = 100;

/// Removes the directory and ends the process at the first signal that asks for the end. The kernel ends the
/// children then. To be called before there are threads, so that none of them takes the signal.
///
/// # Errors
/// Where no thread can be made.
pub fn clean_up_at_signal(directory: PathBuf) -> std::io::Result<()> {
    let signals = signal_set(&[Signal::INT, Signal::TERM, Signal::HUP]);
    // SAFETY: the set is initialised, and no old one is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut()) };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut signal = 0;
            // SAFETY: the set is initialised, and `signal` lives throughout the call.
            unsafe { libc::sigwait(&raw const signals, &raw mut signal) };
            eprintln!("stopped by signal {signal}");
            // The children still write to it: whatever they add meanwhile is removed with the next attempt.
            let mut removals = (0..REMOVALS).map(|_| fs::remove_dir_all(&directory));
            let _ = removals.any(|removal| removal.is_ok());
            std::process::exit(128 + signal);
        })?;
    Ok(())
}

/// Has a command end with us, whatever ends us.
pub fn end_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(|| {
            unblock_signals();
            set_parent_process_death_signal(Some(Signal::KILL))?;
            Ok(())
        })
    }
}

/// Undoes [`clean_up_at_signal`] in a child, which has inherited it.
pub fn unblock_signals() {
    let none = signal_set(&[]);
    // SAFETY: the set is initialised, and no old one is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
}

fn signal_set(signals: &[Signal]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set, and sigaddset gets an initialised one.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal.as_raw());
        }
        set.assume_init()
    }
}
