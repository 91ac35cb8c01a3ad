//! A door that stands open for the length of a test, and a client of few lines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use api::{Api, ApiConfig, ApiError};
use model::Intent;
use serde_json::Value;
use store::Store;
use store::intent::read_intent;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Door {
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub intent: Store,
    pub status: Store,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ApiError>>,
    _directory: TempDir,
}

impl Door {
    /// A door whose answers wait for nothing unless the request says so.
    pub async fn open() -> Self {
        Self::open_with(Duration::ZERO).await
    }

    pub async fn open_with(wait: Duration) -> Self {
        Self::open_over(Store::in_memory(), wait).await
    }

    pub async fn open_over(intent: Store, wait: Duration) -> Self {
        let directory = TempDir::new().expect("a directory");
        let socket = directory.path().join("api.sock");
        let status = Store::in_memory();
        let config = config(socket.clone(), wait);
        let api = Api::bind(config, intent.clone(), status.clone())
            .await
            .expect("a door");
        let address = api.local_addresses()[0];
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(api.run(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            socket,
            intent,
            status,
            stop,
            server,
            _directory: directory,
        }
    }

    /// Closes the door and waits until it is closed.
    pub async fn close(self) {
        let _ = self.stop.send(());
        let ended = tokio::time::timeout(PATIENCE, self.server).await;
        ended
            .expect("it ends in time")
            .expect("no panic")
            .expect("no error");
        assert!(
            !self.socket.exists(),
            "the socket's file goes with the server"
        );
    }

    /// Asks, and gives HTTP's status and the answer.
    pub async fn ask(&self, request: &Value) -> (u16, Value) {
        self.ask_text(request.to_string().as_bytes()).await
    }

    pub async fn ask_text(&self, body: &[u8]) -> (u16, Value) {
        let head = format!("Content-Length: {}\r\n", body.len());
        let (status, _, answer) = self.send("POST / HTTP/1.1", &head, body).await;
        (
            status,
            serde_json::from_str(&answer).expect("an answer in JSON"),
        )
    }

    /// Asks, and gives the `info` of an answer that must be successful.
    pub async fn succeed(&self, request: &Value) -> Value {
        let (status, answer) = self.ask(request).await;
        assert_eq!(
            (status, &answer["status"]),
            (200, &Value::from("successful")),
            "{request}\n{answer:#}"
        );
        assert_eq!(
            (&answer["action"], &answer["type"]),
            (&request["action"], &request["type"])
        );
        answer["info"].clone()
    }

    /// Asks, and gives HTTP's status, and code and path of the refusal.
    pub async fn refused(&self, request: &Value) -> (u16, String, String) {
        let (status, answer) = self.ask(request).await;
        assert_eq!(answer["status"], "fail", "{request}\n{answer:#}");
        let text = |name: &str| answer["info"][name].as_str().expect("a text").to_owned();
        (status, text("code"), text("path"))
    }

    /// One request in a connection of its own: status, head and body of the response.
    pub async fn send(&self, line: &str, head: &str, body: &[u8]) -> (u16, String, String) {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address)
                .await
                .expect("a connection");
            let host = match head.to_ascii_lowercase().contains("host:") {
                true => "",
                false => "Host: localhost\r\n",
            };
            let request = format!("{line}\r\n{host}Connection: close\r\n{head}\r\n");
            stream
                .write_all(request.as_bytes())
                .await
                .expect("the head is taken");
            // A server that refuses a body closes before it has taken all of it.
            let _ = stream.write_all(body).await;
            let mut response = Vec::new();
            let _ = stream.read_to_end(&mut response).await;
            String::from_utf8(response).expect("UTF-8")
        };
        let response = tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("an answer in time");
        let (head, body) = response
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("a response: {response:?}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (
            status.expect("a status"),
            head.to_ascii_lowercase(),
            body.to_owned(),
        )
    }

    pub fn stored(&self) -> Intent {
        read_intent(&self.intent).expect("the intent").1
    }
}

pub fn config(socket: PathBuf, wait: Duration) -> ApiConfig {
    ApiConfig {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        metrics_listen: Vec::new(),
        otlp: None,
        monitor: socket.with_file_name("monitor.sock"),
        access_logs: socket.with_file_name("access-logs"),
        journal: socket.with_file_name("journal.db"),
        socket,
        zone: "lb.evenkeel.test".into(),
        front: "10.200.0.1/16".parse().expect("a network"),
        wait,
    }
}
