//! The unit for systemd that the documents offer leaves the server what it needs: its bounds are set here as systemd
//! would, without systemd.

use std::collections::BTreeMap;
use std::fs;

use end_to_end::{Door, Driver, Evenkeel, Host, Web, eventually};
use serde_json::json;

const UNIT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/how-to/evenkeel.service"
);
/// Settings that give a service a mount namespace of its own, in which projects' networks would end with it.
const OF_MOUNTS: [&str; 9] = [
    "PrivateTmp",
    "PrivateDevices",
    "ProtectSystem",
    "ProtectHome",
    "ProtectControlGroups",
    "ProtectKernelTunables",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "TemporaryFileSystem",
];

/// The unit's settings.
fn settings() -> BTreeMap<String, String> {
    let unit = fs::read_to_string(UNIT).expect("the unit is there");
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn a_server_within_the_bounds_of_the_unit_runs_vms_and_serves() {
    let settings = settings();
    let host = Host::new();
    let config = Evenkeel::configure(&host, Driver::Machine, "");
    let config = config.to_str().expect("the path is text");
    let program = std::env::var("EVENKEEL_PROGRAM").expect("`make test` sets it");
    let dropped = settings["CapabilityBoundingSet"]
        .strip_prefix('~')
        .expect("the unit names what is dropped");
    let dropped: Vec<String> = dropped
        .split(' ')
        .map(|name| name.replace("CAP_", "-").to_lowercase())
        .collect();
    assert_eq!(settings["NoNewPrivileges"], "yes");
    let command = [
        "--no-new-privs",
        "--bounding-set",
        &dropped.join(","),
        &program,
        "serve",
    ];
    let arguments = [command.as_slice(), &["--config", config]].concat();
    let _running = host.start("evenkeel", "setpriv", &arguments);
    let door = Door::at(&host.path("run/evenkeel.sock"));
    eventually("the door opens", || door.ask("info", "system", json!({})));
    let bounds =
        host.shell("grep -h CapBnd /proc/$(pgrep --exact evenkeel)/status /proc/self/status");
    let bounds: Vec<&str> = bounds.lines().collect();
    assert_ne!(bounds.first(), bounds.last(), "the bound is set");
    let web = Web::create(&host, door, 1);
    web.fetch().expect("it serves");
}

#[test]
fn the_unit_leaves_load_balancers_and_their_networks_alone() {
    let settings = settings();
    assert_eq!(settings["KillMode"], "process");
    for setting in OF_MOUNTS {
        assert!(
            !settings.contains_key(setting),
            "{setting} needs a mount namespace"
        );
    }
}
