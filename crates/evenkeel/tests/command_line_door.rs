//! The command line against the real JSON door: what one writes, the other reads.
//!
//! There is no controller here, so nothing of what is asked for comes to be, and `info` says so.

mod client;

use std::path::PathBuf;
use std::time::Duration;

use api::{Api, ApiConfig};
use store::Store;
use tempfile::TempDir;

use client::{Left, run};

struct Door {
    directory: TempDir,
}

impl Door {
    async fn open() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = ApiConfig {
            listen: Vec::new(),
            metrics_listen: Vec::new(),
            otlp: None,
            socket: directory.path().join("s"),
            monitor: directory.path().join("m"),
            zone: "lb.evenkeel.test".into(),
            front: "10.200.0.1/16".parse().expect("a network"),
            access_logs: directory.path().join("a"),
            journal: directory.path().join("j"),
            wait: Duration::from_millis(100),
        };
        let api = Api::bind(config, Store::in_memory(), Store::in_memory())
            .await
            .expect("a free path");
        tokio::spawn(api.run(std::future::pending()));
        Self { directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    /// Runs a command that must succeed, and gives what it printed.
    async fn done(&self, arguments: &[&str]) -> String {
        let Left { code, out, err } = run(&self.socket(), arguments).await;
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
        assert!(
            !out.starts_with('{'),
            "{arguments:?} is shown for people: {out}"
        );
        out
    }

    /// Runs a command that must be refused, and gives what it said.
    async fn refused(&self, arguments: &[&str]) -> String {
        let Left { code, out, err } = run(&self.socket(), arguments).await;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}: {err}");
        err
    }
}

/// Whether the parts stand in the text, one after the other.
fn has_in_order(text: &str, parts: &[&str]) -> bool {
    let mut rest = text;
    parts.iter().all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_and_an_instance_live_and_end_by_commands_alone() {
    let door = Door::open().await;
    assert_eq!(
        door.done(&["project", "create", "john's project"]).await,
        "Created project john's project\n  Id  1\n"
    );
    let created = door
        .done(&[
            "instance",
            "create",
            "web",
            "--http",
            "--subnet",
            "1.1.1.0/24",
            "-b",
            "1.1.1.10:8080",
            "-b",
            "1.1.1.11:8080@3",
            "--interval",
            "1",
            "--timeout",
            "0.5",
            "--auto-scaling",
            "1..2",
            "--no-wait",
        ])
        .await;
    let parts = [
        "Created instance web: pending",
        "http://web.johns-project.lb.evenkeel.test/",
        "http on port 80",
        "1.1.1.0/24",
        "GET / every 1 s, timeout 0.5 s; up after 2 good, down after 2 failed",
        "1 to 2 VMs",
        "controller: it has not taken up this instance yet",
    ];
    assert!(has_in_order(&created, &parts), "{created}");

    let updated = door
        .done(&[
            "instance",
            "update",
            "web",
            "-p",
            "1",
            "--remove-backend",
            "1.1.1.10:8080",
            "--replace-backend",
            "1.1.1.11:8080=1.1.1.12:8080@2",
            "--add-backend",
            "http://1.1.1.13:80/",
            "--new-name",
            "www",
            "--auto-scaling",
            "off",
            "--health-check-path",
            "/ok",
            "--wait",
            "0",
        ])
        .await;
    let parts = [
        "Updated instance www",
        "http://www.johns-project",
        "GET /ok every 1 s",
        "off, 1 VM",
    ];
    assert!(has_in_order(&updated, &parts), "{updated}");
    let json = run(
        &door.socket(),
        &["instance", "info", "--id", "1", "-o", "json"],
    )
    .await;
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let entities =
        serde_json::json!([{"address": "1.1.1.12", "port": 8080, "weight": 2}, "1.1.1.13:80"]);
    assert_eq!(json["info"]["backend"]["entities"], entities);

    let list = door.done(&["instance", "list"]).await;
    assert!(
        has_in_order(
            &list,
            &["ID", "CONDITION", "URL", "www", "pending", "http://www."]
        ),
        "{list}"
    );
    let project = door.done(&["project", "info", "john's project"]).await;
    assert!(
        has_in_order(&project, &["project john's project", "Instances", "www"]),
        "{project}"
    );
    let status = door.done(&["status"]).await;
    assert!(
        has_in_order(
            &status,
            &[
                "Roles",
                "lb.evenkeel.test",
                "1 project with 1 instance",
                "www"
            ]
        ),
        "{status}"
    );

    assert_eq!(
        door.done(&["instance", "delete", "www"]).await,
        "Deleted instance www\n"
    );
    assert_eq!(
        door.done(&["project", "update", "john's project", "--new-name", "shop"])
            .await
            .lines()
            .next(),
        Some("Updated project shop")
    );
    assert_eq!(
        door.done(&["project", "delete", "shop", "--cascade"]).await,
        "Deleted project shop\n"
    );
    assert!(
        door.done(&["project", "list"])
            .await
            .starts_with("No projects")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn interfaces_are_attached_and_detached_by_commands() {
    let door = Door::open().await;
    door.done(&["project", "create", "shop"]).await;
    let attached = door
        .done(&[
            "subnet",
            "attach",
            "10.1.0.0/24",
            "eth1",
            "eth2",
            "-p",
            "shop",
        ])
        .await;
    assert!(
        has_in_order(&attached, &["10.1.0.0/24", "shop", "eth1, eth2"]),
        "{attached}"
    );
    let detached = door
        .done(&["subnet", "detach", "10.1.0.0/24", "eth1"])
        .await;
    assert!(
        detached.contains("eth2") && !detached.contains("eth1"),
        "{detached}"
    );
    let info = door.done(&["subnet", "info"]).await;
    assert!(has_in_order(&info, &["10.1.0.0/24", "eth2"]), "{info}");
    let err = door
        .refused(&["subnet", "detach", "10.1.0.0/24", "eth9"])
        .await;
    assert!(
        err.contains("eth9") && err.contains("  at: info.detach"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_in_the_doors_own_words() {
    let door = Door::open().await;
    door.done(&["project", "create", "shop"]).await;
    door.done(&[
        "instance",
        "create",
        "web",
        "--http",
        "-b",
        "10.1.0.10",
        "--no-wait",
    ])
    .await;
    for (arguments, words, place) in [
        (&["project", "create", "shop"][..], "already", "info.name"),
        (
            &["project", "delete", "shop"],
            "still has instances",
            "info.cascade",
        ),
        (&["instance", "info", "www"], "www", "info.name"),
        (
            &["instance", "create", "db", "--tcp", "-b", "10.1.0.10:1"],
            "`port`",
            "info.port",
        ),
        (
            &[
                "instance",
                "create",
                "a",
                "--http",
                "-b",
                "https://10.1.0.10",
            ],
            "https",
            "info.backend.entities[0]",
        ),
        (
            &["instance", "create", "a", "--http", "-b", "10.9.0.10"],
            "10.9.0.10",
            "info.backend.entities[0]",
        ),
        (
            &[
                "instance",
                "update",
                "web",
                "--interval",
                "1",
                "--timeout",
                "2",
            ],
            "timeout",
            "criteria.timeout",
        ),
    ] {
        let err = door.refused(arguments).await;
        let at = err
            .lines()
            .find_map(|line| line.strip_prefix("  at: "))
            .unwrap_or_default();
        assert!(
            err.contains(words) && at.ends_with(place) && err.contains("\n  hint: "),
            "{arguments:?}: {err}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_made_whole_from_a_file() {
    let door = Door::open().await;
    let file = door.directory.path().join("project.json");
    let text = r#"{"type": "project", "name": "shop", "instances": [
        {"type": "instance", "name": "web", "traffic_type": "http", "subnet": "10.1.0.0/24",
         "backend": {"entities": [["10.1.0.10:80"]], "health-check": {}, "auto-scaling": true}}]}"#;
    std::fs::write(&file, text).unwrap();
    let created = door
        .done(&[
            "project",
            "create",
            "-f",
            file.to_str().unwrap(),
            "--no-wait",
        ])
        .await;
    assert!(
        has_in_order(
            &created,
            &[
                "Created project shop",
                "Instances",
                "web",
                "http://web.shop."
            ]
        ),
        "{created}"
    );
    std::fs::write(&file, r#"{"name": "x", "colour": "red"}"#).unwrap();
    let err = door
        .refused(&["project", "create", "-f", file.to_str().unwrap()])
        .await;
    assert!(err.contains("colour"), "{err}");
}
