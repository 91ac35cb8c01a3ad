//! How VMs are run, and what is said when they cannot be.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use end_to_end::{Driver, Evenkeel, Host, Vm, Web, eventually};
use serde_json::json;

const GIB: u64 = 1 << 30;

#[test]
fn auto_boots_the_image_to_find_out_about_kvm_says_why_it_is_not_used_and_asks_once_only() {
    let host = Host::new();
    configure(&host, "driver = 'tcg'", "driver = 'auto'");
    let mut evenkeel = Evenkeel::stopped(&host);
    evenkeel.resume();
    let web = Web::create(&host, evenkeel.door(), 1);
    let accelerator = web.info()["vms"][0]["accelerator"].clone();
    let log = || fs::read_to_string(host.path("evenkeel.log")).expect("it has a log");
    let trials = || log().matches("booting the image under KVM").count();
    assert_eq!(trials(), usize::from(Path::new("/dev/kvm").exists()));
    match accelerator.as_str() {
        Some("kvm") => {}
        Some("tcg") => assert!(
            log().contains("ready (tcg); KVM does not work here: "),
            "no reason"
        ),
        other => panic!("the accelerator is {other:?}"),
    }
    let (tried, before) = (trials(), web.vms());
    evenkeel.stop();
    evenkeel.resume();
    eventually("it knows again how VMs are run", || {
        let said = log().matches("VMs: ready").count();
        if said == 2 { Ok(()) } else { Err(said) }
    });
    web.await_condition("serving");
    assert_eq!(trials(), tried, "it was tried again");
    assert_eq!(web.vms(), before);
    let left = host.processes("-trial");
    assert!(left.is_empty(), "a trial boot goes on: {left:?}");
}

#[test]
fn without_an_image_it_says_what_to_do_and_goes_on_when_that_is_done() {
    let image = std::env::var("EVENKEEL_IMAGE").expect("the tests know the image");
    missing_then_there(Driver::Machine, "image", &image, "evenkeel image build");
}

#[test]
fn without_qemu_it_says_what_to_do_and_goes_on_when_that_is_done() {
    missing_then_there(
        Driver::Machine,
        "qemu",
        "/usr/bin/qemu-system-x86_64",
        "apt-get install qemu-system-x86",
    );
}

#[test]
fn without_a_balancer_it_says_what_to_do_and_goes_on_when_that_is_done() {
    let balancer = std::env::var("EVENKEEL_BALANCER").expect("the tests know the balancer");
    missing_then_there(Driver::Process, "balancer", &balancer, "evenkeel-balancer");
}

#[test]
fn a_vm_is_as_large_as_the_missions_vm_when_that_is_asked_for() {
    let host = Host::new();
    let size = "[vm]\nvcpu = 4\ndisk_size = 10\nmemory_mib = 192";
    let evenkeel = Evenkeel::start_with(&host, Driver::Machine, size);
    let web = Web::create(&host, evenkeel.door(), 1);
    let vm = only(&web);
    let line = command_line(&host, &vm);
    assert!(line.contains(" -smp 4 -m 192 "), "{line}");
    let disk = host.path(&format!("run/vms/vm{}/disk.raw", vm.id));
    let disk = fs::metadata(&disk).expect("a disk was asked for");
    assert_eq!(disk.len(), 10 * GIB);
    assert!(
        disk.blocks() * 512 < GIB / 1_000,
        "it is not sparse: {} blocks",
        disk.blocks()
    );
    assert!(
        line.contains("disk.raw") && line.contains("virtio-blk"),
        "{line}"
    );
    web.fetch().expect("it balances");
}

#[test]
fn a_process_vm_is_nobody_in_a_network_and_a_cgroup_of_its_own() {
    let host = Host::new();
    let size = "[vm]\nvcpu = 2\nmemory_mib = 96";
    let evenkeel = Evenkeel::start_with(&host, Driver::Process, size);
    let web = Web::create(&host, evenkeel.door(), 1);
    let vm = only(&web);
    let pid = vm.pid.expect("it serves");
    assert_is_nobody(&host, pid);
    assert!(command_line(&host, &vm).contains(" --threads 2"));
    let network = |pid: &str| host.shell(&format!("readlink /proc/{pid}/ns/net"));
    assert_ne!(network(&pid.to_string()), network("self"));
    let listening = host.shell(&format!("nsenter --net=/run/netns/ek-v{} ss -Hltn", vm.id));
    assert!(listening.contains(":80 "), "{listening}");
    let group = assert_has_a_group(&host, &vm);
    let limits = ["memory.limit_in_bytes", "memory.max"];
    let limit = limits
        .iter()
        .find_map(|file| fs::read_to_string(format!("{group}/{file}")).ok());
    assert_eq!(
        limit.as_deref().map(str::trim),
        Some((96 << 20).to_string().as_str())
    );
}

#[test]
fn qemu_is_nobody_behind_a_system_call_filter_and_in_a_cgroup_of_its_own() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Machine);
    let web = Web::create(&host, evenkeel.door(), 1);
    let vm = only(&web);
    let pid = vm.pid.expect("it serves");
    assert_is_nobody(&host, pid);
    let status = host.shell(&format!("cat /proc/{pid}/status"));
    assert!(status.contains("Seccomp:\t2"), "no filter: {status}");
    assert_has_a_group(&host, &vm);
}

/// What is missing at `[compute]`'s `key` is named with what to do about it, in `status` and in the
/// instance's account; once `there` is put in its place, all goes on by itself.
fn missing_then_there(driver: Driver, key: &str, there: &str, remedy: &str) {
    let host = Host::new();
    let place = host.path("missing");
    Evenkeel::configure(&host, driver, "");
    let config = fs::read_to_string(host.path("evenkeel.toml")).expect("it was written");
    let others = config
        .lines()
        .filter(|line| !line.starts_with(&format!("{key} =")));
    let others = others.collect::<Vec<_>>().join("\n");
    let config = format!("{others}\n{key} = '{}'\n", place.display());
    fs::write(host.path("evenkeel.toml"), config).expect("it can be written");
    let mut evenkeel = Evenkeel::stopped(&host);
    evenkeel.resume();
    let web = Web::ask_for(&host, evenkeel.door(), 1);
    let tells = |text: &str| text.contains(&*place.to_string_lossy()) && text.contains(remedy);
    eventually(
        "the account of the instance says why and what to do",
        || {
            let waiting = web.info()["waiting_for"].to_string();
            if tells(&waiting) {
                Ok(())
            } else {
                Err(waiting)
            }
        },
    );
    let system = evenkeel.door().do_("info", "system", json!({}));
    let troubles = system["troubles"].as_array().expect("a list");
    assert!(
        troubles.len() == 1 && tells(&troubles[0].to_string()),
        "{troubles:?}"
    );
    let status = evenkeel.cli("status");
    let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(tells(&status), "{status}");
    host.shell(&format!("ln -s {there} {}", place.display()));
    web.await_condition("serving");
    let system = evenkeel.door().do_("info", "system", json!({}));
    assert_eq!(system["troubles"], json!([]));
    assert_eq!(only(&web).id, 1, "a VM that waits is not given up");
}

/// Writes the configuration for VMs with one line of it changed.
fn configure(host: &Host, line: &str, instead: &str) {
    let path = Evenkeel::configure(host, Driver::Machine, "");
    let config = fs::read_to_string(&path).expect("it was written");
    assert!(config.contains(line), "{config}");
    fs::write(&path, config.replace(line, instead)).expect("it can be written");
}

fn assert_is_nobody(host: &Host, pid: u32) {
    let status = host.shell(&format!("cat /proc/{pid}/status"));
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let nobody = "65534 65534 65534 65534";
    assert_eq!(
        (field("Uid").as_str(), field("Gid").as_str()),
        (nobody, nobody)
    );
    assert!(
        ["", "65534"].contains(&field("Groups").as_str()),
        "{}",
        field("Groups")
    );
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
}

/// The directory of the group that bounds the VM's memory, which holds its process, under the process
/// driver the balancer that this one supervises, and no other.
fn assert_has_a_group(host: &Host, vm: &Vm) -> String {
    let pid = vm.pid.expect("it serves");
    let groups = host.shell(&format!("cat /proc/{pid}/cgroup"));
    let own = format!("/vm{}", vm.id);
    let is_own = |path: &str| path.starts_with("/evenkeel-") && path.ends_with(&own);
    let mut paths = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        is_own(path).then_some((controllers, path))
    });
    let (controllers, path) = paths
        .find(|(controllers, _)| matches!(*controllers, "memory" | ""))
        .unwrap_or_else(|| panic!("no group of its own: {groups}"));
    let group = Path::new("/sys/fs/cgroup")
        .join(controllers)
        .join(&path[1..]);
    let members = host.shell(&format!("cat {}/cgroup.procs", group.display()));
    let children = host.shell(&format!("cat /proc/{pid}/task/{pid}/children"));
    let own: BTreeSet<&str> = children.split_whitespace().collect();
    let others = members
        .split_whitespace()
        .filter(|member| *member != pid.to_string());
    assert_eq!(others.collect::<BTreeSet<_>>(), own, "beside {pid}");
    assert!(members.contains(&pid.to_string()), "{members}");
    group.display().to_string()
}

fn command_line(host: &Host, vm: &Vm) -> String {
    let pid = vm.pid.expect("it serves");
    host.shell(&format!("tr '\\0' ' ' </proc/{pid}/cmdline"))
}

fn only(web: &Web<'_>) -> Vm {
    let [vm]: [Vm; 1] = web.vms().try_into().expect("it has one VM");
    vm
}
