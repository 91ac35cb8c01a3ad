//! Whole lives of VMs, by both drivers, in a world of their own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "vm/clock.rs"]
mod clock;
#[path = "vm/shortage.rs"]
mod shortage;
#[path = "vm/snapshot.rs"]
mod snapshot;
mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Instant;

use compute::image::{CollectdSource, KernelSource, Recipe, build};
use compute::{Compute, ComputeChoice, ComputeError, Readiness};
use model::figures::{BootMonitor, COLLECTD_PORT};
use model::{Driver, VmId};
use support::artifacts::kernel_package;
use support::world::{World, ask, config, in_own_world, inside, ping, run, runs, status, until};

/// One test for each driver.
macro_rules! by_both_drivers {
    ($($(#[$meta:meta])* async fn $name:ident($world:ident: World) $body:block)*) => {
        $(async fn $name($world: World) $body)*
        mod qemu {
            $(#[test] $(#[$meta])* fn $name() {
                super::in_own_world(super::ComputeChoice::Tcg, super::$name);
            })*
        }
        mod process {
            $(#[test] $(#[$meta])* fn $name() {
                super::in_own_world(super::ComputeChoice::Process, super::$name);
            })*
        }
    };
}

/// VM 1, up to its first heartbeat with configuration 1.
async fn serve(world: &World, compute: &Compute) -> compute::VmSpec {
    let spec = world.spec(1).await;
    compute.set_config(spec.vm, config(1));
    compute.ensure_vm(&spec).await.unwrap();
    until(compute, spec.vm, "first configuration", runs(1)).await;
    spec
}

/// As many servers as one configuration has at the most, and the longest texts; `planner` tests that no instance
/// has a larger one.
fn largest_config() -> model::BalancerConfig {
    let mut largest = config(1);
    let networks: Vec<_> = (0..=255)
        .map(|n| format!("100.100.{n}.128/25").parse().unwrap())
        .collect();
    assert_eq!(networks.len(), model::MAX_NETWORKS);
    largest.backends = (0..model::MAX_BACKENDS)
        .map(|n| model::BackendConfig {
            address: std::net::Ipv4Addr::from_bits(u32::from_be_bytes([1, 1, 1, 1])),
            port: 60_000 + u16::try_from(n).unwrap(),
            weight: model::MAX_WEIGHT,
            backup: n > 0,
            max_connections: Some(1_000_000),
        })
        .collect();
    largest.instance = "\u{10ffff}".repeat(128);
    largest.health_check.request_path = format!("/{}", "p".repeat(2_047));
    largest.health_check.expected_body = Some("\"".repeat(model::MAX_EXPECTED_BODY_BYTES));
    largest.policy.allowed_clients = networks.clone();
    largest.policy.proxy_protocol.accept_from = networks.clone();
    largest.policy.forwarding.trusted_proxies = networks;
    largest
}

by_both_drivers! {
    async fn the_largest_configuration_arrives_and_the_vm_goes_on_to_be_heard(world: World) {
        let compute = world.compute().await;
        let spec = world.spec(1).await;
        compute.set_config(spec.vm, largest_config());
        compute.ensure_vm(&spec).await.unwrap();
        let sight = until(&compute, spec.vm, "the largest configuration", runs(1)).await;
        let heard = sight.heartbeat.unwrap().heartbeat;
        assert_eq!(heard.backends.len(), model::MAX_BACKENDS);
        compute.set_config(spec.vm, config(2));
        until(&compute, spec.vm, "a small configuration", runs(2)).await;
    }

    async fn a_vm_boots_takes_its_configuration_and_answers_on_its_front_address(world: World) {
        let compute = world.compute().await;
        let spec = world.spec(1).await;
        let mut changes = compute.changes();
        compute.set_config(spec.vm, config(1));
        changes.mark_unchanged();
        let start = Instant::now();
        compute.ensure_vm(&spec).await.unwrap();
        let running = start.elapsed();
        let sight = until(&compute, spec.vm, "first heartbeat", |sight| sight.heartbeat.is_some()).await;
        println!("{}: process runs after {running:?}, first heartbeat after {:?}", sight.accelerator, start.elapsed());
        assert!(changes.has_changed().unwrap(), "the first heartbeat is news");
        assert_eq!(sight.driver, world.driver());
        assert_eq!(world.processes(spec.vm), [sight.pid.unwrap()]);
        assert_eq!(sight.exit, None);
        until(&compute, spec.vm, "first configuration", runs(1)).await;
        println!("configured after {:?}", start.elapsed());

        let answer = ask(spec.nics.front.address).unwrap();
        println!("answered after {:?}: {answer}", start.elapsed());
        assert!(answer.starts_with("HTTP/1."), "{answer}");
        ping(spec.nics.front.address).unwrap();

        // The tenant's side answers as well, in the project's namespace and there alone.
        run("ip -n ek-p1 addr add 1.1.1.1/24 dev br1");
        let tenant = spec.nics.tenant.address;
        inside("ek-p1", move || ping(tenant)).unwrap();

        compute.set_config(spec.vm, config(2));
        until(&compute, spec.vm, "second configuration", runs(2)).await;
        compute.set_config(spec.vm, config(1));
        until(&compute, spec.vm, "an older configuration is passed over", runs(2)).await;
        compute.ensure_vm(&spec).await.unwrap();
        assert_eq!(world.processes(spec.vm), [sight.pid.unwrap()], "ensured again, started again");
    }

    async fn a_killed_vm_is_seen_at_once_and_can_be_started_again(world: World) {
        let compute = world.compute().await;
        let spec = serve(&world, &compute).await;
        let mut changes = compute.changes();
        changes.mark_unchanged();
        let pid = world.processes(spec.vm)[0];
        run(&format!("kill -9 {pid}"));
        changes.changed().await.unwrap();
        let sight = until(&compute, spec.vm, "its end", |sight| sight.exit.is_some()).await;
        assert_eq!(sight.pid, None);
        assert_eq!(sight.exit.as_deref(), Some("killed by signal 9"));
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "a zombie stayed");

        compute.ensure_vm(&spec).await.unwrap();
        let sight = until(&compute, spec.vm, "configuration after a new start", runs(1)).await;
        assert_ne!(sight.pid, Some(pid));
        assert!(ask(spec.nics.front.address).is_ok());
    }

    async fn a_vm_outlives_its_controller_and_is_taken_over_without_a_restart(world: World) {
        let compute = world.compute().await;
        let spec = serve(&world, &compute).await;
        let before = until(&compute, spec.vm, "a heartbeat", |sight| sight.heartbeat.is_some()).await;
        drop(compute);
        for _ in 0..20 {
            ask(spec.nics.front.address).unwrap();
        }
        // Nothing is prepared and nobody says what the VM is: it is found.
        let compute = world.open().await;
        let found = compute.observe().await;
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [spec.vm]);
        let sight = until(&compute, spec.vm, "configuration after the takeover", runs(1)).await;
        assert_eq!(sight.pid, before.pid);
        assert_eq!(sight.driver, world.driver());
        assert_eq!(sight.accelerator, before.accelerator);
        let sequence = |sight: &model::VmSight| sight.heartbeat.as_ref().unwrap().heartbeat.sequence;
        assert!(sequence(&sight) > sequence(&before), "the balancer began anew");
        compute.set_config(spec.vm, config(2));
        until(&compute, spec.vm, "configuration by the new controller", runs(2)).await;
    }

    async fn a_removed_vm_leaves_nothing(world: World) {
        let compute = world.compute().await;
        let spec = serve(&world, &compute).await;
        assert!(!world.traces(spec.vm).is_empty());
        compute.remove_vm(spec.vm).await.unwrap();
        assert_eq!(world.traces(spec.vm), Vec::<String>::new());
        assert!(compute.observe().await.is_empty());
        compute.remove_vm(spec.vm).await.unwrap();
        compute.remove_vm(VmId(77)).await.unwrap();
    }

    async fn a_vm_adopted_while_it_still_asks_who_it_is_learns_it(world: World) {
        let compute = world.compute().await;
        let spec = world.spec(1).await;
        compute.ensure_vm(&spec).await.unwrap();
        drop(compute);
        let compute = world.open().await;
        until(&compute, spec.vm, "first heartbeat", |sight| sight.heartbeat.is_some()).await;
    }

    async fn what_a_crash_leaves_is_seen_and_taken_away(world: World) {
        let compute = world.compute().await;
        let spec = world.spec(1).await;
        // After the directory; after the directory, the NICs and the cgroups.
        for steps in 1..=2 {
            fs::create_dir_all(world.vm_directory(spec.vm)).unwrap();
            fs::write(world.vm_directory(spec.vm).join("channel.sock"), "").unwrap();
            if steps == 2 {
                world.network.ensure_veth_nics(&spec.nics).await.unwrap();
                world.make_cgroups(spec.vm);
            }
            let seen = compute.observe().await;
            assert_eq!(seen[&spec.vm].pid, None);
            assert_eq!(seen[&spec.vm].exit, None, "nobody saw it end");
            compute.remove_vm(spec.vm).await.unwrap();
            assert_eq!(world.traces(spec.vm), Vec::<String>::new());
        }
        fs::create_dir_all(world.vm_directory(spec.vm)).unwrap();
        fs::write(world.vm_directory(spec.vm).join("channel.sock"), "").unwrap();
        compute.ensure_vm(&spec).await.unwrap();
        until(&compute, spec.vm, "first heartbeat", |sight| sight.heartbeat.is_some()).await;
        // A process without a directory, too.
        fs::remove_dir_all(world.vm_directory(spec.vm)).unwrap();
        drop(compute);
        let compute = world.open().await;
        assert!(compute.observe().await[&spec.vm].pid.is_some());
        compute.remove_vm(spec.vm).await.unwrap();
        assert_eq!(world.traces(spec.vm), Vec::<String>::new());
    }
}

#[test]
fn a_process_vm_has_no_privileges_and_only_its_own_network() {
    in_own_world(ComputeChoice::Process, |world| async move {
        let compute = world.compute().await;
        let spec = serve(&world, &compute).await;
        let pid = world.processes(spec.vm)[0];
        for (field, expected) in [
            ("Uid", "65534 65534 65534 65534"),
            ("Gid", "65534 65534 65534 65534"),
            ("Groups", ""),
            ("CapEff", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("NoNewPrivs", "1"),
        ] {
            assert_eq!(status(pid, field), expected, "{field}");
        }
        let namespace = |path: String| fs::metadata(path).unwrap().ino();
        assert_eq!(
            namespace(format!("/proc/{pid}/ns/net")),
            namespace("/run/netns/ek-v1".to_owned())
        );
        let session = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        assert_eq!(
            session.split(' ').nth(5),
            Some(pid.to_string().as_str()),
            "session of its own"
        );
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert_eq!(
            world.cgroups().is_empty(),
            !groups.contains("/vm1"),
            "{groups}"
        );
    });
}

#[test]
fn qemu_runs_as_nobody_behind_a_system_call_filter() {
    in_own_world(ComputeChoice::Tcg, |world| async move {
        let compute = world.compute().await;
        let mut spec = world.spec(1).await;
        spec.shape.vcpu = 2;
        spec.shape.disk_size = 4;
        spec.shape.memory_mib = 160;
        compute.ensure_vm(&spec).await.unwrap();
        until(&compute, spec.vm, "first heartbeat", |sight| {
            sight.heartbeat.is_some()
        })
        .await;
        let pid = world.processes(spec.vm)[0];
        for (field, expected) in [
            ("Uid", "65534 65534 65534 65534"),
            ("Gid", "65534 65534 65534 65534"),
            ("CapEff", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(status(pid, field), expected, "{field}");
        }
        let disk = fs::metadata(world.vm_directory(spec.vm).join("disk.raw")).unwrap();
        assert_eq!(disk.len(), 4 << 30);
        assert!(
            disk.blocks() < 1024,
            "the disk takes space: {} blocks",
            disk.blocks()
        );
    });
}

#[test]
fn auto_tries_kvm_by_booting_and_remembers_the_answer() {
    in_own_world(ComputeChoice::Auto, |mut world| async move {
        world.config.kvm_deadline_ms = 5_000;
        let compute = world.open().await;
        assert_eq!(compute.readiness(), Readiness::Probing);
        let spec = world.spec(1).await;
        let early = compute.ensure_vm(&spec).await;
        assert!(
            matches!(early, Err(ComputeError::NotReady { .. })),
            "{early:?}"
        );

        let start = Instant::now();
        let found = compute.prepare().await;
        let (first, again) = (start.elapsed(), Instant::now());
        let Readiness::Ready { accelerator, .. } = &found else {
            panic!("{found}");
        };
        println!("{found}: after {first:?}");
        assert!(first.as_secs() < 10, "the deadline is not kept: {first:?}");
        assert!(!world.config.directory.join("trial").exists());
        assert_eq!(compute.prepare().await, found);
        println!("remembered: after {:?}", again.elapsed());
        // Nothing was booted this time: QEMU told its version, and the clock was measured.
        assert!(again.elapsed().as_millis() < 2_500);

        compute.ensure_vm(&spec).await.unwrap();
        let sight = until(&compute, spec.vm, "first heartbeat", |sight| {
            sight.heartbeat.is_some()
        })
        .await;
        assert_eq!(sight.accelerator, accelerator.to_string());
    });
}

#[test]
fn a_guest_that_never_speaks_ends_the_trial_at_its_deadline() {
    in_own_world(ComputeChoice::Kvm, |mut world| async move {
        let script = world.scratch().join("qemu");
        let silent =
            "#!/bin/sh\n[ \"$1\" = --version ] && { echo QEMU 1; exit; }\nexec sleep 600\n";
        fs::write(&script, silent).unwrap();
        run(&format!("chmod 755 {}", script.display()));
        world.config.qemu_program = script;
        world.config.kvm_deadline_ms = 300;
        let start = Instant::now();
        let readiness = world.open().await.prepare().await;
        let reason = match fs::File::options().read(true).write(true).open("/dev/kvm") {
            Ok(_) => "it did not boot within 300 ms",
            Err(_) => "/dev/kvm cannot be opened",
        };
        assert!(matches!(readiness, Readiness::Unable { .. }), "{readiness}");
        assert!(readiness.to_string().contains(reason), "{readiness}");
        assert!(
            readiness.to_string().contains("`compute.driver` to `auto`"),
            "{readiness}"
        );
        assert!(start.elapsed().as_secs() < 10);
        assert!(!world.config.directory.join("trial").exists());
    });
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    in_own_world(ComputeChoice::Tcg, |world| async move {
        let mut cases = Vec::new();
        let mut without_qemu = world.config.clone();
        without_qemu.qemu_program = "qemu-system-nowhere".into();
        cases.push((
            without_qemu,
            ["qemu-system-nowhere", "apt-get install qemu-system-x86"],
        ));
        let mut without_image = world.config.clone();
        without_image.image_directory = world.scratch().join("none");
        cases.push((without_image, ["/none", "evenkeel image build"]));
        let mut without_balancer = world.config.clone();
        without_balancer.choice = ComputeChoice::Process;
        without_balancer.balancer_program = world.scratch().join("balancer");
        cases.push((
            without_balancer,
            ["/balancer", "install `evenkeel-balancer`"],
        ));
        let spec = world.spec(1).await;
        for (config, words) in cases {
            let compute = Compute::open(config, world.network.clone()).await.unwrap();
            let readiness = compute.prepare().await;
            assert!(matches!(readiness, Readiness::Unable { .. }), "{readiness}");
            let error = compute.ensure_vm(&spec).await.unwrap_err().to_string();
            for word in words {
                assert!(readiness.to_string().contains(word), "{readiness}");
                assert!(error.contains(word), "{error}");
            }
        }
    });
}

#[test]
fn a_collectd_that_ends_is_started_again_and_the_vm_serves_meanwhile() {
    in_own_world(ComputeChoice::Tcg, |world| async move {
        let compute = world.compute().await;
        let mut spec = world.spec(1).await;
        // What collectd takes for the end of its host's name, and the rest for a mistake.
        spec.monitor = Some(BootMonitor {
            address: spec.nics.front.gateway.unwrap(),
            port: COLLECTD_PORT,
            user: "vm\"1".to_owned(),
            key: "key".to_owned(),
        });
        compute.set_config(spec.vm, config(1));
        compute.ensure_vm(&spec).await.unwrap();
        until(&compute, spec.vm, "first configuration", runs(1)).await;
        let console = world.vm_directory(spec.vm).join("console.log");
        let ends = "collectd exited with status 1; it is started again";
        until(&compute, spec.vm, "a third end", |sight| {
            assert_eq!(sight.exit, None);
            let said = fs::read_to_string(&console).unwrap();
            said.matches(ends).count() >= 3
        })
        .await;
        assert!(ask(spec.nics.front.address).is_ok(), "it serves");
    });
}

#[test]
fn a_vm_whose_init_gives_up_is_seen_to_end_with_qemus_reason() {
    in_own_world(ComputeChoice::Tcg, |mut world| async move {
        // A static program that prints an error and exits; the kernel then panics.
        world.config.image_directory = world.scratch().join("image");
        build(&Recipe {
            kernel: KernelSource::Package(kernel_package()),
            balancer: "/sbin/ldconfig".into(),
            collectd: CollectdSource::Absent,
            output: world.config.image_directory.clone(),
        })
        .unwrap();
        let compute = world.compute().await;
        let spec = world.spec(1).await;
        compute.ensure_vm(&spec).await.unwrap();
        let sight = until(&compute, spec.vm, "its end", |sight| sight.exit.is_some()).await;
        assert_eq!(
            sight.exit.as_deref(),
            Some("exited with status 0 (guest-reset)")
        );
        assert_eq!(sight.pid, None);
        let console = fs::read_to_string(world.vm_directory(spec.vm).join("console.log")).unwrap();
        assert!(console.contains("Attempted to kill init"), "{console}");
    });
}

#[test]
fn a_program_that_ends_at_once_is_told_with_what_it_said() {
    in_own_world(ComputeChoice::Process, |mut world| async move {
        let script = world.scratch().join("balancer");
        fs::write(&script, "#!/bin/sh\necho no such luck >&2\nexit 3\n").unwrap();
        run(&format!(
            "chmod 755 {} {}",
            script.display(),
            world.scratch().display()
        ));
        world.config.balancer_program = script;
        let compute = world.compute().await;
        let spec = world.spec(1).await;
        // The listening socket is there before the program, so its end may be seen a moment later.
        let failed = compute.ensure_vm(&spec).await;
        let sight = until(&compute, spec.vm, "its end", |sight| sight.exit.is_some()).await;
        let end = sight.exit.as_deref();
        assert_eq!(end, Some("exited with status 3: no such luck"));
        if let Err(error) = failed {
            assert!(error.to_string().contains("no such luck"), "{error}");
        }
        assert_eq!(sight.driver, Driver::Process);
        compute.remove_vm(spec.vm).await.unwrap();
        assert_eq!(world.traces(spec.vm), Vec::<String>::new());
    });
}

#[test]
fn vms_of_a_test_that_is_killed_die_with_it() {
    const ROLE: &str = "EVENKEEL_TEST_VICTIM";
    if std::env::var_os(ROLE).is_some() {
        return in_own_world(ComputeChoice::Process, |world| async move {
            let compute = world.compute().await;
            let spec = serve(&world, &compute).await;
            println!("\nvictim {}", world.processes(spec.vm)[0]);
            std::future::pending::<()>().await;
        });
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "vms_of_a_test_that_is_killed_die_with_it",
            "--nocapture",
        ])
        .env(ROLE, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(victim.stdout.take().unwrap()));
    let pid = loop {
        let line = lines.next().unwrap().unwrap();
        if let Some(pid) = line.strip_prefix("victim ") {
            break pid.to_owned();
        }
    };
    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + support::world::PATIENCE;
    while fs::exists(format!("/proc/{pid}")).unwrap() {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
