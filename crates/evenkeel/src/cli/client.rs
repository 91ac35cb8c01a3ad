//! One request to the JSON door, over its unix socket: HTTP, one connection, one answer.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request as HttpRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::failure::Failure;
use super::request::Request;

/// The longest time to be let in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time to an answer that the server can give at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of an answer: room for thousands of instances with all their VMs.
const MAX_ANSWER_BYTES: usize = 64 << 20;

const START_HINT: &str = "start it with `sudo evenkeel serve`, or say where it listens with --socket PATH or EVENKEEL_SOCKET";
const ACCESS_HINT: &str =
    "run this command with sudo, or let the operator give you access to the socket";

/// Sends the request and gives the answer's text, whatever it says.
///
/// # Errors
/// [`Failure::Unreachable`] when nobody lets the client in; [`Failure::BadAnswer`] when the server was
/// reached and then fell silent, hung up or said too much.
pub async fn exchange(socket: &Path, request: &Request) -> Result<String, Failure> {
    let stream = connect(socket).await?;
    let patience = match request.may_wait {
        true => model::forms::MAX_WAIT + ANSWER_TIMEOUT,
        false => ANSWER_TIMEOUT,
    };
    match timeout(patience, converse(stream, request.body.clone())).await {
        Ok(answer) => answer
            .map_err(|problem| Failure::BadAnswer(format!("the server gave no answer: {problem}"))),
        Err(_) => {
            let seconds = patience.as_secs();
            Err(Failure::BadAnswer(format!(
                "the server gave no answer within {seconds} seconds"
            )))
        }
    }
}

async fn connect(socket: &Path) -> Result<UnixStream, Failure> {
    let unreachable = |reason: String, hint| Failure::Unreachable {
        socket: socket.to_owned(),
        reason,
        hint,
    };
    match timeout(CONNECT_TIMEOUT, UnixStream::connect(socket)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            let hint = match error.kind() {
                std::io::ErrorKind::PermissionDenied => ACCESS_HINT,
                _ => START_HINT,
            };
            Err(unreachable(plain_reason(&error), hint))
        }
        Err(_) => Err(unreachable(
            "it does not accept connections".into(),
            START_HINT,
        )),
    }
}

/// The error in the system's words, without the number after them.
fn plain_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

async fn converse(
    stream: UnixStream,
    body: String,
) -> Result<String, Box<dyn Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // An error of the connection reaches the answer as well, which tells it. The task ends with the
    // runtime, when the command does.
    tokio::spawn(connection);
    let request = HttpRequest::builder()
        .method(Method::POST)
        .uri("/")
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await?;
    Ok(String::from_utf8(body.to_bytes().to_vec())?)
}
