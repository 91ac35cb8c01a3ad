//! Creation does not wait for the network.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::time::{Duration, Instant};

use model::{ProjectId, SubnetId};
use support::{
    PATIENCE, ask, in_own_host, inside, make_backend, namespace, nics, open_network, serve,
};

/// Far above what it takes (some 40 ms), so that a busy machine makes no false alarm, and below the second
/// that one lost packet or one late carrier costs.
const BOUND: Duration = Duration::from_millis(500);

const ROUNDS: u8 = 10;

#[test]
fn a_project_with_a_vm_is_made_and_answers_within_half_a_second() {
    in_own_host(async || {
        let network = open_network().await;
        network.ensure_front().await.unwrap();
        let (mut made, mut answered) = (Vec::new(), Vec::new());
        for number in 1..=ROUNDS {
            let vm = nics(number, number.into(), number.into());
            let start = Instant::now();
            network.ensure_project(vm.project).await.unwrap();
            network.ensure_subnet(vm.project, vm.subnet).await.unwrap();
            network.ensure_veth_nics(&vm).await.unwrap();
            made.push(start.elapsed());
            let path = namespace(&format!("ek-v{number}"));
            inside(&path, || serve(80, "hello"));
            assert_eq!(
                ask(vm.front.address, 80, PATIENCE).as_deref(),
                Some("hello")
            );
            answered.push(start.elapsed());
        }
        report("project, subnet and veth NICs", &mut made);
        report("the same and the first answer", &mut answered);
        assert!(answered[usize::from(ROUNDS) / 2] < BOUND);
    });
}

#[test]
fn a_new_vm_reaches_its_backend_within_half_a_second() {
    in_own_host(async || {
        let network = open_network().await;
        network.ensure_front().await.unwrap();
        network
            .ensure_subnet(ProjectId(1), SubnetId(1))
            .await
            .unwrap();
        let backend = make_backend(&network, 1, 1).await;
        inside(&backend, || serve(8080, "hello"));
        let mut answered = Vec::new();
        for number in 1..=ROUNDS {
            let vm = nics(number, 1, 1);
            let start = Instant::now();
            network.ensure_veth_nics(&vm).await.unwrap();
            let path = namespace(&format!("ek-v{number}"));
            let answer = inside(&path, || ask([1, 1, 1, 10].into(), 8080, PATIENCE));
            assert_eq!(answer.as_deref(), Some("hello"));
            answered.push(start.elapsed());
        }
        report("veth NICs and the first answer of a backend", &mut answered);
        assert!(answered[usize::from(ROUNDS) / 2] < BOUND);
    });
}

/// Prints and sorts.
fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: min {least:.1?}, median {median:.1?}, max {most:.1?}");
}

#[test]
fn an_inventory_of_forty_projects_takes_less_than_a_second() {
    in_own_host(async || {
        let network = open_network().await;
        network.ensure_front().await.unwrap();
        for number in 1..=40 {
            network
                .ensure_subnet(ProjectId(number), SubnetId(number))
                .await
                .unwrap();
        }
        let mut looked = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            assert_eq!(network.inventory().await.unwrap().projects.len(), 40);
            looked.push(start.elapsed());
        }
        report("inventory of 40 projects", &mut looked);
        assert!(looked[usize::from(ROUNDS) / 2] < 2 * BOUND);
    });
}
