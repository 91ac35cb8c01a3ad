//! QEMU's command line.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::config::Identity;
use crate::directory::Directory;
use crate::readiness::Accelerator;
use model::VmShape;

/// The machine type.
const MACHINE: &str = "microvm,acpi=on,pcie=off";

/// One microVM as QEMU is told of it.
pub(crate) struct Plan<'a> {
    /// The owner's tag, as the machine's name.
    pub owner: String,
    pub directory: &'a Directory,
    /// Directory with `vmlinuz` and `initramfs`.
    pub image: &'a Path,
    pub accelerator: Accelerator,
    /// The host's time stamp counter in kHz, which the guest sees under TCG.
    pub tsc_khz: Option<u64>,
    pub shape: VmShape,
    /// Front and tenant; none for a trial boot.
    pub nics: Vec<Nic>,
    pub identity: Identity,
    pub disk: Option<Disk>,
    pub memory: Memory,
}

/// Where a VM's memory comes from.
pub(crate) enum Memory {
    /// Anonymous, and empty.
    Fresh,
    /// A new file, which keeps what is written.
    Kept(PathBuf),
    /// A private copy, page by page as they are written, of the file behind the descriptor that QEMU has under
    /// this number; the rest of the machine's state comes over QMP.
    Restored(String),
}

/// A NIC whose tap the process inherits.
pub(crate) struct Nic {
    pub id: &'static str,
    /// The tap's descriptor number in QEMU.
    pub tap_fd: String,
    pub mac: String,
}

/// A VM that has a disk has it in its directory.
pub(crate) struct Disk;

impl Plan<'_> {
    /// The arguments, the program's name left out.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut line = Line::default();
        line.option("-name", &self.owner);
        // Only what is named here: no default devices, no configuration of the user's, and a guest
        // that reboots (its kernel panicked) before it ever worked ends the process: see `super::reset`.
        line.flags(&["-nodefaults", "-no-user-config", "-no-reboot"]);
        line.option("-display", "none");
        self.memory(&mut line);
        line.option("-accel", &self.accelerator.to_string());
        if self.accelerator == Accelerator::Kvm {
            line.option("-cpu", "host");
        }
        line.option("-smp", &self.shape.vcpu.to_string());
        line.option("-m", &self.shape.memory_mib.to_string());
        line.path("-kernel", "", &self.image.join("vmlinuz"));
        line.path("-initrd", "", &self.image.join("initramfs"));
        line.option("-append", &self.kernel_arguments());
        self.chardevs(&mut line);
        for Nic { id, tap_fd, mac } in &self.nics {
            line.option("-netdev", &format!("tap,id={id},fd={tap_fd}"));
            // A restored guest need not announce itself: it takes on another MAC first. And QEMU 7.2, told to
            // announce nothing, frees the timer for it and breaks over that when the guest resets itself.
            line.option(
                "-device",
                &format!("virtio-net-device,netdev={id},guest_announce=off,mac={mac}"),
            );
        }
        if self.disk.is_some() {
            let file = escaped(&self.directory.disk());
            line.path(
                "-blockdev",
                "driver=raw,node-name=disk,file.driver=file,file.filename=",
                &file,
            );
            line.option("-device", "virtio-blk-device,drive=disk");
        }
        self.confinement(&mut line);
        line.0
    }

    fn memory(&self, line: &mut Line) {
        let (file, share) = match &self.memory {
            Memory::Fresh => return line.option("-machine", MACHINE),
            Memory::Kept(file) => (escaped(file), "on"),
            Memory::Restored(number) => (PathBuf::from(format!("/proc/self/fd/{number}")), "off"),
        };
        line.option("-machine", &format!("{MACHINE},memory-backend=ram"));
        let size = self.shape.memory_mib;
        let before = format!("memory-backend-file,id=ram,size={size}M,share={share},mem-path=");
        line.path("-object", &before, &file);
        if let Memory::Restored(_) = self.memory {
            line.option("-incoming", "defer");
        }
    }

    fn chardevs(&self, line: &mut Line) {
        let socket = |id: &str| format!("socket,id={id},server=on,wait=off,path=");
        let console = escaped(&self.directory.console_log());
        line.path("-chardev", "file,id=console,append=on,path=", &console);
        line.option("-serial", "chardev:console");
        line.path(
            "-chardev",
            &socket("channel"),
            &escaped(&self.directory.channel()),
        );
        line.option("-device", "virtio-serial-device");
        line.option(
            "-device",
            "virtserialport,chardev=channel,name=evenkeel.channel",
        );
        // Apart from the channel, so that a full log holds no heartbeat up.
        let log = escaped(&self.directory.log_socket());
        line.path("-chardev", &socket("log"), &log);
        line.option("-device", "virtserialport,chardev=log,name=evenkeel.log");
        line.path("-chardev", &socket("qmp"), &escaped(&self.directory.qmp()));
        line.option("-mon", "chardev=qmp,mode=control");
    }

    /// QEMU opens what only root can open and then becomes nobody, in a system call filter.
    /// The filter's `elevateprivileges` stays open, since that would forbid becoming nobody; after
    /// that, no_new_privs (which the filter sets) keeps it so.
    fn confinement(&self, line: &mut Line) {
        let Identity { uid, gid } = self.identity;
        line.option(
            "-sandbox",
            "on,obsolete=deny,spawn=deny,resourcecontrol=deny",
        );
        line.option("-runas", &format!("{uid}:{gid}"));
    }

    /// What the guest's kernel is told. Everything up to `quiet` saves time at boot.
    ///
    /// A word that the kernel does not know would become an argument of init.
    fn kernel_arguments(&self) -> String {
        let mut words: Vec<String> = [
            "console=ttyS0",
            "panic=-1",
            "reboot=t",
            "mitigations=off",
            "no_timer_check",
            "noreplace-smp",
            "8250.nr_uarts=1",
            "audit=0",
            "apparmor=0",
            "ipv6.disable=1",
            "cryptomgr.notests",
            "rcupdate.rcu_expedited=1",
            "quiet",
        ]
        .map(str::to_owned)
        .to_vec();
        if let (Accelerator::Tcg, Some(khz)) = (self.accelerator, self.tsc_khz) {
            // On a busy host the guest would measure its clock for ever; its loops per jiffy follow
            // from the clock.
            words.push(format!("tsc_early_khz={khz}"));
            words.push("tsc=reliable".to_owned());
        }
        words.push("--".to_owned());
        words.push("init".to_owned());
        words.join(" ")
    }
}

/// In QEMU's options a comma ends a value, and two stand for one.
fn escaped(path: &Path) -> PathBuf {
    let mut bytes = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        bytes.push(*byte);
        if *byte == b',' {
            bytes.push(b',');
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn flags(&mut self, flags: &[&str]) {
        self.0.extend(flags.iter().map(OsString::from));
    }

    fn option(&mut self, name: &str, value: &str) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn path(&mut self, name: &str, before: &str, path: &Path) {
        let mut value = OsString::from(before);
        value.push(path);
        self.0.push(name.into());
        self.0.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::VmId;

    fn plan(directory: &Directory, accelerator: Accelerator) -> Plan<'_> {
        Plan {
            owner: "evenkeel-0a1b2c3d-vm7".to_owned(),
            directory,
            image: Path::new("/image"),
            accelerator,
            tsc_khz: Some(2_596_142),
            shape: VmShape::default(),
            nics: vec![Nic {
                id: "front",
                tap_fd: "64".to_owned(),
                mac: "02:00:0a:c8:00:05".to_owned(),
            }],
            identity: Identity::NOBODY,
            disk: None,
            memory: Memory::Fresh,
        }
    }

    fn words(plan: &Plan<'_>) -> Vec<String> {
        let arguments = plan.arguments().into_iter();
        arguments.map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn the_command_line_is_this_one() {
        let directory = Directory::of_vm(Path::new("/run/ek"), VmId(7));
        let expected = "\
-name evenkeel-0a1b2c3d-vm7
-nodefaults
-no-user-config
-no-reboot
-display none
-machine microvm,acpi=on,pcie=off
-accel tcg
-smp 1
-m 128
-kernel /image/vmlinuz
-initrd /image/initramfs
-append console=ttyS0 panic=-1 reboot=t mitigations=off no_timer_check noreplace-smp \
8250.nr_uarts=1 audit=0 apparmor=0 ipv6.disable=1 cryptomgr.notests \
rcupdate.rcu_expedited=1 quiet tsc_early_khz=2596142 \
tsc=reliable -- init
-chardev file,id=console,append=on,path=/run/ek/vm7/console.log
-serial chardev:console
-chardev socket,id=channel,server=on,wait=off,path=/run/ek/vm7/channel.sock
-device virtio-serial-device
-device virtserialport,chardev=channel,name=evenkeel.channel
-chardev socket,id=log,server=on,wait=off,path=/run/ek/vm7/log.sock
-device virtserialport,chardev=log,name=evenkeel.log
-chardev socket,id=qmp,server=on,wait=off,path=/run/ek/vm7/qmp.sock
-mon chardev=qmp,mode=control
-netdev tap,id=front,fd=64
-device virtio-net-device,netdev=front,guest_announce=off,mac=02:00:0a:c8:00:05
-sandbox on,obsolete=deny,spawn=deny,resourcecontrol=deny
-runas 65534:65534";
        let line = words(&plan(&directory, Accelerator::Tcg)).join(" ");
        assert_eq!(line.replace(" -", "\n-").replace("\n-- ", " -- "), expected);
    }

    #[test]
    fn a_restored_vm_differs_in_its_memory_alone() {
        let directory = Directory::of_vm(Path::new("/run/ek"), VmId(7));
        let mut plan = plan(&directory, Accelerator::Tcg);
        let fresh = words(&plan).join(" ");
        plan.memory = Memory::Restored("66".to_owned());
        let expected = fresh.replace(
            "-machine microvm,acpi=on,pcie=off",
            "-machine microvm,acpi=on,pcie=off,memory-backend=ram \
             -object memory-backend-file,id=ram,size=128M,share=off,mem-path=/proc/self/fd/66 \
             -incoming defer",
        );
        assert_eq!(words(&plan).join(" "), expected);
    }

    #[test]
    fn under_kvm_the_guest_sees_the_host_processor_and_its_own_clock() {
        let directory = Directory::of_vm(Path::new("/run/ek"), VmId(7));
        let line = words(&plan(&directory, Accelerator::Kvm)).join(" ");
        assert!(line.contains("-accel kvm -cpu host"), "{line}");
        assert!(!line.contains("tsc"), "{line}");
    }

    #[test]
    fn a_disk_is_attached_when_asked_for_and_a_comma_in_its_path_is_kept() {
        let directory = Directory::of_vm(Path::new("/run/a,b"), VmId(7));
        let mut plan = plan(&directory, Accelerator::Tcg);
        plan.disk = Some(Disk);
        let line = words(&plan).join(" ");
        assert!(
            line.contains(
                "file.filename=/run/a,,b/vm7/disk.raw -device virtio-blk-device,drive=disk"
            ),
            "{line}"
        );
    }
}
