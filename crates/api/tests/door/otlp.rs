//! Figures are sent by OTLP, to receivers that do not behave.

use std::time::Duration;

use api::{Api, OtlpConfig};
use store::{Store, status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{PATIENCE, config};

/// A door that sends to this receiver all the time, and its status store.
async fn sending_to(receiver: &TcpListener) -> (Api, Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let address = receiver.local_addr().expect("its address");
    let target = format!("http://{address}").parse().expect("a URL");
    let mut config = config(directory.path().join("s"), Duration::ZERO);
    config.otlp = Some(OtlpConfig {
        target,
        interval: Duration::from_millis(20),
        installation: "0123abcd".into(),
    });
    let status = Store::in_memory();
    let api = Api::bind(config, Store::in_memory(), status.clone());
    (api.await.expect("a door"), status, directory)
}

/// Takes one request whole and gives an answer.
async fn answer(receiver: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = receiver.accept().await.expect("a connection");
    let mut request = Vec::new();
    let head_end = loop {
        stream.read_buf(&mut request).await.expect("a request");
        let end = request.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..head_end]).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).expect("a length");
    let length: usize = length
        .lines()
        .next()
        .and_then(|digits| digits.parse().ok())
        .expect("a number");
    while request.len() < head_end + length {
        stream.read_buf(&mut request).await.expect("the body");
    }
    let text = format!("HTTP/1.1 {answer}");
    stream
        .write_all(text.as_bytes())
        .await
        .expect("it is taken");
    head
}

/// Waits until this is what is told as troubles.
async fn await_troubles(status: &Store, fits: impl Fn(&[String]) -> bool) {
    let mut changes = status.watch("trouble/");
    let told = async {
        while !fits(&status::troubles(status).expect("the status")) {
            changes.changed().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, told).await;
    waited.unwrap_or_else(|_| panic!("{:?}", status::troubles(status)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_holds_nobody_up() {
    let receiver = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (api, _status, _directory) = sending_to(&receiver).await;
    let address = api.local_addresses()[0];
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(api.run(async {
        let _ = stopped.await;
    }));
    let (_held, _) = receiver.accept().await.expect("it sends");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("taken");
    let mut text = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await;
    read.expect("in time").expect("UTF-8");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    stop.send(()).expect("it runs");
    // Sooner than it would give the receiver up.
    let ended = tokio::time::timeout(Duration::from_secs(8), server).await;
    let ended = ended.expect("in time").expect("no panic");
    ended.expect("in good order");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_refuses_for_good_is_told_and_the_next_is_sent_all_the_same() {
    let receiver = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (api, status, _directory) = sending_to(&receiver).await;
    let server = tokio::spawn(api.run(std::future::pending()));
    let head = answer(
        &receiver,
        "400 Bad Request\r\nContent-Length: 7\r\n\r\nbad map",
    )
    .await;
    assert!(head.starts_with("post /v1/metrics http/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf\r\n"),
        "{head}"
    );
    await_troubles(&status, |told| {
        told.iter()
            .any(|words| words.contains("400 Bad Request bad map"))
    })
    .await;
    answer(
        &receiver,
        "200 OK\r\nContent-Length: 5\r\n\r\n\n\x03\x08\x02\x10",
    )
    .await;
    await_troubles(&status, |told| {
        told.iter().any(|words| words.contains("does not take 2"))
    })
    .await;
    answer(&receiver, "200 OK\r\nContent-Length: 0\r\n\r\n").await;
    await_troubles(&status, <[String]>::is_empty).await;
    server.abort();
}
