//! The number of VMs follows the load, and clients that follow DNS lose nothing by it.

use std::time::Duration;

use end_to_end::{Driver, Evenkeel, Host, Tally, Visitors, Web, over_both_drivers, within};
use serde_json::json;

/// Requests in a second that one VM is to carry.
const TARGET: u32 = 100;
/// Between two requests of somebody who is never in a hurry: far fewer than one VM carries.
const GENTLE: Duration = Duration::from_millis(100);
/// Between two requests of each of those who come all at once.
const HASTY: Duration = Duration::from_millis(1);
/// So many of them ask for more than one VM carries, on a busy machine too.
const RUSH: usize = 6;
/// How long a change may take: for figures, a boot, and a window.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until so many VMs serve, and DNS names just these.
fn await_crew(web: &Web<'_>, what: &str, fits: impl Fn(usize) -> bool) {
    within(PATIENCE, what, || {
        let vms = web.vms();
        let serving = vms.iter().filter(|vm| vm.state == "serving" && !vm.leaves);
        let serving: std::collections::BTreeSet<_> = serving.map(|vm| vm.address.clone()).collect();
        let named = web.dig()?;
        match fits(serving.len()) && named == serving {
            true => Ok(()),
            false => Err(format!("DNS names {named:?}: {}", web.info())),
        }
    });
}

fn more_vms_serve_while_more_is_asked_and_no_request_is_lost_when_they_go(driver: Driver) {
    let host = Host::new();
    host.use_own_dns();
    let evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 1);
    let scaling = json!({ "min": 1, "max": 3, "target-requests": TARGET, "scale-in-window": 5 });
    evenkeel.door().do_(
        "update",
        "instance",
        json!({ "project": "p", "name": "web", "backend": { "auto-scaling": scaling } }),
    );
    let url = format!("http://{}/", web.name);
    let gentle = Visitors::begin_at(&host, &url, GENTLE);
    let rush: Vec<_> = (0..RUSH)
        .map(|_| Visitors::begin_at(&host, &url, HASTY))
        .collect();
    await_crew(&web, "more VMs serve", |serving| serving >= 2);
    let tallies: Vec<Tally> = rush.into_iter().map(Visitors::end).collect();
    await_crew(&web, "one VM is left", |serving| serving == 1);
    within(PATIENCE, "the others are gone", || match web.vms().len() {
        1 => Ok(()),
        more => Err(more),
    });
    gentle.end().assert_flawless(20);
    tallies.iter().for_each(|tally| tally.assert_flawless(100));
}

over_both_drivers!(more_vms_serve_while_more_is_asked_and_no_request_is_lost_when_they_go);
