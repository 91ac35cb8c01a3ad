//! Who asks, where the request does not say.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::support::Door;

const REQUEST: &str = r#"{"action":"create","type":"project","info":{"name":"mine"}}"#;

/// Asks as the user with curl, over TCP or the unix socket.
async fn ask_as(door: &Door, user: &str, over_socket: bool) {
    let url = match over_socket {
        true => "http://localhost/".to_owned(),
        false => format!("http://{}/", door.address),
    };
    let mut curl = Command::new("setpriv");
    curl.args([
        "--reuid",
        user,
        "--clear-groups",
        "curl",
        "-sS",
        "--max-time",
        "20",
        "-d",
        REQUEST,
        &url,
    ]);
    if over_socket {
        curl.arg("--unix-socket").arg(&door.socket);
    }
    let output = curl
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("curl");
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(
        answer.contains("successful"),
        "{answer} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_on_loopback_is_the_owner_of_the_clients_socket() {
    let door = Door::open().await;
    ask_as(&door, "daemon", false).await;
    ask_as(&door, "root", false).await;
    let users: Vec<_> = door
        .stored()
        .projects
        .into_values()
        .map(|p| p.user)
        .collect();
    assert_eq!(users, ["daemon", "root"]);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_on_the_unix_socket_is_the_connecting_process_s_user() {
    use std::os::unix::fs::PermissionsExt;
    let door = Door::open().await;
    let mode = std::fs::metadata(&door.socket)
        .expect("the socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    // Let another user in, as an operator does with a group.
    let everyone = std::fs::Permissions::from_mode(0o777);
    for path in [door.socket.parent().expect("a directory"), &door.socket] {
        std::fs::set_permissions(path, everyone.clone()).expect("permissions");
    }
    ask_as(&door, "daemon", true).await;
    ask_as(&door, "root", true).await;
    let users: Vec<_> = door
        .stored()
        .projects
        .into_values()
        .map(|p| p.user)
        .collect();
    assert_eq!(users, ["daemon", "root"]);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_user_sees_that_users_things_alone() {
    let door = Door::open().await;
    let create = |user: &str| json!({"action": "create", "type": "instance", "info": {"user": user, "name": "web", "subnet": "1.1.1.0/24"}});
    door.succeed(&create("ann")).await;
    door.succeed(&create("bob")).await;
    let read = |user: &str| json!({"action": "info", "type": "project", "info": {"user": user}});
    for (user, id) in [("ann", 1), ("bob", 2)] {
        let told = door.succeed(&read(user)).await;
        assert_eq!(
            (
                told["projects"].as_array().map(Vec::len),
                &told["projects"][0]["id"]
            ),
            (Some(1), &json!(id))
        );
    }
    assert_eq!(door.succeed(&read("eve")).await, json!({"projects": []}));
    let by_id = json!({"action": "info", "type": "instance", "info": {"user": "eve", "id": 1}});
    assert_eq!(
        door.refused(&by_id).await,
        (404, "not-found".into(), "info.id".into())
    );
    door.close().await;
}
