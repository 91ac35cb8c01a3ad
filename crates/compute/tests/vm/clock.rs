//! The time in VMs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::snapshot::{get, header, run_date};
use super::support::world::{PATIENCE, config, in_own_world, runs, until};
use compute::ComputeChoice;

/// Longer than a clock may be off, and than is noticed of a pause.
const STANDSTILL: Duration = Duration::from_secs(4);

/// Carries commands of QEMU's control protocol out, one after the other.
fn tell_qemu(socket: &Path, commands: &[&str]) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    for command in ["qmp_capabilities"].iter().chain(commands) {
        writeln!(stream, "{{\"execute\":\"{command}\"}}").unwrap();
        let mut line = String::new();
        while !line.contains("\"return\"") {
            line.clear();
            assert_ne!(answers.read_line(&mut line).unwrap(), 0, "{command}");
        }
    }
}

/// By how many seconds the balancer's idea of the time is off.
fn off_by(address: std::net::Ipv4Addr) -> u64 {
    let date = header(&get(address, "/"), "Date: ");
    run_date(&format!("--date={date}")).abs_diff(run_date("--utc"))
}

/// A machine that is stopped does not see the time pass, and no server is there that could tell it.
#[test]
fn a_vm_whose_machine_stood_still_learns_the_time_from_the_next_server() {
    in_own_world(ComputeChoice::Tcg, |world| async move {
        let compute = world.compute().await;
        let spec = world.spec(1).await;
        compute.set_config(spec.vm, config(1));
        compute.ensure_vm(&spec).await.unwrap();
        until(&compute, spec.vm, "its configuration", runs(1)).await;
        let address = spec.nics.front.address;
        drop(compute);

        let socket = world.vm_directory(spec.vm).join("qmp.sock");
        tell_qemu(&socket, &["stop"]);
        // What is tested is the time that passes.
        tokio::time::sleep(STANDSTILL).await;
        tell_qemu(&socket, &["cont"]);
        let late = off_by(address);
        assert!(late >= STANDSTILL.as_secs() - 1, "it is off by {late} s");

        let compute = world.compute().await;
        let deadline = Instant::now() + PATIENCE;
        while off_by(address) > 1 {
            assert!(
                Instant::now() < deadline,
                "still off by {} s",
                off_by(address)
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        compute.remove_vm(spec.vm).await.unwrap();
    });
}
