//! Asks a proxy for every body and compares every byte, before anything is measured.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use memchr::memmem;

use crate::load::Body;

/// How long a proxy may take to serve.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);
/// How long one answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Waits until the proxy hands out every body rightly.
///
/// # Errors
/// When it ends, or does not do so in time: what was wrong last.
pub fn await_all_bodies(child: &mut Child, front: SocketAddrV4) -> Result<()> {
    let began = Instant::now();
    loop {
        let outcome = ask_for_all(front);
        if outcome.is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            return Err(anyhow!("it has ended: {status}"));
        }
        if began.elapsed() > PATIENCE {
            return outcome;
        }
        std::thread::sleep(PAUSE);
    }
}

fn ask_for_all(front: SocketAddrV4) -> Result<()> {
    for body in [Body::OneKib, Body::SixtyFourKib, Body::TenMib] {
        ask(front, body).with_context(|| format!("{body:?}"))?;
    }
    Ok(())
}

fn ask(front: SocketAddrV4, body: Body) -> Result<()> {
    let mut stream = TcpStream::connect(front)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    stream.write_all(&body.request(true))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let Some(end) = memmem::find(&answer, b"\r\n\r\n") else {
        bail!("no head in {} bytes", answer.len());
    };
    let (head, rest) = answer.split_at(end + 4);
    ensure!(
        head.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(head)
    );
    ensure!(rest == body.content(), "the body is not the origin's");
    Ok(())
}
