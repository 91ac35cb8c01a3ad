//! The command line against a server that says what a test wants it to say.

mod client;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::process::Command;

use client::{Left, command, left, run};

/// A server that gives every request one answer, and keeps what it was asked.
struct Server {
    directory: TempDir,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Server {
    async fn start(status: StatusCode, answer: impl Into<String>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("s")).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (asked.clone(), answer.into());
        let app = Router::new().fallback(async move |request: Request| {
            let line = format!("{} {}", request.method(), request.uri());
            let body = axum::body::to_bytes(request.into_body(), 1 << 20)
                .await
                .expect("a body");
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            kept.lock()
                .expect("no test panicked with it")
                .push((line, body));
            (status, answer)
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { directory, asked }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }
}

fn successful(action: &str, kind: &str, info: Value) -> String {
    json!({"status": "successful", "action": action, "type": kind, "info": info}).to_string()
}

const REFUSED: &str = r#"{"status":"fail","action":"create","type":"project","info":{"code":"name-taken","path":"info.name","message":"john has a project `shop` already","hint":"choose another name"}}"#;

#[tokio::test]
async fn a_command_is_one_request_and_its_answer_is_printed() {
    let server = Server::start(
        StatusCode::OK,
        successful("create", "project", json!({"name": "shop", "id": 1})),
    )
    .await;
    let left = run(&server.socket(), &["project", "create", "shop"]).await;
    let expected = Left {
        code: Some(0),
        out: "Created project shop\n  Id  1\n".into(),
        err: String::new(),
    };
    assert_eq!(left, expected);
    let request = json!({"action": "create", "type": "project", "info": {"name": "shop"}});
    assert_eq!(
        *server.asked.lock().unwrap(),
        [("POST /".to_owned(), request)]
    );
}

#[tokio::test]
async fn a_refusal_says_what_where_and_what_to_do() {
    let server = Server::start(StatusCode::CONFLICT, REFUSED).await;
    let left = run(&server.socket(), &["project", "create", "shop"]).await;
    let err =
        "error: john has a project `shop` already\n  at: info.name\n  hint: choose another name\n";
    assert_eq!(
        left,
        Left {
            code: Some(1),
            out: String::new(),
            err: err.into()
        }
    );
}

#[tokio::test]
async fn json_is_printed_as_it_came_in_success_and_refusal() {
    let answer =
        r#"{"status":"successful","action":"info","type":"project","info":{"z":1.50,"a":[]}}"#;
    let server = Server::start(StatusCode::OK, answer).await;
    let printed = "{\n  \"status\": \"successful\",\n  \"action\": \"info\",\n  \"type\": \"project\",\n  \"info\": {\n    \"z\": 1.50,\n    \"a\": []\n  }\n}\n";
    for arguments in [
        &["project", "list", "-o", "json"][..],
        &["request", "{}"][..],
    ] {
        let left = run(&server.socket(), arguments).await;
        assert_eq!(
            left,
            Left {
                code: Some(0),
                out: printed.into(),
                err: String::new()
            },
            "{arguments:?}"
        );
    }
    let server = Server::start(StatusCode::BAD_REQUEST, REFUSED).await;
    let left = run(
        &server.socket(),
        &["-o", "json", "project", "create", "shop"],
    )
    .await;
    assert_eq!((left.code, left.err.as_str()), (Some(1), ""));
    assert_eq!(
        serde_json::from_str::<Value>(&left.out).unwrap(),
        serde_json::from_str::<Value>(REFUSED).unwrap()
    );
}

#[tokio::test]
async fn a_request_can_come_from_standard_input() {
    let server = Server::start(StatusCode::OK, successful("info", "system", json!({}))).await;
    let request = json!({"action": "info", "type": "system"});
    let raw = left(
        command(&server.socket(), &["request", "-"]),
        &request.to_string(),
    )
    .await;
    assert_eq!(raw.code, Some(0), "{raw:?}");
    let file = left(
        command(&server.socket(), &["project", "create", "-f", "-"]),
        r#"{"name": "a"}"#,
    )
    .await;
    assert_eq!(file.code, Some(0), "{file:?}");
    let asked: Vec<Value> = server
        .asked
        .lock()
        .unwrap()
        .iter()
        .map(|(_, body)| body.clone())
        .collect();
    let create = json!({"action": "create", "type": "project", "info": {"name": "a"}});
    assert_eq!(asked, [request, create]);
}

#[tokio::test]
async fn no_server_is_exit_code_3_with_how_to_start_one() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let stale = directory.path().join("stale");
    drop(StdUnixListener::bind(&stale).unwrap());
    for (socket, reason) in [
        (&missing, "no such file or directory"),
        (&stale, "connection refused"),
    ] {
        for arguments in [
            &["status"][..],
            &["status", "-o", "json"],
            &["request", "{}"],
        ] {
            let left = run(socket, arguments).await;
            let err = format!(
                "error: no Evenkeel server answers at {}: {reason}\n  hint: start it with `sudo evenkeel serve`, or say \
                 where it listens with --socket PATH or EVENKEEL_SOCKET\n",
                socket.display()
            );
            assert_eq!(
                left,
                Left {
                    code: Some(3),
                    out: String::new(),
                    err
                }
            );
        }
    }
}

#[tokio::test]
async fn a_server_that_one_may_not_ask_is_told_from_one_that_is_not_there() {
    let server = Server::start(StatusCode::OK, successful("info", "system", json!({}))).await;
    let directory = server.directory.path();
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(server.socket(), PermissionsExt::from_mode(0o600)).unwrap();
    // Where this user can start it: the build's directory may be closed to others.
    let program = directory.join("evenkeel");
    std::fs::copy(env!("CARGO_BIN_EXE_evenkeel"), &program).unwrap();
    let mut nobody = Command::new(program);
    nobody
        .args(["status", "--socket"])
        .arg(server.socket())
        .current_dir("/")
        .uid(65_534)
        .gid(65_534);
    nobody
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let left = left(nobody, "").await;
    assert_eq!(left.code, Some(3), "{left:?}");
    assert!(
        left.err.contains("permission denied") && left.err.contains("sudo"),
        "{left:?}"
    );
}

#[tokio::test]
async fn what_is_no_answer_is_said_to_be_none() {
    for (answer, words) in [
        ("<html>502</html>", "cannot be read"),
        (
            r#"{"status":"perhaps","info":{}}"#,
            "its status is `perhaps`",
        ),
        ("", "cannot be read"),
    ] {
        let server = Server::start(StatusCode::BAD_GATEWAY, answer).await;
        let left = run(&server.socket(), &["status"]).await;
        assert_eq!(left.code, Some(1), "{left:?}");
        assert!(left.err.contains(words) && left.out.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_is_an_error_and_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
        }
    });
    let left = run(&socket, &["status"]).await;
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(
        left.err.starts_with("error: the server gave no answer"),
        "{left:?}"
    );
}

#[tokio::test]
async fn an_answer_that_this_program_does_not_know_is_shown_as_it_is() {
    let server = Server::start(
        StatusCode::OK,
        successful("info", "instance", json!({"vms": "many"})),
    )
    .await;
    let left = run(&server.socket(), &["instance", "info", "web"]).await;
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(left.out.contains("\"vms\": \"many\""), "{left:?}");
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2_and_asks_nobody() {
    let server = Server::start(StatusCode::OK, successful("info", "system", json!({}))).await;
    for arguments in [
        &[][..],
        &["instance", "inform", "web"],
        &["instance", "update", "web"],
        &["instance", "create", "-f", "/nonexistent/web.json"],
        &["serve", "--socket", "/tmp/a"],
    ] {
        let left = run(&server.socket(), arguments).await;
        assert_eq!(left.code, Some(2), "{arguments:?}: {left:?}");
    }
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let instances: Vec<_> = (0..5000)
        .map(|id| json!({"name": "web", "id": id, "url": "http://web/"}))
        .collect();
    let server = Server::start(
        StatusCode::OK,
        successful("info", "instance", json!({"instances": instances})),
    )
    .await;
    let mut child = command(&server.socket(), &["instance", "list"])
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).as_ref()
        ),
        (Some(0), "")
    );
}

#[tokio::test]
async fn what_is_piped_has_no_colour() {
    let info = json!({"zone": "z", "troubles": ["x"]});
    let server = Server::start(StatusCode::OK, successful("info", "system", info)).await;
    let left = run(&server.socket(), &["status"]).await;
    assert!(
        !left.out.contains('\u{1b}') && left.out.contains("Troubles"),
        "{left:?}"
    );
}
