//! What becomes of snapshot and pool when the host lacks something, or a machine does not answer.

use std::fs;
use std::time::{Duration, Instant};

use super::snapshot::{command_line, serve, snapshots, until_ahead};
use super::support::world::{PATIENCE, World, config, in_own_world, run};
use compute::{Compute, ComputeChoice};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

/// Waits until what `compute` complains of is as it should be.
async fn until_troubles(compute: &Compute, what: &str, hold: impl Fn(&[String]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !hold(&compute.troubles()) {
        let troubles = compute.troubles();
        assert!(Instant::now() < deadline, "{what}: {troubles:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_full_disk_costs_the_snapshot_nothing() {
    in_own_world(ComputeChoice::Tcg, |mut world| async move {
        snapshots(&mut world);
        let place = world.config.directory.clone();
        fs::create_dir_all(&place).unwrap();
        run(&format!(
            "mount -t tmpfs -o size=16m,nr_inodes=64 none {}",
            place.display()
        ));
        let compute = world.compute().await;
        until_ahead(&compute, true, 0).await;
        let spec = world.spec(1).await;
        let fill = |number: usize| place.join(format!("fill{number}"));
        let filled = (0..64).take_while(|number| fs::write(fill(*number), "").is_ok());
        let filled = filled.count();
        for _ in 0..4 {
            let error = compute.ensure_vm(&spec).await.unwrap_err().to_string();
            assert!(error.contains("No space left"), "{error}");
        }
        assert!(compute.ahead().snapshot, "{:?}", compute.troubles());
        let told = compute.troubles().concat();
        assert!(
            told.contains("No space left") && told.contains("kept"),
            "{told}"
        );

        for number in 0..filled {
            fs::remove_file(fill(number)).unwrap();
        }
        until_troubles(&compute, "its pause", <[String]>::is_empty).await;
        serve(&compute, &spec, config(1)).await;
        let line = command_line(&compute, spec.vm).await;
        assert!(line.contains("-incoming defer"), "{line}");
        compute.remove_vm(spec.vm).await.unwrap();
    });
}

#[test]
fn a_snapshot_from_which_nothing_comes_is_made_anew_after_a_pause() {
    in_own_world(ComputeChoice::Tcg, |mut world| async move {
        let place = snapshots(&mut world);
        let compute = world.compute().await;
        until_ahead(&compute, true, 0).await;
        drop(compute);
        let name = fs::read_dir(&place).unwrap().next().unwrap().unwrap();
        let state = b"no state of a machine";
        fs::write(name.path().join("state"), state).unwrap();
        let path = name.path().join("snapshot.json");
        let mut record: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let digest: String = Sha256::digest(state)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        record["state_sha256"] = digest.into();
        fs::write(&path, record.to_string()).unwrap();

        let compute = world.compute().await;
        until_ahead(&compute, true, 0).await;
        let (one, two) = (world.spec(1).await, world.spec(2).await);
        serve(&compute, &one, config(1)).await;
        let line = command_line(&compute, one.vm).await;
        assert!(!line.contains("-incoming"), "{line}");
        until_troubles(&compute, "no word of it", |troubles| {
            troubles.concat().contains("a new one is made in")
        })
        .await;
        until_ahead(&compute, true, 0).await;
        assert_eq!(compute.troubles(), Vec::<String>::new());
        serve(&compute, &two, config(1)).await;
        let line = command_line(&compute, two.vm).await;
        assert!(line.contains("-incoming"), "{line}");
    });
}

/// Stops machines of the pool, all but the newest `but`, and tells the numbers of all, the oldest first.
fn stop_pool(world: &World, but: usize) -> Vec<u32> {
    let born = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        fields.skip(19).map(|n| n.parse::<u64>().unwrap()).next()
    };
    let unowned = world.unowned();
    let processes = unowned
        .iter()
        .filter_map(|found| found.strip_prefix("process "));
    let mut pids: Vec<u32> = processes.map(|pid| pid.parse().unwrap()).collect();
    pids.sort_by_key(|pid| born(*pid));
    for pid in &pids[..pids.len() - but] {
        run(&format!("kill -STOP {pid}"));
    }
    pids
}

#[test]
fn a_machine_of_the_pool_that_stands_still_is_ended_and_another_way_is_taken() {
    in_own_world(ComputeChoice::Tcg, |mut world| async move {
        snapshots(&mut world);
        world.config.pool = 2;
        let compute = world.compute().await;
        until_ahead(&compute, true, 2).await;
        let pool = stop_pool(&world, 1);
        let one = world.spec(1).await;
        timeout(PATIENCE, serve(&compute, &one, config(1)))
            .await
            .expect("it waits for a machine that is stopped");
        assert_eq!(compute.observe().await[&one.vm].pid, Some(pool[1]));
        let stopped = fs::metadata(format!("/proc/{}", pool[0]));
        assert!(stopped.is_err(), "the stopped one is still there");

        until_ahead(&compute, true, 2).await;
        let pool = stop_pool(&world, 0);
        let two = world.spec(2).await;
        timeout(PATIENCE, serve(&compute, &two, config(1)))
            .await
            .expect("it waits for machines that are stopped");
        let pid = compute.observe().await[&two.vm].pid.unwrap();
        assert!(!pool.contains(&pid), "{pid} of {pool:?}");
        let line = command_line(&compute, two.vm).await;
        assert!(line.contains("-incoming defer"), "{line}");
        for vm in [one.vm, two.vm] {
            let removed = timeout(PATIENCE, compute.remove_vm(vm)).await;
            removed.expect("a delete waits").unwrap();
        }
        assert_eq!(world.traces(two.vm), Vec::<String>::new());
    });
}
