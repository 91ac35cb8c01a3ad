//! Debian's curl through every way in.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::Door;

const CREATE: &str =
    r#"{"action":"create","type":"project","info":{"user":"john","name":"john's project"}}"#;
const READ: &str =
    r#"{"action":"info","type":"project","info":{"user":"john","name":"john's project"}}"#;

async fn curl(arguments: &[&str]) -> Value {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20"])
        .args(arguments)
        .kill_on_drop(true);
    let output = curl.output().await.expect("curl");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_understood_by_post_by_get_with_a_body_and_by_a_url_alone() {
    let door = Door::open().await;
    let url = format!("http://{}/", door.address);
    let made = curl(&["-d", CREATE, &url]).await;
    assert_eq!(made["info"], json!({"name": "john's project", "id": 1}));
    let parameter = format!("request={READ}");
    let socket = door.socket.to_str().expect("UTF-8");
    for arguments in [
        vec![
            "-X",
            "GET",
            "-H",
            "Content-Type: application/json",
            "-d",
            READ,
            &url,
        ],
        vec!["-G", "--data-urlencode", &parameter, &url],
        vec!["-d", READ, "--unix-socket", socket, "http://evenkeel/"],
        vec![
            "-X",
            "GET",
            "-d",
            READ,
            "--unix-socket",
            socket,
            "http://localhost/",
        ],
        vec!["-H", "Transfer-Encoding: chunked", "-d", READ, &url],
        vec!["--http1.0", "-d", READ, &url],
    ] {
        let told = curl(&arguments).await;
        assert_eq!(
            (&told["status"], &told["info"]["label"]),
            (&json!("successful"), &json!("johns-project")),
            "{arguments:?}"
        );
    }
    let well = curl(&[&format!("{url}healthz")]).await;
    assert_eq!(well["status"], "successful");
    door.close().await;
}
