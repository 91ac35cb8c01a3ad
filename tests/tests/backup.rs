//! What the documents say of backups is done, in their order, and brings back what was lost.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use end_to_end::{Door, Host, Reader, Web, eventually, install_without_machines};
use serde_json::{Value, json};

const PAGE: &str = "docs/how-to/backup-and-upgrade.md";

/// What is known to have happened, each with its number.
fn events(door: &Door) -> Vec<Value> {
    let told = door.do_("info", "events", json!({ "limit": 1000 }));
    told["events"].as_array().cloned().unwrap_or_default()
}

/// Requests of which there is a line.
fn lines(door: &Door) -> usize {
    let told = door.do_("info", "log", json!({ "instance": "web", "limit": 1000 }));
    told["lines"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_backup_of_a_server_at_work_brings_back_its_load_balancers_and_their_past() {
    let host = Host::new();
    install_without_machines(&host);
    let mut reader = Reader::new(&host);
    reader.serve();
    let door = Door::at(&host.root().join("run/evenkeel/evenkeel.sock"));
    let web = Web::create(&host, door.clone(), 2);
    for vm in web.vms() {
        web.fetch_from(&vm.address).expect("it serves");
    }
    eventually("both requests are in the access log", || {
        match lines(&door) {
            2 => Ok(()),
            other => Err(other),
        }
    });
    let (addresses, happened) = (web.dig(), events(&door));
    assert_eq!(reader.types_section(PAGE, "Back up while it works"), 2);
    // Copied under its eyes, it goes on; and then all is lost.
    web.fetch().expect("it serves");
    door.do_("delete", "project", json!({ "name": "p", "cascade": true }));
    assert_eq!(reader.types_section(PAGE, "Put it back"), 4);
    web.await_condition("serving");
    assert_eq!(web.dig(), addresses, "each VM has its address of then");
    web.fetch().expect("it serves");
    let known = events(&door);
    assert_eq!(known.get(..happened.len()), Some(happened.as_slice()));
    assert!(lines(&door) >= 2, "the access log is there");
}
